"""The comparison with reference values, which are those of a reduced eager model here."""

from __future__ import annotations

import json

import commands
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

pytest.importorskip("onnxruntime", reason="running exported files needs onnxruntime")

from vim_deploy.cli.golden import main as golden_command
from vim_deploy.model import create_model
from vim_deploy.model.synthetic import fill_synthetic, synthetic_pixels
from vim_deploy.ops import use_scan
from vim_deploy.validation import golden

TOKENS, CHANNELS = [0, 2, 4], 16


def reduced(name, **changes):
    return create_model(name, **{**changes, "embed_dim": 32, "depth": 2, "num_classes": 7})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Reference values of one case. The exported model is reduced, too."""
    monkeypatch.setattr(golden, "create_model", reduced)
    model = reduced("vim_tiny", image_size=(32, 32))
    fill_synthetic(model)
    pixels = torch.from_numpy(synthetic_pixels((2, 3, 32, 32))).double()
    with torch.inference_mode(), use_scan("reference"):
        wide = model.double().eval()
        logits = wide(pixels).numpy()
        probes = [
            [part[:, TOKENS, :CHANNELS].float().numpy() for part in pair] for pair in wide.trace(pixels)
        ]
    case = {
        "name": "reduced", "model": "vim_tiny_patch16_224", "image_hw": [32, 32], "batch": 2,
        "weights_seed": 0, "image_seed": 0, "pos_embed_resized_from": None,
        "probe_token_indices": TOKENS, "probe_channels": CHANNELS,
        "top5": np.argsort(-logits, axis=1)[:, :5].tolist(),
    }  # fmt: skip
    (tmp_path / "full_logits.json").write_text(json.dumps({"cases": [case]}))
    hidden, residual = (np.stack([pair[index] for pair in probes]) for index in (0, 1))
    tensors = {"logits_f64": logits, "probe_hidden": hidden, "probe_residual": residual}
    save_file(
        {f"reduced.{name}": value for name, value in tensors.items()}, tmp_path / "full_logits.safetensors"
    )
    return tmp_path, tensors


def test_table_of_a_case_and_its_failure(folder):
    path, tensors = folder
    result = commands.invoke(golden_command, path)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == list(golden.HEADER)
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["library", "function body", "engine"]
    assert all(line.endswith("| yes |") for line in lines[2:])

    wrong = tensors["probe_residual"].copy()
    wrong[1, 0, 1, 3] += 0.01 * np.abs(wrong[1]).max()
    tensors = {**tensors, "probe_residual": wrong}
    save_file({f"reduced.{name}": value for name, value in tensors.items()}, path / "full_logits.safetensors")
    row = next(golden.golden_rows(path, ("reduced",)))
    assert row.relative < 1e-5 and row.block == pytest.approx(0.01, rel=0.05)
    assert not row.passed
    assert list(golden.golden_rows(path, ("another",))) == []
