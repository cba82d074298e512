"""Which team relies on whose model, since when and what for."""
