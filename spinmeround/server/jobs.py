"""The heads of the server and the queue of jobs that make them: one process a job, started before the job comes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinmeround.errors import SpinMeRoundError
from spinmeround.server.events import Events, Listener, Told
from spinmeround.server.processes import Child
from spinmeround.server.refusals import busy, not_found
from spinmeround.server.schemas import Fault, Head, Stage
from spinmeround.server.settings import ServerSettings
from spinmeround.server.store import HeadStore

log = logging.getLogger(__name__)

_SECONDS_TO_RETRY = 2.0


@dataclass(frozen=True)
class Job:
    """What a process has to do.

    Attributes:
        file: one more file of a finished head; None for the head itself.
    """

    head_id: str
    file: str | None = None


class Jobs:
    """All heads, and the work on them. Used from one event loop alone, as everything in it is."""

    def __init__(self, store: HeadStore, settings: ServerSettings) -> None:
        self.events = Events()
        self._store, self._settings = store, settings
        self._heads: dict[str, Head] = {}
        self._json: dict[str, str] = {}
        self._waiting: list[Job] = []
        self._running: dict[str, Child] = {}
        self._woken = asyncio.Condition()
        self._slots: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what an earlier server left, and begin to work."""
        for head in self._store.load():
            self._heads[head.id] = head
            if head.state in ("queued", "running"):
                head.state, head.started = "queued", None
                self._waiting.append(Job(head.id))
            self._waiting += [Job(head.id, name) for name in head.making]
        self._number_queue()
        for head in self._heads.values():
            self._tell(head)
        self._slots = [asyncio.create_task(self._work()) for _ in range(self._settings.jobs_at_once)]

    async def stop(self) -> None:
        """End all work; what was under way goes on when a server starts again."""
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)

    def all_json(self) -> str:
        """Return the JSON of all heads, newest first."""
        return f'{{"heads":[{",".join(self._json[head_id] for head_id in reversed(self._heads))}]}}'

    def head(self, head_id: str) -> Head:
        """Return a head.

        Raises:
            RefusedError: there is none.
        """
        if head_id not in self._heads:
            raise not_found("such head")
        return self._heads[head_id]

    def listen(self, head: Head | None = None) -> Listener:
        """Return a listener to one head or to all, who hears first how things are."""
        listener = self.events.add(None if head is None else head.id)
        for each in self._heads.values() if head is None else (head,):
            listener.tell(each.id, self.latest(each))
        return listener

    def latest(self, head: Head) -> Told:
        """Return a head as it is now."""
        return Told("head", self._json[head.id], head.is_settled)

    def check_queue(self) -> None:
        """Check that one more job may wait.

        Raises:
            RefusedError: too many wait.
        """
        if len(self._waiting) >= self._settings.limits.queue:
            raise busy(f"{len(self._waiting)} jobs wait already")

    async def add(self, head: Head, incoming: Path) -> None:
        """Take on a new head whose photos are in a folder.

        Raises:
            RefusedError: too many jobs wait.
        """
        self.check_queue()
        self._store.add(head, incoming)
        self._heads[head.id] = head
        await self._put(Job(head.id))

    async def make_file(self, head: Head, name: str) -> None:
        """Have one more file of a finished head made.

        Raises:
            RefusedError: too many jobs wait.
        """
        self.check_queue()
        self._store.save(head.model_copy(update={"making": [*head.making, name], "error": None}))
        head.making = [*head.making, name]
        head.error = None
        await self._put(Job(head.id, name))

    async def remove(self, head_id: str) -> None:
        """End the work on a head and remove all of it.

        Raises:
            RefusedError: there is none.
        """
        self.head(head_id)
        del self._heads[head_id], self._json[head_id]
        self._waiting = [job for job in self._waiting if job.head_id != head_id]
        if head_id in self._running:
            await self._running[head_id].end()
        await asyncio.to_thread(self._store.remove, head_id)
        self.events.tell(head_id, Told("deleted", json.dumps({"id": head_id}), is_last=True))
        self._tell_queue()

    async def _put(self, job: Job) -> None:
        self._waiting.append(job)
        self._tell_queue()
        self._tell(self._heads[job.head_id])
        async with self._woken:
            self._woken.notify()

    async def _next(self) -> Job:
        async with self._woken:
            await self._woken.wait_for(self._startable)
            job = self._startable()
            assert job is not None
            self._waiting.remove(job)
            return job

    def _startable(self) -> Job | None:
        """Return the first job of a head that nothing else is done to."""
        return next((job for job in self._waiting if job.head_id not in self._running), None)

    async def _work(self) -> None:
        """Do one job after the other, each in a process that was there before it."""
        child: Child | None = None
        try:
            while True:
                try:
                    child = await Child.start(self._settings.worker)
                except OSError:
                    log.exception("no process can be started; trying again")
                    await asyncio.sleep(_SECONDS_TO_RETRY)
                    continue
                job = await self._next()
                self._running[job.head_id] = child
                try:
                    if child.has_ended:  # while it waited
                        self._running[job.head_id] = child = await Child.start(self._settings.worker)
                    await self._do(job, child)
                except Exception:
                    log.exception("a job could not be done")
                    self._fail(job, Fault(kind="Defect", message="a defect of this program; its log says more"))
                finally:
                    await child.end()
                    del self._running[job.head_id]
                async with self._woken:
                    self._woken.notify_all()  # another job of the same head may have waited
        finally:
            if child is not None:
                await child.end()

    async def _do(self, job: Job, child: Child) -> None:
        """Do one job; whatever the process does, the head ends settled or is gone."""
        head = self._heads.get(job.head_id)
        if head is None:
            return None
        if job.file is None:
            head.state, head.started = "running", now()
            self._store.save(head)
        head.stages, head.fraction, head.seconds_left = [], 0.0, None
        self._tell_queue()
        self._tell(head)
        await child.send({"folder": str(self._store.place(head.id)), "options": head.options, "file": job.file})
        while (said := await child.receive()) is not None and job.head_id in self._heads:
            match said["event"]:
                case "progress":
                    self._progress(head, said)
                case "done":
                    return self._finish(head, job)
                case "failed":
                    return self._fail(job, Fault(kind=said["kind"], message=said["message"]))
        if job.head_id in self._heads:
            self._fail(job, _crash(await child.end()))
        return None

    def _progress(self, head: Head, said: dict[str, Any]) -> None:
        head.stages = [Stage.model_validate(stage) for stage in said["stages"]]
        head.fraction, head.seconds_left = said["fraction"], said["seconds_left"]
        self._tell(head)

    def _finish(self, head: Head, job: Job) -> None:
        self._store.describe(head)
        for stage in head.stages:
            stage.state = "done"
        head.fraction, head.seconds_left = 1.0, 0.0
        if job.file is None:
            head.state, head.ended = "done", now()
        else:
            head.making = [name for name in head.making if name != job.file]
        self._store.save(head)
        self._tell(head)

    def _fail(self, job: Job, error: Fault) -> None:
        head = self._heads.get(job.head_id)
        if head is None:
            return
        head.error, head.seconds_left = error, None
        if job.file is None:
            head.state, head.ended = "failed", now()
        else:
            head.making = [name for name in head.making if name != job.file]
        with contextlib.suppress(SpinMeRoundError):  # a full disk: the head is settled for as long as the server runs
            self._store.save(head)
        self._tell(head)

    def _tell(self, head: Head) -> None:
        self._json[head.id] = head.model_dump_json()
        self.events.tell(head.id, self.latest(head))

    def _tell_queue(self) -> None:
        for head in self._number_queue():
            self._tell(head)

    def _number_queue(self) -> Iterator[Head]:
        """Number the heads that wait; return those whose number has changed."""
        places = {job.head_id: place for place, job in enumerate(self._waiting, start=1) if job.file is None}
        changed = [head for head in self._heads.values() if head.place_in_queue != places.get(head.id)]
        for head in changed:
            head.place_in_queue = places.get(head.id)
        return iter(changed)


def _crash(status: int) -> Fault:
    """Say how a process ended that did not say so itself."""
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return Fault(
        kind="Crashed",
        message=f"the process that made this ended unexpectedly ({how}); memory may have run out: close other programs "
        "or use draft quality, and try again",
    )


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
