"""The whole story on the embedded defaults, told through the public API: `python -m demo`."""
