"""Checks and chores of this repository that no package on PyPI does for us; never imported by the product."""
