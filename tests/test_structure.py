"""Limits on the size of packages, functions and signatures in ``spinmeround``, read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "spinmeround"

MOST_MODULES = 15
"""Files of one package, without ``__init__.py`` and the packages in it."""
MOST_LINES = 60
"""Lines of one function in ``SHORT_FUNCTIONS_IN``, from ``def`` to its end: it fits a screen."""
MOST_PARAMETERS = 8
"""Parameters of a public function or method, without ``self`` and ``cls``; compiled kernels may have more."""
KERNEL_DECORATORS = ("njit", "compiled")
SHORT_FUNCTIONS_IN = ("pipelines", "cli")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def crowded_packages(root: Path) -> Iterator[str]:
    """A line for each package with more than ``MOST_MODULES`` modules."""
    for init in sorted(root.rglob("__init__.py")):
        count = len(list(init.parent.glob("*.py"))) - 1
        if count > MOST_MODULES:
            yield f"{_name(init.parent, root)}: {count} modules, at most {MOST_MODULES}"


def long_functions(root: Path, packages: tuple[str, ...] = SHORT_FUNCTIONS_IN) -> Iterator[str]:
    """A line for each function over ``MOST_LINES`` lines in some packages, inner functions included."""
    for path in (path for package in packages for path in _sources(root / package)):
        for node in ast.walk(_tree(path)):
            if isinstance(node, Function) and (lines := _line_count(node)) > MOST_LINES:
                yield f"{_name(path, root)}:{node.lineno} {node.name}: {lines} lines, at most {MOST_LINES}"


def long_signatures(root: Path) -> Iterator[str]:
    """A line for each public function or method with more than ``MOST_PARAMETERS`` parameters."""
    for path in _sources(root):
        for name, node, is_method in _public_functions(_tree(path)):
            count = _parameter_count(node, is_method=is_method)
            if count > MOST_PARAMETERS:
                yield f"{_name(path, root)}:{node.lineno} {name}: {count} parameters, at most {MOST_PARAMETERS}"


def undescribed_modules(root: Path) -> Iterator[str]:
    """A line for each module that does not begin with a docstring whose first line has words."""
    for path in _sources(root):
        tree = _tree(path)
        docstring = ast.get_docstring(tree, clean=False)
        if docstring is None or tree.body[0].lineno > 1 or not docstring.split("\n", 1)[0].strip():
            yield f"{_name(path, root)}: the first line is no docstring"


@pytest.mark.parametrize("rule", [crowded_packages, long_functions, long_signatures, undescribed_modules])
def test_structure(rule):
    broken = list(rule(PACKAGE))
    assert not broken, "\n".join(broken)


def test_the_rules_notice(tmp_path):
    root = tmp_path / "package"
    (root / "cli").mkdir(parents=True)
    for name in ("__init__", "cli/__init__", *(f"module_{i}" for i in range(MOST_MODULES))):
        (root / f"{name}.py").write_text('"""Says what it holds."""\n', encoding="utf-8")
    assert not [line for rule in (crowded_packages, undescribed_modules) for line in rule(root)]
    (root / "undescribed.py").write_text('# a comment\n"""Words."""\n', encoding="utf-8")
    eight = ", ".join(f"p{i}" for i in range(7)) + ", *, p7"
    body = "        x = 0\n" * (MOST_LINES - 1)
    (root / "cli" / "command.py").write_text(
        f'"""Command."""\nclass C:\n    def fits(self, {eight}):\n{body}'
        f"    def over(self, {eight}, p8):\n{body}        x = 1\n"
        f"    @staticmethod\n    def static({eight}, **rest): pass\n"
        f"    def _private(self, {eight}, p8): pass\n"
        f"    @numba.njit(cache=True)\n    def kernel({eight}, p8): pass\n"
        f"class _Hidden:\n    def over(self, {eight}, p8): pass\n",
        encoding="utf-8",
    )
    assert list(crowded_packages(root)) == [f"package: {MOST_MODULES + 1} modules, at most {MOST_MODULES}"]
    assert list(undescribed_modules(root)) == ["package/undescribed.py: the first line is no docstring"]
    assert [line.split(" ", 1)[1] for line in long_functions(root)] == ["over: 61 lines, at most 60"]
    assert [line.split(" ", 1)[1] for line in long_signatures(root)] == [
        "C.over: 9 parameters, at most 8",
        "C.static: 9 parameters, at most 8",
    ]


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root.parent).as_posix()


def _line_count(node: Function) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _parameter_count(node: Function, *, is_method: bool) -> int:
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    if is_method and positional and positional[0].arg in ("self", "cls"):
        positional = positional[1:]
    return len(positional) + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def _public_functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function, bool]]:
    """Name, definition and whether it is a method, of every public function of a module and its public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function) and (not child.name.startswith("_") or child.name == "__init__"):
            if any(word in ast.unparse(each) for each in child.decorator_list for word in KERNEL_DECORATORS):
                continue
            yield prefix + child.name, child, bool(prefix)
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _public_functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try):
            yield from _public_functions(child, prefix)
