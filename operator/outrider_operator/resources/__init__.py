"""Pure builders: from a SpeculativeModel to the Kubernetes objects that run it. No I/O, no clock, no randomness."""
