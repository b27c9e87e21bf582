"""The real server with a stand-in for the process that makes heads.

``python stand_in_server.py HEADS PREPARED`` prints its address; heads are kept in the first folder, and are
copies of what the second one holds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spinmeround.server.serve import serve
from spinmeround.server.settings import ServerSettings


def _say(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    heads, prepared = sys.argv[1:]
    worker = (sys.executable, str(Path(__file__).with_name("stand_in_worker.py")), prepared)
    serve(ServerSettings(Path(heads), port=0, worker=worker), ready=_say)
