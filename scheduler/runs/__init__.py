"""What a running attempt asks and tells: its assignment, its inputs, its reports, its output, its result."""
