"""How many pods each role is to have, and whether to speculate: by what was measured of latency and acceptance."""
