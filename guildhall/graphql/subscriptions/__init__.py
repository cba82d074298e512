"""Following things as they change: declared subscriptions, the notices that wake them, and who may stay."""
