"""What keeps a test cluster from being there."""


class NoCluster(Exception):
    """One line: what is missing, and how to get it."""
