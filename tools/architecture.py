"""Checks the imports of the package: no cycles, and only the dependencies that docs/architecture.md allows.

Every import counts, also those inside functions and below `if TYPE_CHECKING`. Names that registries look up
("module:name") are not imports.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "vim_deploy"
# Folders beside the package that are installed inside it.
MAPPED = ("export", "engines")
PAGE = ROOT / "docs" / "architecture.md"
_HEADING = "## Dependencies"


@dataclass(frozen=True)
class Rule:
    """One row of the table: what the modules of `part` may import, besides each other.

    `internal`: other parts; `external`: third-party packages.
    """

    part: str
    internal: frozenset[str]
    external: frozenset[str]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """All modules of the package by their dotted name."""
    folders = {PACKAGE: root / PACKAGE, **{f"{PACKAGE}.{name}": root / name for name in MAPPED}}
    found = {}
    for prefix, folder in folders.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((prefix, *parts))] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports: dotted names of the package's modules, top-level names of others."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [member if member in known else node.module for member in members]
        for name in names:
            yield name if name in known else name.partition(".")[0]


def graph(known: dict[str, Path]) -> dict[str, set[str]]:
    """Each module with what it imports."""
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """One cycle, its first name also as the last; empty if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def read_rules(page: Path = PAGE) -> dict[str, Rule]:
    """The table of docs/architecture.md: `part` | `internal` | `external` | remarks."""
    text = page.read_text(encoding="utf-8")
    section = text[text.index(_HEADING) + len(_HEADING) :].split("\n## ")[0]
    rules = {}
    for line in section.splitlines():
        cells = [re.findall(r"`([\w.]+)`", cell) for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            for part in cells[0]:
                rules[part] = Rule(part, frozenset(cells[1]), frozenset(cells[2]))
    return rules


def part_of(module: str, rules: dict[str, Rule]) -> str | None:
    """The part with the longest name that the module belongs to."""
    name = module.removeprefix(f"{PACKAGE}.")
    while name and name not in rules:
        name = name.rpartition(".")[0]
    return name or None


def violations(edges: dict[str, set[str]], rules: dict[str, Rule]) -> list[str]:
    """Imports that no rule allows, parts that depend on each other, and rules without a module."""
    found = []
    used = set()
    for module, targets in sorted(edges.items()):
        part = part_of(module, rules)
        if part is None:
            found.append(f"{module} belongs to no part of the table")
            continue
        used.add(part)
        for target in sorted(targets - sys.stdlib_module_names):
            if target.partition(".")[0] != PACKAGE:
                allowed, kind = target in rules[part].external, target
            else:
                kind = part_of(target, rules) or target
                allowed = kind == part or kind in rules[part].internal
            if not allowed:
                found.append(f"{module} imports {target}; {part} may not import {kind}")
    found += [f"the part {part} has no modules" for part in sorted(rules.keys() - used)]
    if found_cycle := cycle({part: set(rule.internal) for part, rule in rules.items()}):
        found.append(f"the table has a cycle: {' <- '.join(found_cycle)}")
    return found


def check() -> list[str]:
    """Everything that is wrong, one line each."""
    edges = graph(modules())
    found = cycle(edges)
    return [f"import cycle: {' <- '.join(found)}"] * bool(found) + violations(edges, read_rules())


if __name__ == "__main__":
    problems = check()
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
