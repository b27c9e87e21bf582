"""``spmr-view``: heads of any format in the browser, or as one page to pass on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spinmeround.cli.arguments import Parser, add_talk
from spinmeround.cli.console import run

if TYPE_CHECKING:
    from spinmeround.runtime.stages import Watch
    from spinmeround.viewer.contents import Shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    reader = parser()
    given = reader.read(argv)
    if given.out is not None and given.out.suffix.lower() not in (".html", ".htm"):
        reader.error(f"--out writes a page, such as {given.out.with_suffix('.html')}, got {given.out}")

    def action(_: Watch) -> None:
        from spinmeround.viewer.contents import gathered
        from spinmeround.viewer.export import write_page

        with gathered(given.files) as shown:
            if given.out is None:
                _serve(shown, port=given.port, opens=given.open)
                return
            write_page(given.out, shown)
        if not given.quiet:
            sys.stderr.write(f"wrote {given.out}\n")

    return run("spmr-view", action, quiet=given.quiet, verbose=given.verbose)


def parser() -> Parser:
    """Return what the command understands."""
    made = Parser(
        "spmr-view",
        does="Show heads in the browser: splats, meshes and avatars, with their expressions, light and cameras.",
        examples=(
            "spmr-view head.ply",
            "spmr-view head.ply head.glb                splats and avatar of one head, side by side",
            "spmr-view head.ply views/                  with the cameras of a folder of views",
            "spmr-view head.ply --out head.html         one page that shows the head without a network",
        ),
        closing=(
            "The page is served on this machine alone (127.0.0.1), with nothing but the files given, until Ctrl-C.\n"
            "Mouse and arrow keys turn the head, + and - zoom, 0 resets the view."
        ),
    )
    made.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=".ply .spz .splat .glb .vrm .obj .stl, or a folder of posed views",
    )
    made.add_argument("--out", type=Path, metavar="PAGE.html", help="write one page instead, and end")
    made.add_argument("--port", type=_port, default=0, metavar="N", help="port of the page (default: any that is free)")
    made.add_argument("--no-open", dest="open", action="store_false", help="print the address, open no browser")
    add_talk(made)
    return made


def _port(text: str) -> int:
    if not (text.isdecimal() and len(text) < 6 and 0 < int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _serve(shown: Shown, *, port: int, opens: bool) -> None:
    """Serve until Ctrl-C, which is how one ends this."""
    import webbrowser

    from spinmeround.viewer.serving import address_of, viewer_server

    with viewer_server(shown, port=port) as server:
        sys.stdout.write(f"{address_of(server)}\n")
        sys.stdout.flush()
        if opens and not webbrowser.open(address_of(server)):
            sys.stderr.write("no browser could be opened: open the address above\n")
        try:
            server.serve_forever()
        except KeyboardInterrupt as stopped:
            if type(stopped) is not KeyboardInterrupt:  # another signal: the status tells which
                raise
