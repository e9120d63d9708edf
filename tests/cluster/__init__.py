"""A real Kubernetes for the tests, from packages."""
