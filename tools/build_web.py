"""Build the pages of ``web/`` into the package, or check that those in it are what their source makes.

python tools/build_web.py
python tools/build_web.py --check
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
BUILT = ROOT / "spinmeround" / "server" / "static"
_STAMP = WEB / "node_modules" / ".spinmeround-stamp"


def main(arguments: list[str]) -> int:
    """Build, or with ``--check`` build elsewhere and compare; return 0 if all is well."""
    checks = arguments == ["--check"]
    if arguments and not checks:
        print(__doc__)
        return 2
    npm = shutil.which("npm")
    if npm is None:
        print("web: npm is not here (it comes with Node 20.19 or newer); " + ("NOT CHECKED" if checks else "not built"))
        return 0 if checks else 1
    install(npm)
    if not checks:
        return build(npm, BUILT)
    with tempfile.TemporaryDirectory() as folder:
        if status := build(npm, Path(folder)):
            return status
        problems = list(differences(Path(folder), BUILT))
    for problem in problems:
        print(f"  {problem}")
    print(f"web: {len(problems)} files are not what their source makes" + ("; run `make web`" if problems else ""))
    return 1 if problems else 0


def install(npm: str) -> None:
    """Install the locked packages, unless they are there."""
    wanted = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    if _STAMP.is_file() and _STAMP.read_text() == wanted:
        return
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=WEB, check=True, timeout=600)
    _STAMP.write_text(wanted)


def build(npm: str, folder: Path) -> int:
    """Check the types and build the pages into a folder; return the exit status."""
    command = [npm, "run", "--silent", "build", "--", "--outDir", str(folder), "--emptyOutDir", "--logLevel", "warn"]
    return subprocess.run(command, cwd=WEB, check=False, timeout=600).returncode


def differences(made: Path, kept: Path) -> Iterator[str]:
    """Yield a line for each file that is missing, left over or of other bytes."""
    names = {
        path.relative_to(folder).as_posix() for folder in (made, kept) for path in folder.rglob("*") if path.is_file()
    }
    for name in sorted(names):
        if not (kept / name).is_file():
            yield f"{name} is missing"
        elif not (made / name).is_file():
            yield f"{name} is left over"
        elif (made / name).read_bytes() != (kept / name).read_bytes():
            yield f"{name} differs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
