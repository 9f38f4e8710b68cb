"""The commands that kills.py kills, in one folder with the files of a user."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
IMAGES = 8
SIDE = 128
OUTPUT = "out"  # what the commands write
TEMPORARY = "tmp"
_USER_FILES = ("out/notes.txt", "out/maps/notes.txt", "out/overlays/holiday.jpg", "out/arrays/notes.txt")


@dataclass(frozen=True)
class Command:
    """A command line. `resumes`: after a kill it continues with --resume, otherwise it is repeated."""

    program: str
    arguments: tuple[str, ...]
    resumes: bool = False

    @property
    def title(self) -> str:
        return " ".join((f"vim-{self.program}", *self.arguments))


def _example(name: str, task: str, *more: str) -> Command:
    weights = str(EXAMPLES / name / f"{name}.safetensors")
    card = str(EXAMPLES / name / f"{name}.json")
    arguments = ("--checkpoint", weights, "--class-names", card, "--preprocessing", card)
    return Command("export", ("auto", "--task", task, *arguments, *more))


def _writing(command: Command, path: str) -> Command:
    return Command(command.program, (*command.arguments, "-o", path))


DIGITS = _example("digits", "classify")
DIGITS_WEIGHTS = str(EXAMPLES / "digits" / "digits.safetensors")
SETUP = (
    _writing(DIGITS, "digits.onnx"),
    _writing(_example("digits", "features"), "features.onnx"),
    _writing(_example("scenes", "segment"), "scenes.onnx"),
    _writing(_example("detector", "detect"), "detector.onnx"),
    *(
        Command("build", (f"{name}.onnx", "-o", f"{name}.engine"))
        for name in ("digits", "features", "scenes", "detector")
    ),
)


def _infer(engine: str, output: str, *options: str) -> Command:
    return Command("infer", (engine, "photos", "-o", f"out/{output}", *options), resumes=True)


# How often a command is chosen; the others once.
WEIGHTS = {"infer": 30, "build": 5}


def choose(generator: random.Random) -> Command:
    """A random command of `commands`."""
    programs = sorted({command.program for command in commands()})
    (program,) = generator.choices(programs, [WEIGHTS.get(name, 1) for name in programs])
    return generator.choice([command for command in commands() if command.program == program])


def commands() -> tuple[Command, ...]:
    """All commands and options that write files."""
    report = ("--report", "out/report.html")
    overlays = ("--overlays", "out/overlays")
    maps, areas = ("--maps", "out/maps"), ("--areas", "out/areas.csv")
    return (
        _infer("digits.engine", "rows.csv", *report, "--labels", "folder"),
        _infer("digits.engine", "rows.jsonl", *report, *overlays, "--batch-size", "3"),
        _infer("digits.engine", "rows.parquet", *report, "--workers", "1"),
        _infer("digits.engine", "rows.csv", "--shard", "1/2", "--top-k", "2"),
        _infer("digits.onnx", "rows.csv", *report),
        _infer("features.engine", "rows.csv", *report, "--arrays", "out/arrays"),
        _infer("features.engine", "rows.parquet"),
        _infer("features.engine", "rows.jsonl", "--arrays", "out/arrays", "--arrays-format", "safetensors"),
        _infer("scenes.engine", "rows.csv", *report, *maps, *overlays),
        _infer("scenes.engine", "rows.jsonl", *maps, *areas, "--ground-truth", "truth", "--shard", "2/2"),
        _infer("scenes.engine", "rows.parquet", *report, *maps, *areas, "--tile"),
        _infer("detector.engine", "rows.csv", *report, "--coco", "out/coco.json"),
        _infer("detector.engine", "rows.jsonl", *overlays, "--coco", "out/coco.json", "--annotations",
               "annotations.json"),
        _infer("detector.engine", "rows.parquet", *report, *overlays),
        Command("build", ("digits.onnx", "-o", "out/built.engine")),
        Command("build", ("scenes.onnx", "-o", "out/built.engine", "--optimization", "all")),
        _writing(DIGITS, "out/exported.onnx"),
        _writing(_example("digits", "classify", "--no-check", "--batch-size", "2"), "out/exported.onnx"),
        Command("validate", ("auto", "digits.onnx", "digits.engine", "--checkpoint", DIGITS_WEIGHTS, "--html",
                             "out/report.html")),
        Command("bench", ("digits.engine", "--batch-sizes", "1", "--repeats", "5", "--cold-starts", "1")),
    )  # fmt: skip


def write_user_files(folder: Path) -> None:
    """Images with ground truth and annotations, a damaged image, and files where the commands write."""
    generator = random.Random(0)
    (folder / "truth").mkdir()
    (folder / TEMPORARY).mkdir()
    annotations = []
    for number in range(IMAGES):
        name = folder / "photos" / str(number % 10) / f"{number}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        image, truth = Image.new("RGB", (SIDE, SIDE), "black"), Image.new("L", (SIDE, SIDE), 0)
        left, top = generator.randrange(60), generator.randrange(60)
        ImageDraw.Draw(image).ellipse((left, top, left + 50, top + 60), outline="white", width=6)
        ImageDraw.Draw(truth).ellipse((left, top, left + 50, top + 60), fill=1)
        image.save(name)
        (folder / "truth" / name.parent.name).mkdir(exist_ok=True)
        truth.save(folder / "truth" / name.parent.name / name.name)
        box = {"bbox": [left, top, 50, 60], "area": 3000, "iscrowd": 0, "category_id": 1}
        annotations.append({"id": number + 1, "image_id": number + 1, **box})
    (folder / "photos" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing else")
    categories = [{"id": number + 1, "name": str(number)} for number in range(10)]
    images = [
        {"id": number + 1, "file_name": f"{number % 10}/{number}.png", "width": SIDE, "height": SIDE}
        for number in range(IMAGES)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def reset_output(folder: Path) -> None:
    """The output folder with nothing but files of the user."""
    import shutil

    shutil.rmtree(folder / OUTPUT, ignore_errors=True)
    for name in _USER_FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a file of the user")


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """All files below a folder with their names relative to it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path
