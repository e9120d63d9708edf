"""`python -m benchmarks.soak`: many streams for minutes, cut short at random; nothing fails, and memory stays flat."""
