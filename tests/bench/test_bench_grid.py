"""Grids that are measured in pieces or within a time limit, with candidates of known speed."""

import json
from dataclasses import replace

import commands
import pytest

from benchmarks import grid as measured_grid
from benchmarks.budget import within_budget
from benchmarks.candidates import Candidate, Choice
from benchmarks.compare import main
from benchmarks.grid import Grid, Limits, blank, compare, missing
from benchmarks.measure import Timing
from benchmarks.networks import pairs
from benchmarks.saved import saved_cells
from vim_deploy.errors import OutputError

BRIEF = Timing(rounds=1, repeats=1, seconds=60, warmup=0, settle=0)
GRID = Grid((pairs()["tiny"],), (224, 512), (1, 8), batched_up_to=512)
ALL = [("Ti", 224, 1), ("Ti", 224, 8), ("Ti", 512, 1), ("Ti", 512, 8)]


def places(cells):
    return [(cell["pair"], cell["resolution"], cell["batch_size"]) for cell in cells]


@pytest.fixture
def no_candidates(monkeypatch):
    monkeypatch.setattr(measured_grid, "candidates", lambda *arguments: [])


@pytest.fixture
def choice(tmp_path):
    return Choice(threads=1, folder=tmp_path, slow_up_to=32)


def test_an_interrupted_grid_continues_with_the_cells_that_are_missing(no_candidates, choice):
    result = compare(GRID, choice, BRIEF, limits=Limits(stop_after=0))
    assert places(result["cells"]) == []
    saved = []

    def interrupt(result):
        saved.append(json.dumps(result))
        if len(saved) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(GRID, choice, BRIEF, save=interrupt)
    first = json.loads(saved[-1])
    assert places(first["cells"]) == ALL[:2]
    assert [(pair.label, pair.size, batch) for pair, batch in missing(GRID, first)] == ALL[2:]
    whole = compare(GRID, choice, BRIEF, result=json.loads(saved[-1]))
    assert places(whole["cells"]) == ALL
    assert whole["cells"][:2] == first["cells"]


def test_the_command_stops_and_resumes(no_candidates, tmp_path):
    output = tmp_path / "result.json"
    arguments = [
        "--models",
        "tiny",
        "--resolutions",
        "224",
        "--batch-sizes",
        "1,8",
        "--rounds",
        "1",
        "--quiet",
    ]
    arguments += ["--output", str(output)]
    stopped = commands.invoke(main, *arguments, "--stop-after", "0")
    assert stopped.exit_code == 0, stopped.output
    assert "2 cells left" in stopped.stderr
    whole = commands.invoke(main, *arguments, "--resume")
    assert whole.exit_code == 0, whole.output
    assert "left" not in whole.stderr
    first = output.read_bytes()
    again = commands.invoke(main, *arguments, "--resume")
    assert again.exit_code == 0, again.output
    assert output.read_bytes() == first
    other = commands.invoke(main, *arguments, "--resume", "--repeats", "3")
    assert other.exit_code == 2
    assert "repeats was 10 and is 3" in other.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved["conditions"].update(cpu="abacus"), "cpu was abacus and is"),
        (lambda saved: saved["settings"].update(threads=7), "threads was 7 and is 1"),
        (lambda saved: saved.update(code="0"), "other code"),
        (lambda saved: saved.pop("code"), "not a result of this version"),
    ],
)
def test_a_result_of_other_conditions_is_not_continued(change, message, choice, tmp_path):
    result = blank(GRID, choice, BRIEF, Limits())
    path = tmp_path / "result.json"
    assert saved_cells(path, result) == []
    path.write_text(json.dumps(result))
    assert saved_cells(path, result) == []
    saved = json.loads(json.dumps(result))
    change(saved)
    path.write_text(json.dumps(saved))
    with pytest.raises(OutputError, match=message):
        saved_cells(path, result)


def test_only_prepare_makes_the_files_and_measures_nothing(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        measured_grid, "candidates", lambda pair, batch, choice: asked.append((pair.size, batch))
    )
    output = tmp_path / "made" / "result.json"
    arguments = ["--prepare", "--models", "tiny", "--resolutions", "224,512", "--batch-sizes", "1"]
    result = commands.invoke(main, *arguments, "--output", output)
    assert result.exit_code == 0, result.output
    assert asked == [(224, 1), (512, 1)]
    assert not output.exists()


def measured(name, seconds):
    network, runtime = name.split(", ")
    return {
        "network": network,
        "runtime": runtime,
        "status": "measured",
        "latency_ms": {"p50": 1000 * seconds},
        "open_seconds": 1.0,
    }


def test_the_fastest_candidates_that_fit_are_measured_with_short_turns():
    timing = Timing(rounds=2, repeats=10, seconds=1.5, warmup=1, settle=0)
    names = ("a, slow", "b, fast", "c, medium", "d, new", "e, impossible")
    chosen = [Candidate(*name.split(", ")) for name in names[:4]]
    chosen.append(Candidate("e", "impossible", skip_reason="no why"))
    single = {"pair": "Ti", "resolution": 224, "batch_size": 1}
    single["results"] = [measured(*item) for item in zip(names[:3], (5.0, 0.5, 2.0), strict=True)]
    cell = {"pair": "Ti", "resolution": 224, "batch_size": 2}
    # Two images take 1, 4 and 10 seconds: opening, warmup, output and two rounds take 7, 17 and 41; with one
    # inference per turn, 5, 17 and 41.
    assert within_budget(chosen, [single], cell, timing, 65) == (chosen, timing)
    assert within_budget(chosen, [single], cell, timing, 63) == (chosen, replace(timing, seconds=0.75))
    found, shorter = within_budget(chosen, [single], cell, timing, 25)
    assert [candidate.name for candidate in found] == list(names)
    reason = "slow: expected to take 41 s (one image: 5000 ms), and 3 of 25 s are left (--cell-seconds)"
    assert [candidate.skip_reason for candidate in found] == [reason, None, None, None, "no why"]
    assert shorter == replace(timing, seconds=0)
    for other in ({"resolution": 512}, {"batch_size": 1}):
        assert within_budget(chosen, [single], {**cell, **other}, timing, 25) == (chosen, timing)


def test_the_expected_time_counts_the_inferences_of_all_turns():
    timing = Timing(rounds=3, repeats=10, seconds=2, warmup=2, settle=0.5)
    assert timing.expected(0.1) == pytest.approx(0.2 + 0.1 + 3 * (0.5 + 1.0))
    assert timing.expected(0.5) == pytest.approx(1.0 + 0.5 + 3 * (0.5 + 2.5))
    assert timing.expected(3.0) == pytest.approx(3.0 + 3.0 + 3 * (0.5 + 3.0))
