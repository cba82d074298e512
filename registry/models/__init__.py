"""Models and their versions: registered, published, named by aliases, or given up with a reason."""
