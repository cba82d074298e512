"""Quotes are composed here, because only here pools, predicted starts, residency and lessons are all known."""
