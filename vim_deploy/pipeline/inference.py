"""A whole run: find the images, run the engine, write the results, count. docs/inference.md has the rules."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import (
    STANDARD_INPUT,
    Discovery,
    Item,
    Labels,
    Pause,
    begins_like_an_image,
    folder_classes,
)
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.preparation import needed_of
from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.errors import EngineError, ImageError, OutputError, VimDeployError
from vim_deploy.pipeline.identity import identity_of
from vim_deploy.pipeline.inputs import Shard, remaining, watched
from vim_deploy.pipeline.progress import with_progress
from vim_deploy.pipeline.stop import FailureLimit, StoppedRunError, StopSignals
from vim_deploy.pipeline.stream import batch_size_of, default_workers, predict_stream
from vim_deploy.pipeline.summary import Summary
from vim_deploy.results import Format, Output, Start, format_of, open_output
from vim_deploy.results.escape import escape, unescaped_path
from vim_deploy.results.output import companions
from vim_deploy.tasks.base import Task
from vim_deploy.tasks.detect.options import DetectOptions
from vim_deploy.tasks.features.files import FeatureOptions
from vim_deploy.tasks.options import TaskOptions, open_task
from vim_deploy.tasks.segment.options import SegmentOptions

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
    start: Start = Start.NEW
    limits: Limits = field(default_factory=Limits)
    max_failures: FailureLimit = field(default_factory=FailureLimit)
    shard: Shard = field(default_factory=Shard)
    null_separated: bool = False
    watch: bool = False
    report: Path | None = None
    idle: float | None = None  # seconds without a new file after which watching ends
    features: FeatureOptions = field(default_factory=FeatureOptions)
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    detect: DetectOptions = field(default_factory=DetectOptions)


def run_inference(options: InferenceOptions, console: Console | None = None) -> Summary:
    """Run an engine over images and write one row for each, in order.

    `console` shows progress. Raises StoppedRunError for a run that ended early, and another VimDeployError
    for what keeps it from its first row; a damaged image does neither.
    """
    format = format_of(options.output, options.format)
    _check_output(options)
    with (
        StopSignals() as stop,
        open_engine(
            options.engine, threads=options.threads, device=options.device, source=options.source
        ) as engine,
    ):
        _log.info("%s: %s", options.engine, engine.manifest.validated)
        discovery = _discovery(options, engine)
        items = discovery if options.watch else _at_least_one(discovery)
        top_k = _top_k(options.top_k, engine)
        task = open_task(
            engine, TaskOptions(top_k, options.features, options.segment, options.detect, options.inputs)
        )
        if options.limits.reduced_jpeg and needed_of(task.preparation) is None:
            raise EngineError(
                f"--reduced-jpeg: a model of the task {engine.metadata.task} takes whole images, whose "
                "proportions a reduced JPEG has not exactly. Leave it out."
            )
        batch = batch_size_of(task, options.batch_size)
        task.begin(batch, options.workers or default_workers(), _log.info)
        output = open_output(
            options.output,
            format,
            task.columns,
            top_k,
            identity_of(options, engine.manifest, discovery.classes, top_k, format) | task.identity(),
            options.start,
        )
        with contextlib.closing(output):
            discovery.stopped = stop.requested
            run = _Run(options, task, discovery, output, stop)
            run.go(items, console)
    run.summary.other_files = discovery.other_files
    for note in discovery.notes:
        _log.warning("%s", note)
    if options.report is not None and options.output is not None:
        from vim_deploy.report import write_report

        write_report(
            options.report,
            options.output,
            format,
            task=task.columns,
            top_k=top_k,
            summary=run.summary.to_dict(),
            lines=task.summary_lines(),
            limits=options.limits,
            workers=options.workers,
        )
    return run.summary


class _Run:
    def __init__(
        self,
        options: InferenceOptions,
        task: Task,
        discovery: Discovery,
        output: Output,
        stop: StopSignals,
    ) -> None:
        self._options, self._task, self._discovery = options, task, discovery
        self._output, self._stop = output, stop
        manifest = task.engine.manifest
        self.summary = Summary(
            str(options.engine), manifest.backend, manifest.device, manifest.precision, task=task
        )

    def go(self, items: Iterable[Item | Pause], console: Console | None) -> None:
        """Every row, or an error with the output left in good order."""
        try:
            self._write_rows(items, console)
            if self._stop.requested():
                raise StoppedRunError(
                    f"stopped by {self._stop.name()}", self._output.resumable, self._stop.received
                )
            self._task.finish()
            self._output.finish()
        except BaseException as error:
            with contextlib.suppress(OutputError, OSError):
                self._output.flush()
            if not self.summary.images:
                self._output.discard()
            if isinstance(error, KeyboardInterrupt):
                error = StoppedRunError("stopped", self._output.resumable, signal.SIGINT)
            if isinstance(error, VimDeployError):
                raise self._ended_early(error) from None
            raise

    def _write_rows(self, items: Iterable[Item | Pause], console: Console | None) -> None:
        summary, options = self.summary, self._options
        source = self._source(items)
        summary.resumed = summary.images
        stream = predict_stream(
            self._task,
            source,
            batch_size=options.batch_size,
            workers=options.workers,
            loader=ProcessLoader(self._task.preparation, options.limits),
            stopped=self._stop.requested,
        )
        started = time.perf_counter()
        with contextlib.closing(stream):
            try:
                for prediction in with_progress(stream, self._count_inputs, console):
                    row = self._task.row(prediction)
                    self._output.write(row)
                    summary.count(row)
                    self._check_failures()
            finally:
                summary.seconds = time.perf_counter() - started

    def _source(self, items: Iterable[Item | Pause]) -> Iterator[Item | Pause]:
        """What is left to do; the rows of the earlier run are counted when this returns."""
        shard, count = self._options.shard, self.summary.count
        if not self._options.watch:
            mine = (given for given in items if isinstance(given, Pause) or shard.has(given.path))
            return remaining(mine, self._output.previous(), count)
        done = set()
        for row in self._output.previous():
            count(row)
            done.add(unescaped_path(row.path))

        def search() -> Iterator[Item]:
            return (item for item in self._discovery if shard.has(item.path))

        return watched(search, done, self._stop.requested, self._options.idle)

    def _check_failures(self) -> None:
        limit, summary = self._options.max_failures, self.summary
        if limit.exceeded(summary.failed, summary.images):
            reasons = "; ".join(f"{count} x {reason}" for reason, count in summary.reasons.most_common(3))
            raise StoppedRunError(
                f"{summary.failed} of {summary.images} images failed, more than --max-failures {limit} "
                f"allows ({reasons})",
                self._output.resumable,
            )

    def _ended_early(self, error: VimDeployError) -> VimDeployError:
        """The error as it is where nothing is kept, else one that says how to go on."""
        number = error.signal if isinstance(error, StoppedRunError) else None
        if not isinstance(error, StoppedRunError) and not (self.summary.images and self._output.resumable):
            return error
        text = str(error).rstrip(".")
        if self._output.resumable and self.summary.images:
            assert self._options.output is not None
            partial, _ = companions(self._options.output)
            text += f". {self.summary.images} rows are in {partial}; go on with --resume"
        return StoppedRunError(f"{text}.", self._output.resumable, number)

    def _count_inputs(self) -> int | None:
        """By a second search, so that the progress bar knows its end."""
        if self._options.watch or STANDARD_INPUT in self._options.inputs:
            return None
        again = Discovery(self._options.inputs, excluded=self._discovery.excluded)
        return sum(self._options.shard.has(item.path) for item in again) - self.summary.resumed


def _check_output(options: InferenceOptions) -> None:
    """Raises OutputError where the results would take the place of something they must not."""
    path = options.output
    if options.report is not None:
        if path is None or (path.exists() and not path.is_file()):
            raise OutputError("--report is made from the results in a file; give one with -o.")
        if options.report.resolve() == path.resolve() or begins_like_an_image(options.report):
            raise OutputError(f"the report would replace {options.report}; give another name.")
        if not options.report.resolve().parent.is_dir():
            raise OutputError(f"the folder of the report {options.report} does not exist; create it first.")
    _check_further(options)
    if path is None or not path.is_file():
        return
    if options.engine.exists() and path.samefile(options.engine):
        raise OutputError(f"{path} is the engine; give another name with -o.")
    if begins_like_an_image(path):
        raise OutputError(f"{path} is an image, and the results would replace it; give another name with -o.")


def _check_further(options: InferenceOptions) -> None:
    """The same for the single files that tasks write."""
    taken = {"the results": options.output, "the engine": options.engine, "the report": options.report}
    for option, file in (("--areas", options.segment.areas), ("--coco", options.detect.coco)):
        if file is None:
            continue
        for what, other in taken.items():
            if other is not None and file.resolve() == other.resolve():
                raise OutputError(f"{option} {file} is the file of {what}; give another name.")
        if file.is_file() and begins_like_an_image(file):
            raise OutputError(f"{option} {file} is an image, and would be replaced; give another name.")


def _discovery(options: InferenceOptions, engine: OpenEngine) -> Discovery:
    own = [options.output, *companions(options.output.resolve())] if options.output is not None else []
    if options.report is not None:
        own.append(options.report)
    classes: dict[str, int] = {}
    if engine.metadata.task == "classify":
        classes = folder_classes(options.inputs, options.labels, engine.class_names)
    elif options.labels in (Labels.FOLDER, Labels.SORTED):
        raise EngineError(
            f"--labels needs a model that classifies; this one is for the task {engine.metadata.task}."
        )
    if classes:
        _log.info("labels: the folder of an image is its class (%d classes)", len(classes))
    return Discovery(options.inputs, classes, excluded=own, null_separated=options.null_separated)


def _at_least_one(discovery: Discovery) -> Iterator[Item | Pause]:
    items = discovery.stream()
    first = next((given for given in items if isinstance(given, Item)), None)
    if first is None:
        raise ImageError(
            f"no image in {', '.join(escape(str(given)) for given in discovery.inputs)}; "
            f"{discovery.other_files} other files are there."
        )
    return chain([first], items)


def _top_k(asked: int, engine: OpenEngine) -> int:
    count = len(engine.class_names)
    if engine.metadata.task == "classify" and asked > count:
        _log.info("top-k is %d: the model has no more classes", count)
        return count
    return asked
