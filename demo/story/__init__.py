"""The chapters of the story; each is a function on the `World` that it changes."""
