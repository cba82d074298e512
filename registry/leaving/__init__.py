"""People who leave: what they could do ends at once, and what they answered for goes to a successor."""
