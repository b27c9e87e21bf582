"""The extension as a whole: its manifest, its zip, and what its files import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tools.build_blender import SOURCES, build, packed_files

MODULES = sorted(SOURCES.rglob("*.py"))
BLENDERS = {"bpy", "bpy_extras", "mathutils"}
TAGS = {"Import-Export", "Modeling", "Rigging"}
"""Those of Blender's list for add-ons that this one has."""


@pytest.fixture(scope="module")
def manifest() -> dict:
    return tomllib.loads((SOURCES / "blender_manifest.toml").read_text(encoding="utf-8"))


def test_the_manifest_has_what_blender_asks_for(manifest):
    """Its manual, Advanced > Extensions > Getting Started; benchmarks/blender_extension.py runs Blender's own check."""
    assert manifest["schema_version"] == "1.0.0" and manifest["type"] == "add-on"
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", manifest["id"])
    for key in ("name", "tagline", "maintainer"):
        assert manifest[key] == manifest[key].strip() != ""
    assert len(manifest["tagline"]) <= 64 and manifest["tagline"][-1].isalnum()
    assert tuple(map(int, manifest["blender_version_min"].split("."))) >= (4, 2, 0)
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert all(re.match(r"\d{4} \S", line) for line in manifest["copyright"])
    assert set(manifest["tags"]) <= TAGS


def test_permissions_say_why(manifest):
    assert manifest["permissions"] == {
        "network": "Talks to spinmeround on this computer",
        "files": "Reads photos and writes heads",
    }
    assert all(len(why) <= 64 and why[-1].isalnum() for why in manifest["permissions"].values())


def test_it_has_the_version_of_the_package(manifest):
    project = tomllib.loads((SOURCES.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest["version"] == project["version"]


def test_the_licence_comes_along():
    assert "GNU GENERAL PUBLIC LICENSE" in (SOURCES / "LICENSE").read_text(encoding="utf-8")
    for module in MODULES:
        assert module.read_text(encoding="utf-8").splitlines()[1] == "# SPDX-License-Identifier: GPL-3.0-or-later", (
            module
        )


def test_the_zip_holds_the_sources_and_nothing_else(tmp_path, manifest):
    path = build(tmp_path)
    assert path.name == f"{manifest['id']}-{manifest['version']}.zip" and list(tmp_path.iterdir()) == [path]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        held = {name: archive.read(name) for name in archive.namelist()}
    expected = [*MODULES, SOURCES / "LICENSE", SOURCES / "blender_manifest.toml"]
    assert held == {file.relative_to(SOURCES).as_posix(): file.read_bytes() for file in expected}


def test_the_same_sources_give_the_same_bytes(tmp_path):
    copy = tmp_path / "elsewhere"
    for file in reversed(packed_files()):
        to = copy / file.relative_to(SOURCES)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(file.read_bytes())
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "x.pyc").write_bytes(b"")
    assert build(tmp_path / "a").read_bytes() == build(tmp_path / "b", copy).read_bytes()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(SOURCES).as_posix())
def test_imports_need_blender_and_the_standard_library_only(module: Path):
    imported = imports(module)
    if module.parent.name == "services":
        assert imported <= sys.stdlib_module_names, "services run without Blender, and in a thread"
    assert imported <= sys.stdlib_module_names | BLENDERS


def test_threads_are_started_by_services_only():
    starting = [module for module in MODULES if "threading" in imports(module)]
    assert starting and all(module.parent.name == "services" for module in starting)


def imports(module: Path) -> set[str]:
    """Top-level names of what a module imports from outside the extension."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names
