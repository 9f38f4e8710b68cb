"""vim-doctor: components that crash, hang or are missing are findings with advice."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import commands
import pytest
import tomllib

from vim_deploy.cli.doctor import main
from vim_deploy.doctor import Finding
from vim_deploy.doctor.checks import EXTRAS
from vim_deploy.doctor.examine import run_check
from vim_deploy.engines.onnxruntime.providers import probe_provider
from vim_deploy.engines.onnxruntime.scan_check import scan_runs
from vim_deploy.finding import package_finding
from vim_deploy.ops.library import ort_library


def test_findings_of_this_machine():
    result = commands.invoke(main, "--json")
    values = json.loads(result.stdout)
    findings = {finding["name"]: finding for finding in values["findings"]}
    for name in ("numpy", "pillow", "image formats", "onnxruntime", "onnxruntime CPUExecutionProvider"):
        assert findings[name]["status"] == "ok", findings[name]
    assert findings["operator library"]["status"] == "ok", findings["operator library"]
    assert values["ready"] and result.exit_code == 0
    assert {"GPU", "tensorrt", "torch", "pyarrow", "CPU"} <= set(findings)
    assert all(finding["advice"] for finding in findings.values() if finding["status"] != "ok")


def test_provider_and_library_are_run(tmp_path):
    assert probe_provider("CPUExecutionProvider") == ""
    assert probe_provider("NoSuchExecutionProvider") != ""
    assert scan_runs(ort_library()) == ""
    assert probe_provider("CPUExecutionProvider", ort_library()) == ""
    (tmp_path / "empty.so").write_bytes(b"")
    assert scan_runs(tmp_path / "empty.so") != ""
    assert probe_provider("CPUExecutionProvider", tmp_path / "empty.so") != ""


def test_missing_library_is_reported_with_advice(monkeypatch, tmp_path):
    monkeypatch.setenv("VIM_DEPLOY_ORT_LIBRARY", str(tmp_path / "none.so"))
    (finding,) = run_check("operator library")
    assert (finding.status, finding.required) == ("missing", True)
    assert "none.so" in finding.detail and "cmake" in finding.advice


def test_operator_library_for_cuda_is_not_required(monkeypatch, tmp_path):
    monkeypatch.setenv("VIM_DEPLOY_ORT_CUDA_LIBRARY", str(tmp_path / "none.so"))
    (finding,) = run_check("operator library for CUDA")
    assert (finding.status, finding.required) == ("absent", False)
    assert "none.so" in finding.detail and "--device cuda" in finding.advice
    # Any library that registers is sufficient: without a working CUDA provider the scan is not run.
    monkeypatch.setenv("VIM_DEPLOY_ORT_CUDA_LIBRARY", str(ort_library()))
    if probe_provider("CUDAExecutionProvider"):
        (finding,) = run_check("operator library for CUDA")
        assert finding.status == "ok" and "not run, because CUDAExecutionProvider" in finding.detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("import time; time.sleep(60)", "timed out after 3 s"),
        ("raise SystemExit(7)", "exited with code 7"),
        ("raise RuntimeError('odd')", "RuntimeError: odd"),
        ("raise ImportError('libfoo.so.1: cannot open')", "libfoo.so.1"),
    ],
)
def test_module_that_crashes_or_hangs_is_a_finding(monkeypatch, tmp_path, body, detail):
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text(body)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    findings = run_check("optional packages", seconds=3 if "sleep" in body else 60)
    broken = [finding for finding in findings if finding.status == "broken"]
    assert len(broken) == 1 and detail in broken[0].detail and broken[0].advice


def test_exit_code_and_text_when_a_required_component_is_missing(monkeypatch):
    found = [Finding("numpy", "ok", "2"), Finding("pillow", "missing", "gone", "get it", required=True)]
    monkeypatch.setattr("vim_deploy.doctor.examine", lambda: iter(found))
    result = commands.invoke(main)
    assert result.exit_code == 1
    assert "MISSING   pillow: gone\n          -> get it" in result.stdout
    assert "does not work on this machine yet" in result.stdout


def test_an_optional_package_is_not_missing(monkeypatch):
    found = [
        Finding("numpy", "ok", "2", required=True),
        package_finding("no_such_package", "no_such_package", "x"),
    ]
    assert found[1].status == "absent"
    monkeypatch.setattr("vim_deploy.doctor.examine", lambda: iter(found))
    result = commands.invoke(main)
    assert result.exit_code == 0
    assert "optional  no_such_package: not installed\n          -> x" in result.stdout
    assert "missing" not in result.stdout.lower()


def test_every_package_of_an_extra_is_checked():
    """cpu, gpu and tensorrt are checked by their backends; the others are for development."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    for name in ("cpu", "gpu", "tensorrt", "bench", "examples", "test", "dev"):
        del extras[name]
    declared = {
        name: {re.split(r"[\[><=]", requirement)[0] for requirement in extra}
        for name, extra in extras.items()
    }
    declared["export"].add("onnx_ir")  # a dependency of onnxscript that is used directly
    assert {name: set(packages) for name, (_, packages) in EXTRAS.items()} == declared
