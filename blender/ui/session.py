"""The work in hand: what the modal timer looks at, and where finished heads go. Blender is touched here only."""
# SPDX-License-Identifier: GPL-3.0-or-later

from collections.abc import Callable, Sequence
from typing import Any

import bpy
from mathutils import Vector

from ..scene import heads
from ..scene.placing import Wishes, extent_m, place
from ..scene.remaking import remake
from ..services.client import Client, ServerError, is_on_this_computer
from ..services.making import Failed, Made, Making, Order
from ..services.program import Program
from .preferences import configured_client, preferences

PROGRAM = Program()
"""The server that the extension started, if it did."""
STOPPED = "Stopped"
"""What is said of work that was stopped."""
_GAP_M = 0.06
"""Between the heads of a row."""

_current: "Session | None" = None


class Session:
    """Orders that are being made, and where their heads go.

    Args:
        context: whose preferences, scene and 3D cursor count.
        orders: the heads.
        wishes: how they are placed.
        replaced: the armature of the head that is made again; without one, heads are placed in a row from the cursor.

    Raises:
        ServerError: there is no server to be asked.
    """

    def __init__(
        self,
        context: bpy.types.Context,
        orders: Sequence[Order],
        wishes: Wishes,
        *,
        replaced: bpy.types.Object | None = None,
    ) -> None:
        self.failures: list[str] = []
        self.placed = 0
        self._several = len(orders) > 1
        self._waiting: Made | Failed | None = None
        self._wishes = wishes
        self._replaced = replaced.name if replaced else None
        self._next_m = Vector(context.scene.cursor.location)
        self._making = Making(_connection(context), orders)

    def tick(self, context: bpy.types.Context) -> bool:
        """Show how far the work is, place what is there; return whether there is more to come.

        Heads wait while an object is edited, sculpted or painted.
        """
        state, progress = context.window_manager.spinmeround, self._making.progress
        state.running, state.title, state.fraction = True, progress.title, progress.fraction
        if progress.seconds_left is not None:
            state.title += f", {progress.seconds_left:.0f} s left"
        done = self._making.done  # asked before the results, so that none can come after the last look
        self._waiting = self._waiting or self._making.take()
        if self._waiting is None:
            return not done
        if isinstance(self._waiting, Failed):
            self._fail(self._waiting.order, self._waiting.why)
        elif context.mode != "OBJECT":
            state.title = "A head is ready: change to Object Mode to place it"
            return True
        else:
            self._try_to_place(context, self._waiting)
        self._waiting = None
        return True

    def cancel(self) -> None:
        """Stop the work; what is there already stays."""
        self._making.cancel()

    def end(self, context: bpy.types.Context) -> None:
        """Show what became of the work, and remove its files."""
        global _current
        _current = None
        cancelled = self._making.cancelled
        self._making.close()
        state = context.window_manager.spinmeround
        state.running, state.title, state.fraction = False, "", 0.0
        state.error = "; ".join(self.failures[:3]) + (" ..." if len(self.failures) > 3 else "")
        if cancelled and not self.failures:
            state.error = STOPPED

    def _try_to_place(self, context: bpy.types.Context, made: Made) -> None:
        try:
            self._place(context, made)
        except (ValueError, RuntimeError) as error:  # Blender's operators raise RuntimeError
            self._fail(made.order, str(error).strip())

    def _place(self, context: bpy.types.Context, made: Made) -> None:
        if self._replaced is not None:
            armature = context.scene.objects.get(self._replaced)
            if armature is None:
                raise ValueError(f"{self._replaced}, which was to be made again, is no longer in the scene")
            remake(context, armature, made, self._wishes)
        else:
            armature = place(context, made, self._wishes, at=self._next_m)
            if self._several:
                left, right = extent_m(armature)
                shift = -left if self.placed else 0.0
                armature.location.x += shift
                self._next_m.x = armature.location.x + right + _GAP_M
        self.placed += 1

    def _fail(self, order: Order, why: str) -> None:
        self.failures.append(f"{order.name}: {why}" if self._several else why)


def begin(context: bpy.types.Context, orders: Sequence[Order], wishes: Wishes, **where: Any) -> Session:
    """Start the one session there may be."""
    global _current
    context.window_manager.spinmeround.error = ""
    _current = Session(context, orders, wishes, **where)
    return _current


def current() -> Session | None:
    """Return the session that runs."""
    return _current


def abandon(*_: Any) -> None:
    """Stop without a trace in the scene: another file is opened, or the extension goes."""
    if _current is not None:
        _current.end(bpy.context)


def selected_head(context: bpy.types.Context) -> bpy.types.Object | None:
    """Return the armature of the head that the active object belongs to."""
    return heads.head_of(context.active_object)


def _connection(context: bpy.types.Context) -> Callable[[Callable[[], bool]], Client]:
    """Return what connects, from settings that are read now: the thread that calls it may not touch Blender.

    Raises:
        ServerError: the address is none, or one that Blender may not go to.
    """
    wanted = preferences(context)
    client, path = configured_client(wanted), bpy.path.abspath(wanted.program)

    def connect(cancelled: Callable[[], bool]) -> Client:
        try:
            client.server()
        except ServerError as error:
            if not error.unreachable or not is_on_this_computer(client.address):
                raise
            return PROGRAM.start(path, cancelled=cancelled)
        return client

    return connect
