"""The work on orders: heads made one after the other, in a thread that knows nothing of Blender."""
# SPDX-License-Identifier: GPL-3.0-or-later

import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .client import Client, ServerError
from .head_file import photo_expression

SECONDS_BETWEEN_LOOKS = 0.4
_MOST_LOST_LOOKS = 5
"""Looks in a row that may fail, since a busy computer answers late, before the head is given up."""


@dataclass(frozen=True)
class Order:
    """One head to make.

    Attributes:
        photos: of one person.
        name: of the head.
        options: of the server; those that it does not know are left out.
        strands: whether the hair is wanted as curves too.
    """

    photos: tuple[Path, ...]
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    strands: bool = False


@dataclass(frozen=True)
class Made:
    """A head that is there, as files that last until the ``Making`` is closed.

    Attributes:
        order: what was asked for.
        head: what the server says of it.
        avatar: its .glb.
        strands: its hair as curves, if it was asked for and there is hair.
        photo: the first photo as the head was fitted to it; none where no camera is known.
        expression: the weights of the photo's expression by shape key.
    """

    order: Order
    head: dict[str, Any]
    avatar: Path
    strands: Path | None
    photo: Path | None
    expression: dict[str, float]


@dataclass(frozen=True)
class Failed:
    """A head that there will not be, and why, in one sentence."""

    order: Order
    why: str


@dataclass(frozen=True)
class Progress:
    """How far the work is.

    Attributes:
        title: what is being done.
        fraction: how much of all orders is done, 0 to 1.
        seconds_left: for the present head, where it is known.
    """

    title: str
    fraction: float
    seconds_left: float | None = None


class Making:
    """Makes heads in a thread of its own; the results wait until they are taken.

    Args:
        connect: returns a client, or raises ``ServerError``; called in the thread, and handed what tells whether the
            work was cancelled.
        orders: the heads, in turn.
    """

    def __init__(self, connect: Callable[[Callable[[], bool]], Client], orders: Sequence[Order]) -> None:
        self._connect = connect
        self._orders = tuple(orders)
        self._folder = tempfile.TemporaryDirectory(prefix="spinmeround-", ignore_cleanup_errors=True)
        self._results: queue.SimpleQueue[Made | Failed] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self.progress = Progress("Looking for spmr-app", 0.0)
        self._thread = threading.Thread(target=self._work, name="spinmeround", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all that will ever come can be taken."""
        return not self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether the work was told to stop."""
        return self._cancelled.is_set()

    def take(self) -> Made | Failed | None:
        """Return the next result, or None if there is none yet."""
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None

    def cancel(self) -> None:
        """Stop; the head that is being made is removed from the server."""
        self._cancelled.set()

    def close(self) -> None:
        """Stop, wait until the thread has ended, and remove the files."""
        self.cancel()
        self._thread.join()
        self._folder.cleanup()

    def _work(self) -> None:
        try:
            client = self._connect(self._cancelled.is_set)
            known = client.options()
        except ServerError as error:
            for order in self._orders if not self.cancelled else ():
                self._results.put(Failed(order, str(error)))
            return
        for index, order in enumerate(self._orders):
            if self.cancelled:
                return
            try:
                made = self._make(client, order, index, known)
            except (ServerError, ValueError, OSError) as error:
                self._results.put(Failed(order, str(error)))
            except Exception as error:  # a thread that dies would take the reason with it
                self._results.put(Failed(order, f"The answer of spmr-app was not understood ({error!r}); update both"))
            else:
                if made is not None:
                    self._results.put(made)

    def _make(self, client: Client, order: Order, index: int, known: dict[str, Any]) -> Made | None:
        self._say(index, "Sending the photos" if len(order.photos) > 1 else "Sending the photo", 0.0)
        formats = ["glb"]
        if order.strands:
            if "usdc" not in known.get("formats", {}).get("items", {}).get("enum", ()):
                raise ServerError('spmr-app writes no strands here: pip install "spinmeround[usd]", or choose cards')
            formats.append("usdc")
        options = {name: value for name, value in {**order.options, "formats": formats}.items() if name in known}
        head = client.make(order.photos, name=order.name, options=options)
        head = self._settled(client, head["id"], index)
        if head is None:
            return None
        if head["state"] != "done":
            raise ServerError((head.get("error") or {}).get("message") or f"The head was {head['state']} on the server")
        self._say(index, "Bringing the head here", 1.0)
        return self._fetched(client, order, index, head)

    def _settled(self, client: Client, head_id: str, index: int) -> dict[str, Any] | None:
        """Return the head when the server has ended with it; None if the work was cancelled."""
        lost = 0
        while not self._cancelled.wait(SECONDS_BETWEEN_LOOKS):
            try:
                head = client.head(head_id)
            except ServerError as error:
                lost += 1
                if not error.unreachable or lost == _MOST_LOST_LOOKS:
                    raise
                continue
            lost = 0
            if head["state"] not in ("queued", "running"):
                return head
            self._say(index, _title(head), head.get("fraction") or 0.0, head.get("seconds_left"))
        self._say(index, "Stopping", 0.0)
        client.delete(head_id)
        return None

    def _fetched(self, client: Client, order: Order, index: int, head: dict[str, Any]) -> Made:
        folder = Path(self._folder.name) / str(index)
        folder.mkdir()
        names = {Path(file["name"]).suffix: file["name"] for file in head["files"]}
        if ".glb" not in names:
            raise ServerError("The server made no .glb of this head")
        avatar, strands, photo = folder / "head.glb", None, None
        client.save_file(head["id"], names[".glb"], avatar)
        if order.strands and ".usdc" in names:
            strands = folder / "hair.usdc"
            client.save_file(head["id"], names[".usdc"], strands)
        if head.get("photo_camera"):
            photo = client.save_photo(head["id"], 0, folder / "photo")
        return Made(order, head, avatar, strands, photo, photo_expression(avatar))

    def _say(self, index: int, title: str, fraction: float, seconds_left: float | None = None) -> None:
        count = len(self._orders)
        name = f"{self._orders[index].name} ({index + 1} of {count}): " if count > 1 else ""
        self.progress = Progress(name + title, (index + min(max(fraction, 0.0), 1.0)) / count, seconds_left)


def _title(head: dict[str, Any]) -> str:
    if head["state"] == "queued":
        place = head.get("place_in_queue")
        return f"Waiting, {place} in the queue" if place else "Waiting"
    running = [stage["title"] for stage in head.get("stages", ()) if stage["state"] == "running"]
    return running[-1][:1].upper() + running[-1][1:] if running else "Working"
