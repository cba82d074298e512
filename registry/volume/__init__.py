"""How much of a data set is read, by whom, in a window of time; and what happens when that is unusual."""
