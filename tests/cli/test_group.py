"""`python -m vim_deploy`, the options that all commands have, their examples, and shell completion."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import commands
import pytest
import tomllib
from infer_command import make_engine, make_images, run

from vim_deploy.cli.group import COMMANDS, main
from vim_deploy.package import VERSION

ROOT = Path(__file__).resolve().parents[2]


def command(name: str):
    return import_module(f"vim_deploy.cli.{name}").main


def test_every_console_script_is_in_the_group():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {f"vim-{name}": f"vim_deploy.cli.{name}:main" for name in COMMANDS}


def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "vim_deploy", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_version_and_examples(name):
    assert commands.invoke(command(name), "--version", prog_name=f"vim-{name}").stdout == (
        f"vim-{name} {VERSION}\n"
    )
    shown = commands.invoke(main, name, "--help").stdout
    assert f"\nExamples:\n  vim-{name}" in shown or f"| vim-{name}" in shown
    assert "--verbose" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_valid(name):
    for line in command(name).examples:
        words = shlex.split(line.rpartition("| ")[2])
        assert words[0] == f"vim-{name}"
        # Parses the words without running the command.
        command(name).make_context(words[0], words[1:])


@pytest.fixture
def place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_engine()
    make_images("images", 2)
    level = logging.getLogger("vim_deploy").level
    yield
    logging.getLogger("vim_deploy").setLevel(level)


def test_verbose_prints_the_whole_log_and_tracebacks(place):
    assert "opening" not in run("colors.engine", "images", "-o", "a.csv").stderr
    found = run("colors.engine", "images", "-o", "b.csv", "--verbose")
    assert found.exit_code == 0
    assert "debug open: opening colors.engine: onnxruntime on cpu" in found.stderr
    assert "started the decoder process" in found.stderr
    missing = run("missing.engine", "images", "--verbose")
    assert missing.exit_code == 2
    assert "Traceback" in missing.stderr and "error: missing.engine cannot be read" in missing.stderr
    assert "Traceback" not in run("missing.engine", "images").stderr


def test_quiet_and_verbose_contradict_each_other(place):
    result = run("colors.engine", "images", "--quiet", "--verbose")
    assert result.exit_code == 2
    assert "contradict each other" in result.stderr


def completed(program: str, words: str) -> set[str]:
    """What the shell would offer for the last of `words`."""
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    code = f"from vim_deploy.cli.{program.removeprefix('vim-')} import main; main(prog_name={program!r})"
    environment = {
        **os.environ,
        variable: "bash_complete",
        "COMP_WORDS": f"{program} {words}",
        "COMP_CWORD": str(len(words.split(" "))),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "words", "expected"),
    [
        ("vim-export", "vim_t", {"plain,vim_tiny", "plain,vim_tiny_plus"}),
        ("vim-export", "vim_tiny --checkpoint wei", {"file,wei"}),
        ("vim-export", "vim_tiny --task seg", {"plain,segment"}),
        ("vim-validate", "upernet_vim_s", {"plain,upernet_vim_small"}),
        ("vim-validate", "vim_tiny mod", {"file,mod"}),
        ("vim-export", "my_config", {"file,my_config"}),
        ("vim-infer", "x.engine ph", {"file,ph"}),
        ("vim-inspect", "x", {"file,x"}),
        ("vim-infer", "x.engine photos --lab", {"plain,--labels", "plain,--label-field"}),
    ],
)
def test_completion_offers_models_files_and_options(program, words, expected):
    assert completed(program, words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_one_script_completes_all_commands(shell):
    shown = commands.invoke(main, "completion", shell)
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert f"vim-{name}" in shown.stdout and f"_VIM_{name.upper()}_COMPLETE" in shown.stdout
