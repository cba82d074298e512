"""What people would otherwise poll for: events, told in the transaction of their cause, and each person's own inbox."""
