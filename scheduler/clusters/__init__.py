"""Where jobs run: one protocol, and an executor for each kind of cluster."""
