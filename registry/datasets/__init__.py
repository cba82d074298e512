"""Data sets: their legal record, stewards and versions."""
