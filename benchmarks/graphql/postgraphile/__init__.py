"""The peer in JavaScript, installed from its lock file on a Node that comes as a wheel."""
