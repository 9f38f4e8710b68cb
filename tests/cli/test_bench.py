"""The command vim-bench."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import commands
import pytest
from small_onnx import color_model, save

from vim_deploy import machine
from vim_deploy.cli.bench import main

BRIEF = ("--batch-sizes", "1,2", "--warmup", "0", "--repeats", "1", "--cold-starts", "1")


run = partial(commands.invoke, main)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))


def test_the_table_is_on_stdout_and_progress_on_stderr(tmp_path):
    result = run(save(color_model(), tmp_path / "model.onnx"), *BRIEF)
    assert result.exit_code == 0, result.output
    assert "| batch |" in result.stdout and "cold start" in result.stdout
    assert "vim-bench: batch size 2" in result.stderr
    assert "batch size 2" not in result.stdout


def test_json_is_the_only_output_on_stdout_and_quiet_suppresses_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "busy_cpus", lambda: 0.0)  # no warning
    result = run(save(color_model(), tmp_path / "model.onnx"), *BRIEF, "--json", "--quiet")
    values = json.loads(result.stdout)
    assert [batch["batch_size"] for batch in values["batches"]] == [1, 2]
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.engine",), "cannot be read"),
        (("model.onnx", "--batch-sizes", "1,zero"), "positive integers"),
        (("model.onnx", "--repeats", "0"), "--repeats"),
        (("text.engine",), "is neither an engine"),
    ],
)
def test_user_errors_exit_2_without_traceback(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save(color_model(), Path("model.onnx"))
    Path("text.engine").write_text("some text")
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from vim_deploy.cli.bench import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'PIL', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True)
