"""Measurements in a separate process: results, memory, failures."""

import os
from pathlib import Path

import numpy as np
import pytest

from vim_deploy.bench import memory
from vim_deploy.bench.process import MeasurementError, Worker, call_isolated

SHAPE = (2, 3, 4, 4)
MEGABYTE = 1 << 20
# The interpreter uses a few more pages and arenas between two readings.
SLACK = 6 * MEGABYTE


def constant(**arguments):
    return "fake_openers:constant", arguments, SHAPE, 0


def test_the_model_runs_in_another_process_which_ends():
    with Worker("test") as worker:
        assert worker.call("fake_openers:process_id", {}) == worker.process_id != os.getpid()
        assert Path(f"/proc/{worker.process_id}").exists()
    assert not Path(f"/proc/{worker.process_id}").exists()


def test_memory_of_opening_and_running_is_separate():
    with Worker("test") as worker:
        worker.open(*constant(megabytes_held=40, megabytes_opening=100, megabytes_running=30))
        found = worker.run(3, 60)["memory"]
    assert found["open_peak"] - found["start"] == pytest.approx(140 * MEGABYTE, abs=SLACK)
    assert found["opened"] - found["start"] == pytest.approx(40 * MEGABYTE, abs=SLACK)
    assert found["above_opened"] == pytest.approx(30 * MEGABYTE, abs=SLACK)
    assert found["above_start"] == pytest.approx(140 * MEGABYTE, abs=SLACK)


def test_the_peak_includes_runs():
    with Worker("test") as worker:
        worker.open(*constant(megabytes_held=10, megabytes_running=80))
        found = worker.run(1, 60)["memory"]
    assert found["above_start"] == pytest.approx(90 * MEGABYTE, abs=SLACK)


def test_memory_of_the_parent_is_not_counted():
    ballast = np.ones(300 * MEGABYTE, np.uint8)
    with Worker("test") as worker:
        worker.open(*constant())
        found = worker.run(1, 60)["memory"]
    assert memory.resident() > ballast.nbytes
    assert max(found["start"], found["run_peak"], found["open_peak"]) < ballast.nbytes / 2


def test_the_peak_can_be_reset():
    ballast = np.ones(50 * MEGABYTE, np.uint8)
    with_ballast = memory.resident()
    del ballast
    # Linux counts per thread before it adds the counts, which therefore differ by some hundred kilobytes.
    assert memory.peak() > with_ballast - 5 * MEGABYTE
    memory.reset_peak()
    assert memory.peak() < with_ballast - 25 * MEGABYTE


def test_repeats_stop_at_the_time_limit_after_the_first():
    with Worker("test") as worker:
        worker.open("fake_openers:sleeping", {"seconds": 0.02}, SHAPE, 0)
        assert len(worker.run(5, 60)["seconds"]) == 5
        assert len(worker.run(5, 0)["seconds"]) == 1
        assert all(value >= 0.02 for value in worker.run(2, 60)["seconds"])


def test_the_output_is_that_of_the_first_image():
    with Worker("test") as worker:
        worker.open(*constant(value=2.5))
        assert worker.output() == [2.5, 2.5, 2.5]


def test_output_of_a_runtime_on_stdout_is_ignored():
    with Worker("test") as worker:
        worker.open("fake_openers:noisy", {}, SHAPE, 0)
        assert len(worker.output()) == 3 * 4 * 4


def test_random_input_depends_only_on_the_seed():
    outputs = []
    for seed in (0, 0, 1):
        with Worker("test") as worker:
            worker.open("fake_openers:noisy", {}, SHAPE, seed)
            outputs.append(worker.output())
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize("when", ["import", "open", "run"])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "RuntimeError: the runtime gave up"),
        ("mistake", "^test: bad.engine is bad; use a good one.$"),
        ("exit", "exited with code 3. Its stderr: last words"),
        ("kill", "SIGKILL; it probably ran out of memory"),
    ],
)
def test_every_failure_is_described(when, how, message):
    with pytest.raises(MeasurementError, match=message), Worker("test") as worker:
        worker.open("fake_openers:failing", {"when": when, "how": how}, SHAPE, 0)
        worker.run(1, 60)


def test_a_function_is_called_in_a_separate_process():
    assert call_isolated("fake_openers:process_id", {}) != os.getpid()


def test_the_oom_killer_prefers_the_measured_process():
    with Worker("test") as worker:
        worker.open(*constant())
        assert Path(f"/proc/{worker.process_id}/oom_score_adj").read_text().strip() == "1000"
