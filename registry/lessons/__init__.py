"""What was learned, also from runs that led nowhere."""
