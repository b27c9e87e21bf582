"""Reads the docs as a newcomer would: links lead somewhere, commands parse, Python compiles, no model goes unnamed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("recon", "views", "fit", "convert", "batch", "app", "view", "weights", "doctor")


def main() -> int:
    """Prints what is wrong; exit status 0 when nothing is."""
    pages = sorted(
        [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spinmeround/**/*.md"), *ROOT.glob("weights/*.md")]
    )
    problems = [problem for page in pages for problem in (*broken_links(page), *broken_examples(page))]
    problems += [*broken_help(), *unnamed_models()]
    print(f"{len(pages)} pages, {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def broken_links(page: Path) -> Iterator[str]:
    """Relative links and pictures that lead nowhere, and anchors no heading has."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists():
            yield f"{page.name}: the link {target} leads nowhere"
        elif anchor and linked.suffix == ".md" and anchor not in _anchors(linked):
            yield f"{page.name}: {linked.name} has no heading #{anchor}"


def broken_examples(page: Path) -> Iterator[str]:
    """Commands that their parsers refuse, make targets and Python names that do not exist."""
    for language, block in re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        if language == "python":
            yield from (f"{page.name}: {problem}" for problem in _python_problems(block))
            continue
        for line in block.splitlines():
            if problem := _command_problem(line):
                yield f"{page.name}: `{line.strip()}`: {problem}"


def broken_help() -> Iterator[str]:
    """Examples in the help of a command that the command itself refuses."""
    for command in COMMANDS:
        examples = (_parser(command).epilog or "").split("examples:\n")[1].split("\n\n")[0]
        for line in examples.splitlines():
            if problem := _command_problem(re.split(r"\s{3,}", line.strip())[0]):
                yield f"spmr-{command} --help: `{line.strip()}`: {problem}"


def unnamed_models() -> Iterator[str]:
    """Model files of the registry that the README's licences leave out."""
    from spinmeround import weights

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for entry in weights.entries():
        if f"`{entry.name}`" not in readme:
            yield f"README.md: the licence of {entry.name} is not stated"


def _command_problem(line: str) -> str | None:
    words = shlex.split(line.replace("\\", "/"), comments=True) if "spmr-" in line or line.startswith("make") else []
    if not words:
        return None
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in words[1:2] if "=" not in word]
        return next((f"no target {t}" for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)), None)
    name = words[0].split("/")[-1].removeprefix("spmr-")
    if name not in COMMANDS:
        return f"no command spmr-{name}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _parser(name).read(words[1:])
    except SystemExit:
        return said.getvalue().strip()
    return None


def _parser(command: str):
    return importlib.import_module(f"spinmeround.cli.{command}").parser()


def _python_problems(block: str) -> Iterator[str]:
    import spinmeround

    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "spinmeround":
            try:
                getattr(spinmeround, node.attr)
            except AttributeError as error:
                yield str(error)


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    sys.exit(main())
