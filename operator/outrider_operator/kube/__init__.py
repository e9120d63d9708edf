"""The API server, as far as the operator needs it: kinds, calls, what is served, leader election."""
