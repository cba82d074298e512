"""`make bench-jobs`: jobs through our scheduler on a real API server, against bare POSTs of the same objects to it."""
