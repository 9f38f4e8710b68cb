"""A measurement in a process of its own: what it sees, what it costs, and how it may end."""

import os
from pathlib import Path

import numpy as np
import pytest

from vim_deploy.bench import memory
from vim_deploy.bench.process import MeasurementError, Worker, call_isolated

SHAPE = (2, 3, 4, 4)
MEGABYTE = 1 << 20
# Interpreters touch a few pages and arenas of their own between two readings.
SLACK = 6 * MEGABYTE


def constant(**arguments):
    return "fake_openers:constant", arguments, SHAPE, 0


def test_it_is_another_process_and_it_ends():
    with Worker("test") as worker:
        assert worker.call("fake_openers:process_id", {}) == worker.process_id != os.getpid()
        assert Path(f"/proc/{worker.process_id}").exists()
    assert not Path(f"/proc/{worker.process_id}").exists()


def test_memory_while_opening_held_and_while_running_is_told_apart():
    with Worker("test") as worker:
        worker.open(*constant(megabytes_held=40, megabytes_opening=100, megabytes_running=30))
        found = worker.run(3, 60)["memory"]
    assert found["open_peak"] - found["start"] == pytest.approx(140 * MEGABYTE, abs=SLACK)
    assert found["opened"] - found["start"] == pytest.approx(40 * MEGABYTE, abs=SLACK)
    assert found["above_opened"] == pytest.approx(30 * MEGABYTE, abs=SLACK)
    assert found["above_start"] == pytest.approx(140 * MEGABYTE, abs=SLACK)


def test_a_run_that_needs_more_than_opening_sets_the_peak():
    with Worker("test") as worker:
        worker.open(*constant(megabytes_held=10, megabytes_running=80))
        found = worker.run(1, 60)["memory"]
    assert found["above_start"] == pytest.approx(90 * MEGABYTE, abs=SLACK)


def test_the_callers_memory_is_not_counted():
    ballast = np.ones(300 * MEGABYTE, np.uint8)
    with Worker("test") as worker:
        worker.open(*constant())
        found = worker.run(1, 60)["memory"]
    assert memory.resident() > ballast.nbytes
    assert max(found["start"], found["run_peak"], found["open_peak"]) < ballast.nbytes / 2


def test_the_peak_can_start_anew():
    ballast = np.ones(50 * MEGABYTE, np.uint8)
    with_ballast = memory.resident()
    del ballast
    # Linux gathers these counts per thread before it adds them up: they are some hundred kilobytes apart.
    assert memory.peak() > with_ballast - 5 * MEGABYTE
    memory.reset_peak()
    assert memory.peak() < with_ballast - 25 * MEGABYTE


def test_repeats_end_early_when_time_is_over_but_not_before_the_first():
    with Worker("test") as worker:
        worker.open("fake_openers:sleeping", {"seconds": 0.02}, SHAPE, 0)
        assert len(worker.run(5, 60)["seconds"]) == 5
        assert len(worker.run(5, 0)["seconds"]) == 1
        assert all(value >= 0.02 for value in worker.run(2, 60)["seconds"])


def test_the_output_is_that_of_the_first_image():
    with Worker("test") as worker:
        worker.open(*constant(value=2.5))
        assert worker.output() == [2.5, 2.5, 2.5]


def test_what_a_runtime_prints_does_not_disturb():
    with Worker("test") as worker:
        worker.open("fake_openers:noisy", {}, SHAPE, 0)
        assert len(worker.output()) == 3 * 4 * 4


def test_random_input_depends_on_the_seed_alone():
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
def test_every_end_is_told(when, how, message):
    with pytest.raises(MeasurementError, match=message), Worker("test") as worker:
        worker.open("fake_openers:failing", {"when": when, "how": how}, SHAPE, 0)
        worker.run(1, 60)


def test_a_function_is_called_in_a_process_of_its_own():
    assert call_isolated("fake_openers:process_id", {}) != os.getpid()


def test_the_system_ends_a_measurement_before_anything_else():
    with Worker("test") as worker:
        worker.open(*constant())
        assert Path(f"/proc/{worker.process_id}/oom_score_adj").read_text().strip() == "1000"
