"""Watching the work: a modal timer that looks at it, and the button that stops it."""
# SPDX-License-Identifier: GPL-3.0-or-later

import bpy

from . import session

SECONDS_BETWEEN_LOOKS = 0.2


class Watcher:
    """Looks at the session on each beat of a timer; all else in Blender goes on as usual."""

    _session: session.Session
    _timer: bpy.types.Timer | None = None

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Begin to watch the session that runs."""
        self._session = session.current()
        self._timer = context.window_manager.event_timer_add(SECONDS_BETWEEN_LOOKS, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Look at the work."""
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if session.current() is not self._session:
            self._leave(context)
            return {"CANCELLED"}
        try:
            more = self._session.tick(context)
        except Exception:
            # A defect must not leave a session behind that keeps others from starting.
            self.cancel(context)
            raise
        if more:
            context.workspace.status_text_set(f"spinmeround: {context.window_manager.spinmeround.title}")
            _redraw(context)
            return {"PASS_THROUGH"}
        self._leave(context)
        return close(self, context, self._session)

    def cancel(self, context: bpy.types.Context) -> None:
        """Stop: Blender ends the operator, since its window was closed."""
        self._leave(context)
        session.abandon()

    def _leave(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
        context.workspace.status_text_set(None)


class SPMR_OT_watch(Watcher, bpy.types.Operator):
    """Show how far the work is, and place heads when they are there"""

    bl_idname = "spinmeround.watch"
    bl_label = "Heads from Photos"
    bl_options = {"INTERNAL", "UNDO"}


class SPMR_OT_stop(bpy.types.Operator):
    """Stop making heads; those that are there already stay"""

    bl_idname = "spinmeround.stop"
    bl_label = "Stop"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Something is being made."""
        return session.current() is not None

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Tell the work to stop; the timer sees when it has."""
        session.current().cancel()
        return {"FINISHED"}


CLASSES = (SPMR_OT_watch, SPMR_OT_stop)


def close(operator: bpy.types.Operator, context: bpy.types.Context, work: session.Session) -> set[str]:
    """End a session whose work is over, and report what became of it in the status bar."""
    work.end(context)
    _redraw(context)
    error = context.window_manager.spinmeround.error
    if error:
        operator.report({"WARNING"} if work.placed or error == session.STOPPED else {"ERROR"}, error)
    elif work.placed:
        operator.report({"INFO"}, "The head is there" if work.placed == 1 else f"{work.placed} heads are there")
    return {"FINISHED"} if work.placed else {"CANCELLED"}


def _redraw(context: bpy.types.Context) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()
