"""Memory of this process: what it may still take, by the machine or by a limit, and the most it ever held."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import psutil

_CGROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_CGROUPS = Path("/sys/fs/cgroup")


def free_bytes() -> int:
    """Memory and swap that are free, within the limits of a container and of ``ulimit -v``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in some containers psutil cannot tell how much is swapped in and out
        free = psutil.virtual_memory().available + psutil.swap_memory().free
    return max(0, min([free, *_free_in_cgroups(_CGROUPS, Path("/proc/self/cgroup")), *_free_address_space()]))


def most_held_bytes() -> int:
    """The most memory this process has ever held at once, as the system keeps record of it."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    if sys.platform == "linux":
        # What getrusage tells begins with what the parent held when it started this process.
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _free_in_cgroups(root: Path, membership: Path) -> list[int]:
    """What is left in each control group of Linux that holds this process: how containers limit memory.

    Args:
        root: where the groups are mounted; version 2 directly, version 1 under ``memory``.
        membership: lines such as ``0::/a/b`` (version 2) or ``4:memory:/a/b`` (version 1).
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text(encoding="utf-8").splitlines()]
    except OSError:  # no Linux
        return []
    left = []
    for _, controllers, path in lines:
        if controllers in ("", "memory"):
            group = root / controllers / path.lstrip("/")
            # A container sees its own group as the root, while `path` may be the name outside of it.
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    left += [_left_in(folder / limit, folder / usage) for limit, usage in _CGROUP_FILES]
    return [value for value in left if value is not None]


def _left_in(limit: Path, usage: Path) -> int | None:
    try:
        most, used = int(limit.read_text(encoding="ascii")), int(usage.read_text(encoding="ascii"))
        statistics = dict(line.split() for line in usage.with_name("memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return None
    return most - used + int(statistics.get("inactive_file", 0))  # files that the kernel gives up when memory is short


def _free_address_space() -> list[int]:
    """What ``ulimit -v`` leaves."""
    if sys.platform == "win32":
        return []
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if most == resource.RLIM_INFINITY else [most - psutil.Process().memory_info().vms]
