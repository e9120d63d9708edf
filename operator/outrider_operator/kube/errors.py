"""What can go wrong between the operator and the API server."""

from __future__ import annotations

from http import HTTPStatus

# What server-side apply says of a field that the kind has not got, with status 500.
UNTYPED = "failed to create typed patch object"


class KubeError(Exception):
    """The server refused a call, or was not to be had (status 0). retry_after_s: what it asked for, if anything."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def not_found(self) -> bool:
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def passing(self) -> bool:
        """Whether the same call may well succeed later, unchanged."""
        if UNTYPED in str(self):
            return False
        later = (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
        return self.status in (0, *later) or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def namespace_ends(self) -> bool:
        """The namespace is being deleted, and takes nothing new."""
        return self.status == HTTPStatus.FORBIDDEN and "it is being terminated" in str(self)
