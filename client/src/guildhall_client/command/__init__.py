"""The command `guildhall`: this client in the hands of people, in a terminal or a script."""
