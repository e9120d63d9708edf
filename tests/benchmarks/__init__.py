"""Benchmarks: what Outrider earns on this machine, against itself with speculation off and against transformers."""
