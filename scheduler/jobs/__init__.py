"""Jobs: what was asked for, the state machine, attempts to run it, and what the runner reports of them."""
