"""The comparison with small networks: which candidates are measured, in which order, and their results."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest

from benchmarks import networks
from benchmarks.candidates import (
    ENGINE,
    ENGINE_AND_FLOOR,
    FLOOR,
    FUNCTION,
    KERNEL,
    MATMULS,
    ONNXRUNTIME,
    PYTORCH,
    REFERENCE,
    SCANS,
    Candidate,
    Choice,
    candidates,
)
from benchmarks.compare import main
from benchmarks.floor import matmul_graph, matmuls, scan_graph, scans
from benchmarks.grid import Grid, compare
from benchmarks.measure import Timing, measure
from benchmarks.networks import Pair, pairs
from benchmarks.report import format_result
from vim_deploy.dense.segmentation import LEVELS
from vim_deploy.model.config import preset
from vim_deploy.ops.library import LIBRARY_VARIABLE, ort_library
from vim_deploy.precision import Precision

SHAPE = (2, 3, 4, 4)
BRIEF = Timing(rounds=2, repeats=1, seconds=60, warmup=0, settle=0)
SMALL = Pair(
    "small test",
    preset("vim_tiny").replace(embed_dim=32, depth=2, num_classes=5),
    {"embed_dim": 32, "heads": 2, "depth": 2, "num_classes": 5},
)


def fake(network, runtime, **arguments):
    return Candidate(network, runtime, "fake_openers:constant", arguments)


def test_candidates_alternate_and_every_second_round_is_reversed(tmp_path):
    log = str(tmp_path / "log")
    taking_part = [fake("a", "x", value=1.0, log=log), fake("b", "x", value=2.0, log=log)]
    results = measure(taking_part, SHAPE, Timing(3, 2, 60, 0, 0))
    runs = [float(line) for line in Path(log).read_text().split()]
    outputs, rounds = runs[:2], runs[2:]
    assert outputs == [1, 2]
    assert rounds == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 2, 2]
    assert [[len(times) for times in result["rounds_seconds"]] for result in results] == [[2, 2, 2]] * 2


def test_one_failure_does_not_affect_the_others():
    taking_part = [
        Candidate("a", "left out", skip_reason="not today"),
        Candidate("a", "dies", "fake_openers:failing", {"when": "run", "how": "kill"}),
        Candidate("a", "fails", "fake_openers:failing", {"when": "open", "how": "raise"}),
        fake("a", "works"),
    ]
    results = measure(taking_part, SHAPE, BRIEF)
    assert [result["status"] for result in results] == ["skipped", "failed", "failed", "measured"]
    assert results[0]["reason"] == "not today"
    assert "SIGKILL" in results[1]["reason"]
    assert "the runtime gave up" in results[2]["reason"]


def test_outputs_are_compared_with_the_eager_form_of_the_same_network():
    taking_part = [
        fake("a", "other", value=1.5),
        fake("a", KERNEL, value=1.25),
        fake("a", REFERENCE, value=1.0),
        fake("b", "other", value=3.0),
        fake("b", PYTORCH, value=2.0),
        fake("c", "other", value=4.0),
    ]
    differences = [result["differs_from_eager"] for result in measure(taking_part, SHAPE, BRIEF)]
    assert differences == [0.5, 0.25, None, 0.5, None, None]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark-output")
    choice = Choice(threads=1, folder=folder, slow_up_to=32)
    grid = Grid((SMALL,), (32,), (1,), batched_up_to=32)
    saved = []
    result = compare(grid, choice, BRIEF, save=saved.append)
    assert saved == [result]
    return folder, choice, result


@pytest.mark.slow
def test_all_installed_runtimes_are_measured_and_agree_with_the_eager_model(comparison):
    _, _, result = comparison
    (cell,) = result["cells"]
    assert (cell["pair"], cell["resolution"], cell["batch_size"]) == ("small test", 32, 1)
    for entry in cell["results"]:
        if entry["status"] == "measured":
            difference = entry["differs_from_eager"]
            assert difference is None or difference < Precision(entry["precision"]).tolerance, entry
        else:
            assert entry["status"] == "skipped", entry["reason"]
            assert any(part in entry["reason"] for part in ("OpenVINO", "NNCF", "bf16 matmul")), entry
    measured = {entry["runtime"] for entry in cell["results"] if entry["status"] == "measured"}
    assert {FUNCTION, REFERENCE, KERNEL, PYTORCH, ENGINE, ONNXRUNTIME, MATMULS, SCANS} <= measured


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "slow_up_to"), [(2, 32), (1, 16)])
def test_slow_candidates_are_skipped_for_batches_and_large_images(comparison, batch, slow_up_to):
    folder, _, _ = comparison
    chosen = candidates(SMALL.at(32), batch, Choice(1, folder, slow_up_to))
    slow = {candidate.runtime for candidate in chosen if "slow" in (candidate.skip_reason or "")}
    assert slow == {FUNCTION, REFERENCE}
    assert (FLOOR in {candidate.network.split()[0] for candidate in chosen}) == (batch == 1)


@pytest.mark.slow
def test_the_floor_has_three_candidates(comparison):
    folder, _, _ = comparison
    chosen = candidates(SMALL.at(32), 1, Choice(1, folder, 32, ENGINE_AND_FLOOR))
    assert [candidate.runtime for candidate in chosen] == [ENGINE, MATMULS, SCANS]


def test_the_grid_has_batches_up_to_a_size_and_single_images_at_all_sizes():
    grid = Grid((SMALL,), (32, 64), (1, 8), batched_up_to=32)
    assert [(pair.size, batch) for pair, batch in grid.cells()] == [(32, 1), (32, 8), (64, 1)]
    assert {pair.deit["image_size"] for pair, _ in grid.cells()} == {32, 64}


@pytest.mark.slow
def test_the_result_is_json_and_text(comparison):
    _, _, result = comparison
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(result, allow_nan=False))
    text = format_result(result)
    for part in ("32x32, batch 1", "times the floor", "DeiT-small test, onnxruntime", "1 thread, "):
        assert part in text


@pytest.mark.slow
def test_exports_and_engines_are_reused_until_their_sources_change(comparison, monkeypatch, tmp_path):
    folder, choice, _ = comparison
    pair = SMALL.at(32)

    def files():
        engine = networks.vim_engine(pair, folder, choice.threads)
        return networks.vim_file(pair, folder), networks.deit_file(pair, folder), engine

    saved = files()
    assert all(path.exists() for path in saved)
    monkeypatch.setattr(networks, "call_isolated", lambda *arguments: pytest.fail("made again"))
    assert files() == saved
    with pytest.raises(pytest.fail.Exception, match="again"):
        networks.vim_file(SMALL.at(48), folder)
    with pytest.raises(pytest.fail.Exception, match="again"):
        networks.vim_engine(pair, folder, choice.threads + 1)
    library = tmp_path / "changed.so"
    library.write_bytes(ort_library().read_bytes() + b"\n")
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library))
    with pytest.raises(pytest.fail.Exception, match="again"):
        networks.vim_engine(pair, folder, choice.threads)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "depth"), [("map", 1), ("upernet", LEVELS)])
def test_dense_heads_agree_with_the_eager_models(head, depth, tmp_path):
    pair = Pair("dense", SMALL.vim.replace(depth=depth), {**SMALL.deit, "depth": depth}).under(head).at(64)
    only = frozenset((ENGINE, REFERENCE, ONNXRUNTIME, PYTORCH))
    results = measure(candidates(pair, 1, Choice(1, tmp_path, 64, only)), (1, 3, 64, 64), BRIEF)
    assert {entry["status"] for entry in results} == {"measured"}
    differences = [
        entry["differs_from_eager"] for entry in results if entry["runtime"] not in (REFERENCE, PYTORCH)
    ]
    assert len(differences) == 2 and max(differences) < Precision.FP32.tolerance


def test_the_floor_has_all_matmuls_and_all_scans_of_vim_tiny():
    vim = pairs()["tiny"].at(224).vim
    nodes = matmul_graph(vim)
    multiplications = 0
    for node in nodes.nodes:
        if node.op_type == "MatMul":
            rows = 1 if node.input[0] == "pooled" else vim.num_tokens
            multiplications += rows * nodes.weights[node.input[1]].size
    tokens, inner = 197, 384
    layer = 192 * 2 * inner + 2 * (inner * (12 + 32) + 12 * inner) + inner * 192
    assert multiplications == tokens * (768 * 192 + 24 * layer) + 192 * 1000
    directions = [node for node in scan_graph(vim).nodes if node.op_type == "SelectiveScan"]
    assert len(directions) == 48
    assert sum(a.i for node in directions for a in node.attribute if a.name == "reverse") == 24


@pytest.mark.parametrize("opener", [matmuls, scans])
def test_the_floor_runs(opener):
    run = opener(SMALL.at(32).vim.to_dict(), 1)()
    assert np.isfinite(run(None)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resolutions", "225"), "multiple of the patch size"),
        (("--batch-sizes", "0"), "positive integers"),
        (("--models", "huge"), "expected some of tiny, small"),
        (("--only", "abacus"), "is not one of"),
        (("--heads", "two"), "expected some of classifier, map, upernet"),
    ],
)
def test_mistakes_exit_2(arguments, message):
    result = commands.invoke(main, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
