"""The measurements of vim-bench, without the command line."""

import json

import pytest
import torch
from small_engines import save_and_build
from small_onnx import color_model, save, scan_model

import vim_deploy
from vim_deploy import machine
from vim_deploy.bench.cold_start import PHASES, cold_starts
from vim_deploy.bench.engine import BenchOptions, bench_engine, format_result
from vim_deploy.bench.process import MeasurementError
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.errors import EngineError

BRIEF = BenchOptions(batch_sizes=(1, 3), warmup=1, repeats=4, seconds=60, cold_starts=2)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    output = folder / "scan.engine"
    build_engine(save(scan_model(), folder / "scan.onnx"), output, OnnxruntimeOptions(threads=1))
    return output


@pytest.fixture(scope="module")
def result(engine):
    return bench_engine(engine, BRIEF)


def test_every_batch_size_has_latency_throughput_and_memory(result):
    assert [batch["batch_size"] for batch in result["batches"]] == [1, 3]
    for batch in result["batches"]:
        latency, memory = batch["latency_ms"], batch["memory_bytes"]
        assert (latency["count"], batch["warmup"]) == (4, 1)
        assert latency["min"] <= latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
        assert batch["images_per_second"] == pytest.approx(1000 * batch["batch_size"] / latency["p50"])
        assert 0 < memory["above_start"] <= memory["run_peak"]
        assert memory["above_start"] >= memory["above_opened"] >= 0


def test_the_cold_start_is_the_sum_of_its_phases(engine):
    found = cold_starts(str(engine), (1, 1, 4, 6), None, 1)
    *phases, total = (found[f"{phase}_seconds"] for phase in PHASES)
    assert total == pytest.approx(sum(phases))
    assert found["process_seconds"] > total == found["all_total_seconds"][0]


def test_the_result_describes_model_machine_and_conditions(result, engine):
    assert result["engine"]["path"] == str(engine)
    assert result["engine"]["operator"] == "library"
    assert result["engine"]["threads"] == 1
    assert result["settings"]["repeats"] == 4
    assert {"cpu", "kernel_instruction_set", "load_average"} <= set(result["conditions"])
    assert {"python", "vim_deploy", "onnxruntime", "numpy"} <= set(result["conditions"]["versions"])
    assert len(result["cold_start"]["all_total_seconds"]) == 2
    json.dumps(result, allow_nan=False)
    text = format_result(result)
    for part in ("| 1 ", "| 3 ", "p99", "1 thread,", "median of 2 processes", "onnxruntime on cpu"):
        assert part in text


def test_the_requested_threads_are_reported(engine):
    options = BenchOptions((1,), threads=2, warmup=0, repeats=1, cold_starts=0)
    result = bench_engine(engine, options)
    assert (result["engine"]["threads"], result["settings"]["threads"]) == (2, 2)
    assert result["cold_start"] is None and "cold start" not in format_result(result)


def test_only_the_fixed_batch_size_is_measured(tmp_path):
    output = tmp_path / "fixed.engine"
    save_and_build(color_model(batch=2), tmp_path / "fixed.onnx", output)
    options = BenchOptions(warmup=0, repeats=1, cold_starts=1)
    result = bench_engine(output, options)
    assert [batch["batch_size"] for batch in result["batches"]] == [2]
    with pytest.raises(EngineError, match=r"fixed batch size 2, not 1, 8"):
        bench_engine(output, BenchOptions(batch_sizes=(1, 8)))


def test_a_failing_cold_start_is_an_error(tmp_path):
    with pytest.raises(MeasurementError, match="cannot be read"):
        cold_starts(str(tmp_path / "none.engine"), (1, 1, 4, 6), None, 1)


@pytest.mark.parametrize(
    ("before", "after", "warned"),
    [(0.0, 0.1, False), (None, None, False), (1.5, 0.0, True), (0.0, 0.7, True)],
)
def test_a_busy_machine_is_reported(result, before, after, warned):
    conditions = {**result["conditions"], "cpus": 2, "busy_cpus": before, "busy_cpus_at_end": after}
    text = format_result({**result, "conditions": conditions})
    assert ("WARNING: the machine is busy: other processes used" in text) == warned


def test_the_busy_machine_is_measured_before_and_after(engine, monkeypatch, caplog):
    found = iter((0.0, 1.3))
    monkeypatch.setattr(machine, "busy_cpus", lambda: next(found))
    conditions = bench_engine(engine, BenchOptions((1,), warmup=0, repeats=1, cold_starts=0))["conditions"]
    assert (conditions["busy_cpus"], conditions["busy_cpus_at_end"]) == (0.0, 1.3)
    assert "the machine is busy: other processes used 1.3 CPUs" in caplog.text


class Sum(torch.nn.Module):
    def forward(self, x, scale):
        return x.sum(1) * scale


def test_named_arrays_have_the_shapes_of_the_example(tmp_path):
    given = {"x": torch.ones(2, 3), "scale": torch.tensor(2.0)}
    vim_deploy.export_module(Sum(), given, tmp_path / "x.onnx", check=False)
    vim_deploy.build(tmp_path / "x.onnx", tmp_path / "x.engine", threads=1)
    options = BenchOptions(warmup=0, repeats=2, cold_starts=1)
    result = bench_engine(tmp_path / "x.engine", options)
    assert result["engine"]["inputs"] == {"x": [2, 3], "scale": []}
    assert result["batches"][0]["latency_ms"]["count"] == 2 and result["cold_start"]["total_seconds"] > 0
    text = format_result(result)
    assert "x 2x3, scale scalar" in text and "runs/s" in text
    with pytest.raises(EngineError, match="drop --batch-sizes"):
        bench_engine(tmp_path / "x.engine", BenchOptions(batch_sizes=(2,)))
