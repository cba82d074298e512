"""Finding a model by what it does, in the words of its name, card and lessons."""
