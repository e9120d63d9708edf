"""`python -m benchmarks.load`: throughput and latency of many streams at once; see README.md, one folder up."""
