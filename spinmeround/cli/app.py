"""``spmr-app``: photos to heads in the browser, on this machine."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import Parser, add_talk
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = parser().read(argv)

    def action(_: Watch) -> None:
        from spinmeround.server.settings import ServerSettings, check_installed, default_folder, is_loopback, new_token

        check_installed()
        from spinmeround.server.serve import open_in_browser, serve

        def ready(url: str) -> None:
            sys.stdout.write(f"spinmeround is at {url} (Ctrl-C stops it)\n")
            sys.stdout.flush()
            if given.open:
                open_in_browser(url)

        settings = ServerSettings(
            folder=given.folder or default_folder(),
            host=given.host,
            port=given.port,
            token=None if is_loopback(given.host) else new_token(),
        )
        try:
            serve(settings, ready=ready)
        except KeyboardInterrupt as stopped:
            if type(stopped) is not KeyboardInterrupt:  # another signal: the status tells which
                raise
            log.info("stopped; heads that are not done go on when spmr-app is started again")

    return run("spmr-app", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """Return what the command understands."""
    made = Parser(
        "spmr-app",
        does="Photos to 3D heads in the browser: a server on this machine, and a page to use it with.",
        examples=(
            "spmr-app --open                             start, and open the page",
            "spmr-app --port 0                           take any port that is free",
            "spmr-app --folder heads                     keep heads in this folder",
            "spmr-app --host 0.0.0.0                     for other machines too, with a token in the address",
        ),
        closing=(
            "Photos never leave this machine. Heads stay in their folder until they are deleted on the page; what was\n"
            "not done when the server ended goes on when it is started again. docs/APP.md has more."
        ),
    )
    group = made.add_argument_group("server")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; all but the loopback's ask for a token (default: %(default)s)",
    )
    group.add_argument(
        "--port", type=_port, default=8765, metavar="N", help="0 takes any that is free (default: %(default)s)"
    )
    group.add_argument(
        "--folder", type=Path, metavar="DIR", help="where heads are kept (default: in your data directory)"
    )
    group.add_argument("--open", action="store_true", help="open the page in your browser")
    add_talk(made)
    return made


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)
