"""What a decision costs at a hundred and at a million lines, and how long a change takes to be in force everywhere."""
