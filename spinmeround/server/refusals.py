"""Refusals: what a client did wrong, or cannot have now, as a status and one sentence."""

from __future__ import annotations

import json


class RefusedError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        kind: one word for programs.
        message: one sentence to show.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message

    @property
    def body(self) -> bytes:
        """The JSON of the answer."""
        return json.dumps({"error": {"kind": self.kind, "message": self.message}}).encode()


def not_found(what: str) -> RefusedError:
    """There is no such thing."""
    return RefusedError(404, "NotFound", f"no {what} is here; it may have been deleted")


def busy(what: str) -> RefusedError:
    """Too much waits already."""
    return RefusedError(429, "Busy", f"{what}; try again later")
