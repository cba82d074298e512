"""Loosening what a model version inherits: asked for by its team, decided by the stewards of what restricts it."""
