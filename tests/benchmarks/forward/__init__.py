"""What a forward costs: the engine's, a hand-written one, and transformers' own, in one alternating run."""
