"""Options and handlers of tasks, including tasks that another package registers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import commands
import pytest
from PIL import Image
from small_engines import save_and_build
from small_onnx import color_model, metadata

from vim_deploy import Result, load
from vim_deploy.cli import export, infer
from vim_deploy.data.loading import Loaded
from vim_deploy.errors import EngineError
from vim_deploy.options import option
from vim_deploy.output_files import FileKind, OutputFile
from vim_deploy.prediction import Prediction
from vim_deploy.results import Format, read_rows
from vim_deploy.results.columns import COMMON_FIELDS, INTEGER, Columns
from vim_deploy.results.row import Row
from vim_deploy.tasks.base import Network, TaskHandler
from vim_deploy.tasks.open import open_task
from vim_deploy.tasks.options import task_options, task_paths
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec

TABLE = FileKind("a table", lambda path: False)


@dataclass(frozen=True)
class CountOptions:
    minimum: int = option(3, type=click.IntRange(min=0), help="Smallest count.")
    table: Path | None = option(writes=TABLE, type=click.Path(path_type=Path), help="A table.")


class CountColumns(Columns):
    def __init__(self) -> None:
        super().__init__(COMMON_FIELDS, {"count": INTEGER})

    def to_cells(self, row: Row) -> dict[str, Any]:
        return {"count": row.result}

    def from_cells(self, values: dict[str, Any]) -> int:
        return int(values["count"])

    to_json, from_json = to_cells, from_cells


class CountHandler(TaskHandler):
    def __init__(self, network: Network, options: CountOptions, inputs: Sequence[str]) -> None:
        super().__init__(network)
        self.options, self.inputs = options, inputs

    @property
    def columns(self) -> CountColumns:
        return CountColumns()

    def predict(self, loaded: Sequence[Loaded], batch: int) -> Iterator[Prediction]:
        outputs = self.run([entry.pixels for entry in loaded], (3,)) if loaded else ()
        for entry, output in zip(loaded, outputs, strict=True):
            yield Prediction(entry.path, "ok", result=int((output > self.options.minimum).sum()))


SPEC = TaskSpec(
    name="count",
    outputs=("features",),
    model_kinds=("classifier",),
    handler=f"{__name__}:CountHandler",
    module="unused:unused",
    options=f"{__name__}:CountOptions",
)


@pytest.fixture
def counting() -> Iterator[None]:
    TASKS.register("count", SPEC)
    yield
    TASKS.unregister("count")


def network(task: str) -> Any:
    return SimpleNamespace(metadata=metadata(task=task), path="model.engine", class_names=("a", "b"))


def test_registered_tasks_have_their_options_on_the_command_line(counting):
    shown = commands.invoke(infer.main, "--help").output
    section = shown[shown.index("Options of the task count:") :]
    assert "--minimum INTEGER RANGE" in section
    assert "[default: 3; x>=0]" in section
    assert "--table PATH" in section
    assert "|count]" in commands.invoke(export.main, "--help").output.replace("\n", "").replace(" ", "")


def test_registered_tasks_are_opened_with_their_options(counting):
    handler = open_task(network("count"), {"minimum": 5}, ("images",))
    assert isinstance(handler, CountHandler)
    assert handler.options == CountOptions(5)
    assert handler.inputs == ("images",)
    paths = task_paths({"minimum": 5, "table": Path("t.csv"), "maps": Path("maps"), "annotations": Path("a")})
    assert paths.outputs == (OutputFile("--table", Path("t.csv"), TABLE),)
    assert (paths.folders, paths.inputs) == ((("--maps", Path("maps")),), (Path("a"),))


def test_registered_tasks_run(counting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_and_build(color_model(task="count"), "count.onnx", "count.engine")
    for index, color in enumerate(("red", "yellow", "black")):
        Image.new("RGB", (8, 8), color).save(f"{index}.png")
    result = commands.invoke(infer.main, "count.engine", ".", "-o", "out.csv", "--minimum", "2")
    assert result.exit_code == 0, result.output
    assert [row.result for row in read_rows(Path("out.csv"), Format.CSV, CountColumns())] == [1, 2, 0]
    with load("count.engine") as engine:
        (found,) = engine.predict(["1.png"], minimum=20)
        assert (type(found), found.task, found.value) == (Result, "count", 0)
        assert found.to_dict()["path"] == "1.png" and repr(found) == "Result('1.png', 0)"
        with pytest.raises(EngineError, match="'table' is an option of the command vim-infer for files"):
            engine.predict(["1.png"], table=Path("t.csv"))
    assert commands.invoke(infer.main, "count.engine", ".", "--tile").exit_code == 2


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("classify", {"maps": 1, "tile": True}, "--maps, --tile: only for models of the task segment, and m"),
        ("classify", {"ground_truth": 1, "coco": 1}, "--ground-truth: only for models of the task segment"),
        ("segment", {"coco": 1}, "--coco: only for models of the task detect, and model.engine is for the"),
        ("features", {"top_k": 3}, "--top-k: only for models of the task classify"),
        ("features", {"size": 3}, r"unknown option 'size'; the task features has \['arrays', 'arrays_format"),
    ],
)
def test_options_of_other_tasks_are_refused(task, given, message):
    with pytest.raises(EngineError, match=message):
        task_options(TASKS.get(task), given, "model.engine")


def test_registered_and_unknown_names_are_errors():
    with pytest.raises(ValueError, match="already registered"):
        TASKS.register("classify", SPEC)
    with pytest.raises(EngineError, match="unknown task 'count'; expected one of classify, features"):
        TASKS.get("count")


def test_specs_and_options_import_neither_numpy_nor_a_runtime():
    code = (
        "import sys; from vim_deploy.cli.infer import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in ('numpy', 'PIL', 'onnx', 'onnxruntime', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
