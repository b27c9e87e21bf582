"""Run a benchmark's script inside Blender and get back what it saw. Imports the standard library only.

Blender comes from PyPI as ``bpy`` (about 1 GB installed), for Python 3.11 only, in an environment of its own. A
benchmark calls itself there with ``--inside`` and prints its findings as one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_MARK = "SEEN "
"""Begins the line of findings among what Blender itself prints."""


def print_findings(findings: dict[str, Any]) -> None:
    """Print what a script inside Blender saw, for ``read_findings``."""
    print(_MARK + json.dumps(findings))


def read_findings(output: str) -> dict[str, Any]:
    """Return the findings in a script's output.

    Raises:
        SystemExit: the script printed none.
    """
    line = next((line for line in output.splitlines() if line.startswith(_MARK)), None)
    if line is None:
        sys.exit(f"Blender failed:\n{output[-4000:]}")
    return json.loads(line[len(_MARK) :])


def run_blender(*command: str, environment: dict[str, str] | None = None, minutes: int = 10) -> str:
    """Return standard output and error of a command.

    Args:
        command: a program and its arguments.
        environment: what is added to this process's environment.
        minutes: how long it may take.

    Raises:
        SystemExit: the command failed.
    """
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
        env=os.environ | (environment or {}),
    )
    if done.returncode != 0:
        sys.exit(f"Blender failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr
