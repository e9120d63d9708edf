"""What pods say of themselves on /metrics, kept for a while, and what it comes to. No I/O: others fetch the pages."""
