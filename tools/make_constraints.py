"""Print constraints.txt: the installed versions of all direct and indirect dependencies in pyproject.toml.

Run it in an environment whose tests have passed: ``python tools/make_constraints.py > constraints.txt``.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# The versions the tests passed with; written by tools/make_constraints.py.
# A constraint only says which version, not that a package is wanted: pyproject.toml says that.
"""


def main() -> None:
    """Print the file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    found: dict[str, str] = {}
    for requirement in map(Requirement, wanted):
        _collect(requirement, found)
    print(HEADER + "\n".join(f"{name}=={version}" for name, version in sorted(found.items())))


def _collect(requirement: Requirement, found: dict[str, str], parent_extras: frozenset[str] = frozenset()) -> None:
    """Add the installed version of ``requirement`` and of all that it requires."""
    if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in parent_extras | {""}):
        return
    name = canonicalize_name(requirement.name)
    try:
        installed = distribution(name)
    except PackageNotFoundError:  # an extra that is not installed on this machine
        return
    version = installed.version.split("+")[0]  # a constraint on 2.13.0 also accepts the build 2.13.0+cpu
    seen = found.get(name) == version
    found[name] = version
    if seen and not requirement.extras:
        return
    for below in installed.requires or ():
        _collect(Requirement(below), found, frozenset(requirement.extras))


if __name__ == "__main__":
    main()
