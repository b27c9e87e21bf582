"""Errors a user can act on. Every message says what was wrong, what was got, and what to do next.

The commands print the message of a ``SpinMeRoundError`` as one line and exit with its ``exit_code``; any other
exception is a defect and shows its traceback.
"""

from __future__ import annotations

import errno

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says on CUDA, on Linux and macOS, and on Windows: for the main memory it has no exception of its own."""
_NOT_LOADED = ("failed to map segment", "cannot allocate memory")
"""What loading a library says that memory has no room for."""


class SpinMeRoundError(Exception):
    """Base of everything this package raises on purpose.

    Attributes:
        settings: dotted names of the ``RunSettings`` or output options that the message is about; a front end adds what
            it calls them, as a command adds its flags.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, settings: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.settings = settings


class CancelledError(SpinMeRoundError):
    """A run that its front end cancelled."""

    exit_code = 130


class InputError(SpinMeRoundError):
    """A photo, folder or file that cannot be used."""

    exit_code = 2


class NoFaceError(InputError):
    """No usable face in a photo."""


class OutputError(SpinMeRoundError):
    """A place that cannot be written, or a format nobody knows."""

    exit_code = 3


class WeightsError(SpinMeRoundError):
    """A model file that is absent, cut short, or not what the registry says."""

    exit_code = 4


class MissingDependencyError(SpinMeRoundError):
    """An optional package that an explicit choice needs."""

    exit_code = 5


class ResourceError(SpinMeRoundError):
    """Not enough memory or disk."""

    exit_code = 6


class FitError(SpinMeRoundError):
    """A fit that did not converge to anything worth writing."""

    exit_code = 7


class PoorResultError(SpinMeRoundError):
    """A result that is not worth writing by its own measures, where that was asked to be an error."""

    exit_code = 8


class HeadsFailedError(SpinMeRoundError):
    """A batch of which some heads could not be made; the others are there."""

    exit_code = 9


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of whatever library, means that memory ran out."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    if isinstance(error, OSError | ImportError):
        said = f"{error} {error.__context__}".lower()  # some libraries raise another error without the reason
        return any(words in said for words in _NOT_LOADED)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )


def is_out_of_room(error: BaseException) -> bool:
    """Whether an exception means that a disk, a quota or the size of a file is at its end."""
    room = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quotas
    return isinstance(error, OSError) and error.errno in room
