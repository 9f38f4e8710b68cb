"""A whole run: find the images, run the engine, write the results, count."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vim_deploy.data.discover import Discovery, Item, Labels, folder_classes
from vim_deploy.engines.engine import Engine, load_engine
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.predict import Prediction, predict_stream
from vim_deploy.results import Format, ResultFile, format_of, printable_path

if TYPE_CHECKING:
    from rich.console import Console

_log = logging.getLogger("vim_deploy")


@dataclass(frozen=True)
class InferenceOptions:
    """What a run of vim-infer is asked to do; see its help."""

    engine: Path
    inputs: tuple[str, ...]
    output: Path | None = None
    format: Format | None = None
    top_k: int = 5
    device: str | None = None
    batch_size: int | None = None
    threads: int | None = None
    workers: int | None = None
    labels: Labels = Labels.AUTO
    source: Path | None = None


@dataclass
class Summary:
    """Figures of a run. Accuracy is over the labelled images that have a prediction; None without any."""

    engine: str
    backend: str
    device: str
    precision: str
    images: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    top1_right: int = 0
    top5_right: int = 0
    other_files: int = 0
    seconds: float = 0.0

    def count(self, prediction: Prediction) -> None:
        self.images += 1
        if prediction.status != "ok":
            self.failed += 1
            self.reasons[prediction.reason] += 1
        if prediction.rank is not None:
            self.labelled += 1
            self.top1_right += prediction.rank < 1
            self.top5_right += prediction.rank < 5

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["top1_right"], values["top5_right"]
        values["reasons"] = dict(self.reasons.most_common())
        values["ok"] = self.images - self.failed
        values["images_per_second"] = self.images / self.seconds if self.seconds else None
        values["top1_accuracy"] = self.top1_right / self.labelled if self.labelled else None
        values["top5_accuracy"] = self.top5_right / self.labelled if self.labelled else None
        return values

    def text(self) -> str:
        values = self.to_dict()
        lines = [
            f"{self.images} images in {self.seconds:.2f} s ({values['images_per_second']:.1f} images/s, "
            f"decoding and writing included), {self.failed} failed"
        ]
        if self.labelled:
            lines.append(
                f"accuracy over {self.labelled} labelled images: top-1 {values['top1_accuracy']:.2%}, "
                f"top-5 {values['top5_accuracy']:.2%}"
            )
        lines += [f"{count} x {reason}" for reason, count in self.reasons.most_common(5)]
        if self.other_files:
            lines.append(f"{self.other_files} files that are no images by name or content were left out")
        return "\n".join(lines)


def run_inference(options: InferenceOptions, console: Console | None = None) -> Summary:
    """Run an engine over images and write one row for each, in order.

    `console` shows progress. Raises a VimDeployError for what stops the run; a damaged image does not.
    """
    format = format_of(options.output, options.format)
    with load_engine(
        options.engine, threads=options.threads, device=options.device, source=options.source
    ) as engine:
        discovery = _discovery(options, engine)
        items = _at_least_one(discovery)
        top_k = _top_k(options.top_k, engine)
        summary = Summary(
            str(options.engine), engine.manifest.backend, engine.manifest.device, engine.manifest.precision
        )
        stream = predict_stream(
            engine, items, top_k=top_k, batch_size=options.batch_size, workers=options.workers
        )
        with (
            ResultFile(options.output, format, engine.metadata.task, engine.class_names, top_k) as results,
            contextlib.closing(stream),
        ):
            started = time.perf_counter()
            for prediction in _with_progress(stream, options, discovery, console):
                results.write(prediction)
                summary.count(prediction)
            summary.seconds = time.perf_counter() - started
    summary.other_files = discovery.other_files
    for note in discovery.notes:
        _log.warning("%s", note)
    return summary


def _discovery(options: InferenceOptions, engine: Engine) -> Discovery:
    if engine.metadata.task != "classify":
        if options.labels in (Labels.FOLDER, Labels.SORTED):
            raise EngineError("--labels needs a model that classifies; this one gives features.")
        return Discovery(options.inputs)
    classes = folder_classes(options.inputs, options.labels, engine.class_names)
    if classes:
        _log.info("labels: the folder of an image is its class (%d classes)", len(classes))
    return Discovery(options.inputs, classes)


def _at_least_one(discovery: Discovery) -> Iterator[Item]:
    items = iter(discovery)
    first = next(items, None)
    if first is None:
        raise ImageError(
            f"no image in {', '.join(str(printable_path(str(given))) for given in discovery.inputs)}; "
            f"{discovery.other_files} other files are there."
        )
    return chain([first], items)


def _top_k(asked: int, engine: Engine) -> int:
    count = len(engine.class_names)
    if engine.metadata.task == "classify" and asked > count:
        _log.info("top-k is %d: the model has no more classes", count)
        return count
    return asked


def _with_progress(
    stream: Iterator[Prediction], options: InferenceOptions, discovery: Discovery, console: Console | None
) -> Iterator[Prediction]:
    if console is None or not console.is_terminal:
        yield from stream
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # A second search counts the files, so that the bar knows its end.
    total = sum(1 for _ in Discovery(options.inputs))
    rate = TextColumn("{task.fields[rate]:.1f} images/s")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("images", total=total, rate=0.0)
        started = time.perf_counter()
        for done, prediction in enumerate(stream, 1):
            yield prediction
            progress.update(task, completed=done, rate=done / (time.perf_counter() - started))
