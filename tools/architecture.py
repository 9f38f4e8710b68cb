"""Checks the imports of the package: no cycles, and only the dependencies that docs/architecture.md allows.

Every import counts, also those inside functions and below `if TYPE_CHECKING`. Names in registries
("module:name") are not imports. import-linter cannot do this: it expects all modules below one folder.
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
    """What the modules of a part may import, besides each other: other parts, and third-party packages.

    `part` is a module or folder below the package; "*" in it stands for any folder.
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
        cells = [re.findall(r"`([\w.*]+)`", cell) for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            for part in cells[0]:
                rules[part] = Rule(part, frozenset(cells[1]), frozenset(cells[2]))
    return rules


def rule_of(module: str, rules: dict[str, Rule], known: dict[str, Path]) -> tuple[Rule, str] | None:
    """The most specific rule for a module, and the name of the part with the wildcards filled in."""
    words = module.removeprefix(f"{PACKAGE}.").split(".")
    best = None
    for rule in rules.values():
        pattern = rule.part.split(".")
        if len(words) < len(pattern) or (best and len(best[0].part.split(".")) >= len(pattern)):
            continue
        folders = [".".join((PACKAGE, *words[: size + 1])) for size in range(len(pattern))]
        if all(
            word == expected or (expected == "*" and known.get(folder, Path()).name == "__init__.py")
            for word, expected, folder in zip(words, pattern, folders, strict=False)
        ):
            best = rule, ".".join(words[: len(pattern)])
    return best


def violations(edges: dict[str, set[str]], rules: dict[str, Rule], known: dict[str, Path]) -> list[str]:
    """Imports that the table does not allow, unmatched modules and parts, and cycles in the table."""
    found = []
    used = set()
    for module, targets in sorted(edges.items()):
        match = rule_of(module, rules, known)
        if match is None:
            found.append(f"{module} belongs to no part of the table")
            continue
        rule, part = match
        used.add(rule.part)
        for target in sorted(targets - sys.stdlib_module_names):
            other = rule_of(target, rules, known) if target in edges else None
            if target not in edges:
                allowed = target in rule.external
            else:
                allowed = other is not None and (other[1] == part or other[0].part in rule.internal)
            if not allowed:
                found.append(f"{module} imports {other[1] if other else target}: {target}")
    found += [f"the part {part} has no modules" for part in sorted(rules.keys() - used)]
    if names := cycle({part: set(rule.internal) - {part} for part, rule in rules.items()}):
        found.append(f"the table has a cycle: {' <- '.join(names)}")
    return found


def check() -> list[str]:
    """All problems, one line each."""
    known = modules()
    edges = graph(known)
    found = [f"import cycle: {' <- '.join(names)}" for names in [cycle(edges)] if names]
    return found + violations(edges, read_rules(), known)


if __name__ == "__main__":
    problems = check()
    print("\n".join(problems) or f"{len(modules())} modules, no violations")
    sys.exit(1 if problems else 0)
