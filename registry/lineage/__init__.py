"""What each version was made from, seen from both ends, and the restrictions that travel along."""
