"""From what is wanted to what is there: one function, level by level, for every cause."""
