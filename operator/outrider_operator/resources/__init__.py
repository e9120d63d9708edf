"""Pure builders, from a SpeculativeModel to the objects that run it: no I/O, no clock, no randomness."""
