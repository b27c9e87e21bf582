"""The stages of one run: which there are, how far along it is, what each took in time and memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import psutil

from spinmeround.configs import Quality, preset
from spinmeround.errors import CancelledError, InputError, ResourceError, is_out_of_memory, is_out_of_room
from spinmeround.runtime.blas import one_blas_thread
from spinmeround.runtime.memory import free_bytes, most_held_bytes
from spinmeround.types import Progress

log = logging.getLogger(__name__)

SENTENCES: Mapping[str, str] = {
    "photo": "reading the photo",
    "folder": "reading the views",
    "portrait": "finding the face",
    "identity": "recognising the face",
    "head": "fitting the head",
    "views": "looking from all sides",
    "cameras": "registering the cameras",
    "surface": "shaping the surface",
    "splats": "fitting the splats",
    "texture": "painting the texture",
    "avatar": "rigging the avatar",
    "hair": "growing the hair",
    "held out": "measuring on views held out",
    "files": "writing the files",
    "preview": "drawing the preview",
    "turntable": "filming the turntable",
}
"""What each stage is called while it runs; a stage that is not here goes by its own name."""
_SAMPLE_S = 0.05
_FEWEST_SPLATS = 100
_BYTES_A_SPLAT = 2000
"""While it is fitted, with its gradients and averages; 700 without harmonics, 2,200 with those of degree 3."""


@dataclass(frozen=True)
class StageRecord:
    """What one stage took.

    Attributes:
        peak_memory_mb: the most this process held during the stage, libraries and earlier results included.
    """

    stage: str
    seconds: float
    peak_memory_mb: float


def sentence(stage: str) -> str:
    """Return what a stage is called while it runs."""
    return SENTENCES.get(stage, stage)


class Stages:
    """The stages of one run in order, with their progress, times and memory.

    Args:
        planned: the stages to come, in order.
        expected_s: a first guess of each stage's seconds; the rest is rescaled by the pace of this machine.
        cancel: asked as each stage begins and whenever one reports progress; true ends the run.
    """

    def __init__(
        self, planned: Sequence[str], *, expected_s: Mapping[str, float], cancel: Callable[[], bool] = lambda: False
    ) -> None:
        self.planned = tuple(planned)
        self.records: list[StageRecord] = []
        self.current: str | None = None
        self._known_s, self._cancel = expected_s, cancel
        self._expected_s = {stage: expected_s.get(stage, 1.0) for stage in planned}
        self._started = 0.0
        self._fraction: float | None = None

    def add(self, stage: str) -> None:
        """Plan one more stage, the need of which was found on the way."""
        self._expected_s[stage] = self._known_s.get(stage, 1.0)
        self.planned = (*self.planned, stage)

    def leave_out(self, stage: str) -> None:
        """Plan a stage no more, if it was planned."""
        self._expected_s.pop(stage, None)
        self.planned = tuple(each for each in self.planned if each != stage)

    def expect(self, stage: str, *, like: str) -> None:
        """Expect of a planned stage the seconds that are known of another kind of work."""
        if stage in self._expected_s:
            self._expected_s[stage] = self._known_s.get(like, 1.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[Progress]:
        """Time a stage; yield what its progress is reported to.

        Raises:
            CancelledError: the run was cancelled.
            ResourceError: memory or disk ran out inside.
        """
        self._stop_if_cancelled()
        if stage not in self.planned:
            self.add(stage)
        self.current, self._fraction, self._started = stage, None, time.perf_counter()
        log.info("[%d/%d] %s", len(self.records) + 1, len(self.planned), sentence(stage))
        with _resource_errors(stage), one_blas_thread(), _peak_memory() as peak:
            yield self._progressed
        seconds = time.perf_counter() - self._started
        self.records.append(StageRecord(stage, seconds, peak.megabytes))
        self.current = None
        log.debug("%s took %.1f s, at most %.0f MB", sentence(stage), seconds, peak.megabytes)

    @property
    def fraction_done(self) -> float:
        """Fraction of the whole run that is done, in [0, 1]: a guess."""
        done = sum(self._expected_s[record.stage] for record in self.records)
        current = self.current  # another thread may ask while a stage ends
        if current is not None:
            done += self._expected_s[current] * self._fraction_of(current)
        return min(1.0, done / sum(self._expected_s.values()))

    @property
    def seconds_left(self) -> float:
        """Seconds until the end: a guess."""
        return (1 - self.fraction_done) * sum(self._expected_s.values()) * self._pace()

    def _progressed(self, fraction: float, message: str) -> None:
        self._stop_if_cancelled()
        self._fraction = fraction
        log.debug("%3.0f %% %s", 100 * fraction, message)

    def _stop_if_cancelled(self) -> None:
        if self._cancel():
            raise CancelledError("cancelled; no half-written file was left behind")

    def _fraction_of(self, stage: str) -> float:
        """Return what the stage reports, else the time gone against that expected, which never claims the last bit."""
        gone = time.perf_counter() - self._started
        by_time = min(0.95, gone / (self._expected_s[stage] * self._pace()))
        reported = self._fraction
        return by_time if reported is None else max(reported, min(by_time, reported + 0.1))

    def _pace(self) -> float:
        """How much slower than expected this machine has been so far."""
        expected = sum(self._expected_s[record.stage] for record in self.records)
        took = sum(record.seconds for record in self.records)
        return min(10.0, max(0.2, (took + 2) / (expected + 2)))


def check_memory(quality: Quality, *, fits_surface: bool = True, splats: int | None = None) -> None:
    """Check that a run fits into what is free: most systems end a program that takes more without a word.

    Args:
        fits_surface: whether a surface is fitted, which takes the most.
        splats: how many there may be, where that is asked for.

    Raises:
        InputError: so few splats show no head.
        ResourceError: it does not.
    """
    if splats is not None and splats < _FEWEST_SPLATS:
        raise InputError(f"{splats} splats show no head; ask for {_FEWEST_SPLATS} or more", settings=("splats",))
    needed_mb = preset(quality).memory_mb if fits_surface else preset(quality).head_memory_mb
    free_mb = free_bytes() / 2**20
    splats_mb = (splats or 0) * _BYTES_A_SPLAT / 2**20
    if splats_mb > free_mb:
        raise ResourceError(
            f"{splats} splats need about {splats_mb:.0f} MB of free memory and {free_mb:.0f} MB are free; "
            "ask for fewer",
            settings=("splats",),
        )
    if free_mb < needed_mb:
        advice = "close other programs" + ("" if quality == "draft" else ", or use draft quality")
        raise ResourceError(
            f"{quality} quality needs {needed_mb} MB of free memory and {free_mb:.0f} MB are free; {advice}",
            settings=("quality",),
        )


Watch = Callable[[Stages], AbstractContextManager[object]]
"""Shows a run while it lasts, for instance as a progress bar."""


def unwatched(_: Stages) -> AbstractContextManager[object]:
    """Show nothing."""
    return nullcontext()


@contextmanager
def _resource_errors(stage: str) -> Iterator[None]:
    """Turn what the libraries raise when memory or disk runs out into one error."""
    advice = "close other programs, or use draft quality"
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise ResourceError(f"not enough memory while {sentence(stage)}; {advice}") from error
        if is_out_of_room(error):
            raise ResourceError(f"the disk is full while {sentence(stage)}; free some space and run again") from error
        raise


@dataclass
class _Peak:
    megabytes: float


@contextmanager
def _peak_memory() -> Iterator[_Peak]:
    """The most this process holds meanwhile: the system's own record where it is broken, else samples from a thread.

    A thread that samples waits while another holds Python's lock, and misses what such a kernel takes and gives back.
    """
    process, record_before = psutil.Process(), most_held_bytes()
    peak = _Peak(process.memory_info().rss / 2**20)
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_S):
            peak.megabytes = max(peak.megabytes, process.memory_info().rss / 2**20)

    thread = threading.Thread(target=sample, name="spinmeround-memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.megabytes = max(peak.megabytes, process.memory_info().rss / 2**20)
        record = most_held_bytes()
        if record > record_before:
            peak.megabytes = max(peak.megabytes, record / 2**20)
