"""What happens to heads, told to whoever listens: the latest of each head, some times a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

_PAUSE_S = 0.2


@dataclass(frozen=True)
class Told:
    """Something that happened to a head.

    Attributes:
        kind: ``head`` or ``deleted``.
        data: JSON: the head as it is now, or its id.
        is_last: whether nothing more happens to the head by itself.
    """

    kind: str
    data: str
    is_last: bool


class Listener:
    """One who listens: of each head only the latest waits."""

    def __init__(self, head_id: str | None) -> None:
        self.head_id = head_id
        self._waiting: dict[str, Told] = {}
        self._woken = asyncio.Event()

    def tell(self, head_id: str, told: Told) -> None:
        """Note what happened to a head, if it is one listened to."""
        if self.head_id in (None, head_id):
            self._waiting.pop(head_id, None)
            self._waiting[head_id] = told
            self._woken.set()

    async def listen(self) -> AsyncIterator[Told]:
        """Yield what happens."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            waiting, self._waiting = self._waiting, {}
            for told in waiting.values():
                yield told
            await asyncio.sleep(_PAUSE_S)


class Events:
    """All who listen."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def add(self, head_id: str | None = None) -> Listener:
        """Return a new listener, to one head or to all."""
        listener = Listener(head_id)
        self._listeners.add(listener)
        return listener

    def remove(self, listener: Listener) -> None:
        """Tell someone no more."""
        self._listeners.discard(listener)

    def tell(self, head_id: str, told: Told) -> None:
        """Tell all who listen to a head."""
        for listener in self._listeners:
            listener.tell(head_id, told)
