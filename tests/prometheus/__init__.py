"""A real Prometheus for the tests: its rules under promtool, and a server that reads pods."""
