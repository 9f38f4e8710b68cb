"""All golden models as graphs of CPU engines, on every instruction set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from golden_data import assert_close, golden_dir, load_tensors
from golden_models import CASES, golden_export

from vim_deploy.engines.fusion.rewrite import fuse
from vim_deploy.engines.onnxruntime.fusion.matmul import BFLOAT16, FLOAT32, fuse_matmuls
from vim_deploy.ops.library import usable_instruction_sets

pytest.importorskip("onnxruntime", reason="running fused graphs needs onnxruntime")

# Relative to the largest logit. For float32: recommended by the golden data. bfloat16 has 8 significant
# bits, and values are rounded repeatedly; the largest error is 2.9e-2, on all instruction sets.
TOLERANCES = {"fused": 2e-5, "joined": 2e-5, "bfloat16": 6e-2}
RUN = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime as ort
from vim_deploy.ops.library import ort_library

folder = Path(sys.argv[1])
options = ort.SessionOptions()
options.intra_op_num_threads = 2
options.register_custom_ops_library(str(ort_library()))
logits = {}
for file in sorted(folder.glob("*.onnx")):
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    pixels = np.load(folder / (file.stem.partition("@")[0] + ".npy"))
    logits[file.stem] = session.run(None, {"pixels": pixels})[0]
np.savez(folder / (sys.argv[2] + ".npz"), **logits)
"""


def sources(case) -> list[str]:
    return [case["weights_from"]] if case["weights_from"] else []


def here(name: str) -> bool:
    return (golden_dir() / f"model_{name}.safetensors").is_file()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The graphs of all models: fused, with fused matmuls, and with fused matmuls in bfloat16."""
    place = tmp_path_factory.mktemp("graphs")
    for name, case in CASES.items():
        if not all(map(here, [name, *sources(case)])):
            continue
        model = golden_export(name)
        fuse(model)
        onnx.save(model, place / f"{name}@fused.onnx")
        for form, weights in (("joined", FLOAT32), ("bfloat16", BFLOAT16)):
            joined = onnx.ModelProto()
            joined.CopyFrom(model)
            fuse_matmuls(joined, weights)
            onnx.save(joined, place / f"{name}@{form}.onnx")
        np.save(place / f"{name}.npy", load_tensors(f"model_{name}")["image"])
    return place


@pytest.fixture(scope="module")
def logits(folder):
    """The logits of all graphs by instruction set, which a process selects when it loads the library."""
    found = {}
    for instruction_set in usable_instruction_sets():
        environment = {**os.environ, "VIM_DEPLOY_ISA": instruction_set}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-c", RUN, str(folder), instruction_set]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        found[instruction_set] = dict(np.load(folder / f"{instruction_set}.npz"))
    return found


@pytest.mark.parametrize("form", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_fused_graph_equals_the_reference_on_every_instruction_set(name, form, logits):
    expected = load_tensors(f"model_{name}")["logits_f64"]
    for found in logits.values():
        assert_close(found[f"{name}@{form}"], expected, TOLERANCES[form])
