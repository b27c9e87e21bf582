"""What a user installs: one import package with its data, its commands, its public names and its dependencies."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import spinmeround

ROOT = Path(__file__).resolve().parents[1]


def _project() -> dict:
    """The table ``project`` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    from tools.check_wheel import build_wheel

    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_one_package_with_its_data(wheel):
    from tools.check_wheel import find_problems

    assert find_problems(wheel) == []


def test_the_wheel_check_notices(wheel, tmp_path):
    from tools.check_wheel import find_problems

    spoilt = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(spoilt, "w") as target:
        for name in source.namelist():
            if name != "spinmeround/template/head.npz":
                target.writestr(name, source.read(name))
        target.writestr("recon/__init__.py", "")
        target.writestr("spinmeround/tests/test_x.py", "")
    problems = "\n".join(find_problems(spoilt))
    assert "installs ['recon', 'spinmeround']" in problems
    assert "head.npz is not in the wheel" in problems
    assert "spinmeround/tests/test_x.py should not be in the wheel" in problems


def test_commands_lead_to_functions():
    project = _project()
    commands = {"recon", "views", "fit", "convert", "batch", "app", "view", "weights", "doctor"}
    assert set(project["scripts"]) == {f"spmr-{command}" for command in commands}
    for target in project["scripts"].values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_public_names_exist_and_no_others():
    for name in spinmeround.__all__:
        assert getattr(spinmeround, name) is not None
    assert set(spinmeround.__all__) == set(spinmeround._HOMES)
    assert spinmeround.__version__ == importlib.metadata.version("spinmeround")
    with pytest.raises(AttributeError, match="nonsense"):
        _ = spinmeround.nonsense


def test_constraints_hold_every_dependency():
    project = _project()
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert pinned["torch"] == "2.13.0"
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in pinned
        assert requirement.specifier.contains(pinned[name])


def test_docs_hold_what_they_promise():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_docs.py")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_the_docs_check_notices(tmp_path):
    from tools.check_docs import broken_examples, broken_links

    page = tmp_path / "page.md"
    page.write_text(
        "[gone](gone.md) [web](https://example.org) [here](#part-two)\n# Part one\n```\n"
        "spmr-recon a.jpg --output b.ply\nspmr-nothing\nmake nothing\nspmr-views a.jpg --out v --azimuths -30,30\n```\n"
        "```python\nimport spinmeround\nspinmeround.nothing()\n```\n",
        encoding="utf-8",
    )
    assert list(broken_links(page)) == [
        "page.md: the link gone.md leads nowhere",
        "page.md: page.md has no heading #part-two",
    ]
    examples = list(broken_examples(page))
    assert len(examples) == 4
    assert "unknown option --output (perhaps --out?)" in examples[0]
    assert "no command spmr-nothing" in examples[1]
    assert "no target nothing" in examples[2]
    assert "no attribute 'nothing'" in examples[3]


def _imported() -> set[str]:
    """Top-level names that the package imports, those inside functions included."""
    names: set[str] = set()
    for path in (ROOT / "spinmeround").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"spinmeround"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    modules = {"pillow": "PIL", "scikit-image": "skimage", "opencv-python-headless": "cv2", "usd-core": "pxr"}
    project = _project()

    def names(requirements: list[str]) -> set[str]:
        found = {Requirement(text).name for text in requirements}
        return {modules.get(name, name.replace("-", "_")) for name in found}

    base = names(project["dependencies"])
    extras = {n for key, texts in project["optional-dependencies"].items() if key != "dev" for n in names(texts)}
    assert base <= _imported(), "a dependency that nothing imports"
    # Nerfstudio loads its plug-in itself, from an entry point; its pins do not go with a current gsplat.
    assert _imported() - {"nerfstudio"} <= base | extras, "an import that nothing declares"
