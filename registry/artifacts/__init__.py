"""Files of data sets, models and packages: uploaded in parts, verified, kept by digest, read under a rule."""
