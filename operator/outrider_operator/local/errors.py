"""The one error that `outrider up` shows to a person."""


class LocalError(Exception):
    """One line: which field or flag is wrong, why, and the remedy."""
