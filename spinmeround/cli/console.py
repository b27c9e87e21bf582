"""How a command talks: stages and a bar on stderr, answers on stdout, one line and an exit code for an error."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from spinmeround.cli.arguments import FLAGS
from spinmeround.errors import ResourceError, SpinMeRoundError, is_out_of_memory, is_out_of_room

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from spinmeround.runtime.stages import Stages, Watch

EXIT_STOPPED = 130
_SIGNALS = ("SIGTERM", "SIGHUP")
"""Besides Ctrl-C: what a system that shuts down, a scheduler or a terminal that closes sends. Windows has the first."""


def run(command: str, action: Callable[[Watch], None], *, quiet: bool = False, verbose: bool = False) -> int:
    """Run a command.

    Args:
        action: given what shows the stages of a pipeline.

    Returns:
        the exit status: 0, the code of a ``SpinMeRoundError``, 130 after Ctrl-C, or 128 and the number of another
        signal that asks to end. Anything else is a defect of this program and leaves as its traceback.
    """
    _open_closed_streams()
    console = stderr_console(soft_wrap=True)
    try:
        with _stopped_by_signals(), _logging_to(console, quiet=quiet, verbose=verbose):
            action(_watch(console, quiet=quiet))
        sys.stdout.flush()
    except SpinMeRoundError as error:
        return _failed(command, error, error.exit_code)
    except KeyboardInterrupt as stopped:
        _let_go(stopped)
        _say_at_last(f"{command}: stopped; no half-written file was left behind")
        return stopped.exit_code if isinstance(stopped, _Signalled) else EXIT_STOPPED
    except BrokenPipeError:
        _leave(sys.stdout)
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if is_out_of_memory(error):
            return _failed(command, ResourceError("not enough memory; close other programs"), ResourceError.exit_code)
        if is_out_of_room(error):
            where = getattr(error, "filename", None) or "what was being written"
            full = ResourceError(f"the disk is full: no room for {where}; free some space and run again")
            return _failed(command, full, ResourceError.exit_code)
        raise
    return 0


def stderr_console(*, soft_wrap: bool = False) -> Console:
    """Return a console on stderr; once nobody reads it any more it is silent, and the work goes on."""
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            _leave(sys.stderr)

    return Stderr(stderr=True, highlight=False, soft_wrap=soft_wrap)


def _leave(stream: TextIO) -> None:
    """Let a stream go nowhere: whoever read it has seen enough, and Python would complain once more when it exits."""
    with suppress(OSError, ValueError):  # a stream without a file, such as a test's
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _say_at_last(line: str) -> None:
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        _leave(sys.stderr)


def _open_closed_streams() -> None:
    """Give a program that was started without stdout or stderr, as services and ``>&-`` do, one that goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives


class _Signalled(KeyboardInterrupt):
    """A signal that asks to end, cleaned up after as Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let other signals end the run as Ctrl-C does; what is ignored, as ``nohup`` has it, stays so."""

    def stop(number: int, frame: object) -> None:
        raise _Signalled(number)

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # Python code may call a command from anywhere
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler == signal.SIG_DFL}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go(stopped: KeyboardInterrupt) -> None:
    """Free what was under way: compilers stopped half-way complain as their parts go, and there is nothing to do."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(stopped.__traceback__)
        gc.collect()
    finally:
        sys.unraisablehook = before


def _failed(command: str, error: SpinMeRoundError, code: int) -> int:
    """Print an error as one line, with the flags of the settings it is about."""
    flags = dict.fromkeys(FLAGS[name] for name in error.settings)
    line = " ".join(str(error).split()) + (f" ({', '.join(flags)})" if flags else "")
    _say_at_last(f"{command}: {line}")
    return code


class _ConsoleHandler(logging.Handler):
    """Log records as plain lines that do not tear the progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self._console.print(prefix + self.format(record), markup=False)


@contextmanager
def _logging_to(console: Console, *, quiet: bool, verbose: bool) -> Iterator[None]:
    """Show what this package logs; as things were afterwards, since Python code may call a command too."""
    ours = logging.getLogger("spinmeround")
    before = ours.handlers, ours.propagate, ours.level
    ours.handlers, ours.propagate = [_ConsoleHandler(console)], False
    ours.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.simplefilter("ignore")  # what libraries warn of helps developers, not users
            yield
    finally:
        ours.handlers, ours.propagate = before[:2]
        ours.setLevel(before[2])


def _watch(console: Console, *, quiet: bool) -> Watch:
    def watch(stages: Stages) -> AbstractContextManager[object]:
        from spinmeround.runtime.stages import unwatched

        return unwatched(stages) if quiet or not console.is_terminal else _bar(console, stages)

    return watch


@contextmanager
def _bar(console: Console, stages: Stages) -> Iterator[None]:
    """One line at the bottom of the terminal: the stage, how far, how long still."""
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Column, Table

    from spinmeround.runtime.stages import sentence

    def line() -> RenderableType:
        stage = stages.current
        row = Table.grid(*(Column(no_wrap=True) for _ in range(4)), padding=(0, 1))
        minutes, seconds = divmod(round(stages.seconds_left), 60)
        row.add_row(
            sentence(stage) if stage is not None else "",
            ProgressBar(total=1, completed=stages.fraction_done, width=24),
            f"{stages.fraction_done:4.0%}",
            f"about {minutes}:{seconds:02d} left",
        )
        return row

    with Live(console=console, get_renderable=line, refresh_per_second=4, transient=True):
        yield
