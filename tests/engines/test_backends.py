"""Backends registered from outside the package, and rebuild commands with every option."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import abacus_backend
import commands
import numpy as np
import pytest
from PIL import Image
from small_onnx import color_model, save

from vim_deploy import load
from vim_deploy.cli.build import build_options, main
from vim_deploy.doctor.checks import all_checks
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.cache import cached_engine
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.onnxruntime.options import OPTIMIZATIONS, OnnxruntimeOptions
from vim_deploy.engines.registry import BACKENDS
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.engines.tensorrt.options import TensorrtOptions
from vim_deploy.errors import EngineError


@pytest.fixture
def abacus():
    BACKENDS.register("abacus", abacus_backend.SPEC)
    yield
    BACKENDS.unregister("abacus")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(color_model(), tmp_path / "colors.onnx")


run = partial(commands.invoke, main)


def test_a_registered_backend_builds_and_opens_engines(abacus, model, tmp_path):
    engine = tmp_path / "abacus.engine"
    result = run(model, "-o", engine, "--backend", "abacus", "--beads", 5)
    assert result.exit_code == 0, result.output
    assert "abacus on wood" in result.stderr
    manifest = read_manifest(engine)
    assert manifest.options == abacus_backend.AbacusOptions(beads=5)
    assert manifest.rebuild_command("x").endswith("-o x --backend abacus --beads 5")
    pixels = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    build_engine(model, tmp_path / "reference.engine")
    with load(engine) as opened, load(tmp_path / "reference.engine") as reference:
        np.testing.assert_allclose(opened.run(pixels)["logits"], reference.run(pixels)["logits"], rtol=1e-5)
        (row,) = opened.predict(Image.new("RGB", (9, 9), "blue"))
        assert row.top1.name == "blue"
    with pytest.raises(EngineError, match="built for device wood, not cpu"):
        load(engine, device="cpu")


def test_its_engines_are_cached_by_its_options(abacus, model, tmp_path, monkeypatch):
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    entries = {cached_engine(model, abacus_backend.AbacusOptions(beads=beads))[0] for beads in (1, 2, 2)}
    assert len(entries) == 2


def test_the_doctor_has_its_checks(abacus):
    assert all_checks()["beads"].run()[0].status == "ok"


def test_the_checks_import_only_the_package():
    code = (
        "import sys; from vim_deploy.doctor.checks import all_checks; all_checks()\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_its_options_are_in_the_help_and_only_valid_with_it(abacus, model):
    help = run("--help").output
    assert "Abacus options (--backend abacus):" in help and "--beads" in help
    result = run(model, "-o", "x", "--beads", 5)
    assert result.exit_code == 2 and "--beads: only valid with --backend abacus" in result.stderr
    result = run(model, "-o", "x", "--backend", "abacus", "--beads", 11)
    assert result.exit_code == 2 and "--beads" in result.stderr
    assert run("--help").exit_code == 0


def test_an_engine_of_an_unregistered_backend_is_refused(model, tmp_path):
    BACKENDS.register("abacus", abacus_backend.SPEC)
    try:
        build_engine(model, tmp_path / "abacus.engine", abacus_backend.AbacusOptions())
    finally:
        BACKENDS.unregister("abacus")
    with pytest.raises(EngineError, match="unknown backend 'abacus'; expected one of onnxruntime, tensorrt"):
        load(tmp_path / "abacus.engine")


def combinations() -> list[BuildOptions]:
    onnxruntime = itertools.product(
        ("cpu", "cuda"), (None, 3), OPTIMIZATIONS, (True, False), (True, False), ("fp32", "bf16")
    )
    tensorrt = (
        {},
        {"min_batch": 2, "opt_batch": 3, "max_batch": 4},
        {"min_size": (4, 6), "opt_size": (8, 8), "max_size": (16, 32), "workspace_mib": 64},
        {"level": 0, "hardware": "ampere_plus", "version_compatible": True},
        {"refit": True, "strip": True, "hardware": "same_compute_capability"},
    )
    return [
        *(OnnxruntimeOptions(*values) for values in onnxruntime),
        *(TensorrtOptions(**values) for values in tensorrt),
    ]


@pytest.fixture
def manifest(model, tmp_path) -> Manifest:
    return build_engine(model, tmp_path / "colors.engine")


def test_the_rebuild_command_has_every_option(manifest):
    for options in combinations():
        built = Manifest.from_json(dataclasses.replace(manifest, options=options).to_json(), "x")
        assert built.options == options
        program, *words = shlex.split(built.rebuild_command("x.engine"))
        assert program == "vim-build" and words[:3] == ["colors.onnx", "-o", "x.engine"]
        with main.make_context("vim-build", words) as context:
            assert build_options(context) == options


def test_files_of_a_build_are_not_recorded(manifest):
    options = TensorrtOptions(level=3, timing_cache=Path("timings"), layers=Path("layers.json"))
    built = Manifest.from_json(dataclasses.replace(manifest, options=options).to_json(), "x")
    assert built.options == TensorrtOptions(level=3)
    assert built.rebuild_command("x").endswith("--backend tensorrt --builder-level 3")
