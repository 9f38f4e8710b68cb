"""The documentation names only files, modules and command-line options that exist."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import click
import pytest
import tomllib

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "examples/*.md",
        "benchmarks/*.md",
        "plugins/**/*.md",
        "tools/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
FOLDERS = "vim_deploy|engines|export|plugins|tests|tools|benchmarks|examples|docs"
FILE = re.compile(rf"(?<![\w/.])(?:\.\./)*((?:{FOLDERS})/[\w./*-]*[\w/*])")
MODULE = re.compile(r"\b(?:vim_deploy|benchmarks)(?:\.\w+)+")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
COMMAND = re.compile(r"\b(vim-[a-z]+)\b")
NOT_MODULES = {"vim_deploy.config", "vim_deploy.fused"}  # a metadata key and an operator domain
# Of cmake, of every command, of pip, and of tritonserver.
OTHER_OPTIONS = {
    "--model-repository",
    "--build",
    "--help",
    "--require-hashes",
    "--no-deps",
    "--no-build-isolation",
}
OTHER_OPTIONS |= {"--extra-index-url", "--find-links", "--torch-backend", "--variant", "--include"}
OTHER_OPTIONS |= {"--only-binary", "--platform", "--system-site-packages"}


def commands() -> dict[str, click.Command]:
    """The console commands by name."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    return {name: import_module(target.partition(":")[0]).main for name, target in scripts.items()}


def parameters_of(command: click.Command) -> list[click.Parameter]:
    return command.get_params(click.Context(command))


def options_of(command: click.Command) -> set[str]:
    return {name for item in parameters_of(command) for name in (*item.opts, *item.secondary_opts)}


def options_in_scripts() -> set[str]:
    """The options that programs outside the package declare."""
    sources = [path for name in ("tools", "benchmarks", "examples") for path in (ROOT / name).rglob("*.py")]
    sources.append(ROOT / "vim_deploy" / "cli" / "golden.py")
    return {name for path in sources for name in re.findall(r'"(--[a-z][\w-]*)[/"]', path.read_text())}


def code_of(text: str) -> list[str]:
    """Code spans, and the lines of code blocks with continued lines joined."""
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    lines = [line for block in (*blocks, *indented) for line in block.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_modules_exist(page):
    text = page.read_text()
    folders = [page.parent, *(folder for folder in page.parents if folder.is_relative_to(ROOT))]
    missing = [
        name
        for name in FILE.findall(text)
        if not any(list(folder.glob(name.rstrip("/"))) for folder in folders)
    ]
    links = re.findall(r"\]\(([^)#:]+)\)|\]\(([^)#:]+)#", text)
    missing += [link for pair in links for link in pair if link and not (page.parent / link).exists()]
    for name in set(MODULE.findall(text)) - NOT_MODULES:
        parts = name.split(".")
        roots = (ROOT, ROOT / "vim_deploy")
        # The last word can be a name in the module.
        files = ["/".join(parts[:size]) for size in range(max(2, len(parts) - 1), len(parts) + 1)]
        files += [file.removeprefix("vim_deploy/") for file in files]
        found = any(
            (root / f"{file}{end}").exists() for root in roots for file in files for end in ("", ".py")
        )
        public = parts[0] == "vim_deploy" and hasattr(import_module("vim_deploy"), parts[1])
        if not found and not public:
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_exist(page):
    known = {name: options_of(command) for name, command in commands().items()}
    everywhere = set().union(*known.values(), options_in_scripts(), OTHER_OPTIONS)
    wrong = []
    for code in code_of(page.read_text()):
        named = COMMAND.findall(code)
        one_command = len(set(named)) == 1 and named[0] in known
        allowed = known[named[0]] | OTHER_OPTIONS if one_command else everywhere
        wrong += [f"{option} in {code!r}" for option in OPTION.findall(code) if option not in allowed]
    assert not wrong


def test_every_option_has_a_help_text():
    missing = [
        f"{name} {item.opts[-1]}"
        for name, command in commands().items()
        for item in parameters_of(command)
        if isinstance(item, click.Option) and not item.help
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_examples_import_names_that_exist(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    missing = [
        f"{node.module}.{alias.name}"
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if not hasattr(import_module(node.module), alias.name)
    ]
    assert not missing
