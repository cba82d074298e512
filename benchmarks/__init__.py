"""Ratios against a peer or a limit, measured side by side in one run; never a bare time."""
