"""What ends a benchmark that had begun."""


class BenchError(Exception):
    """One line: which system failed, why, and where to look."""
