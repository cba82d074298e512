"""The program `python -m guildhall`: every part of the server, one subcommand each."""
