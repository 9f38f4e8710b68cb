"""Runs an engine over all inputs and writes the results; docs/inference.md describes the rules."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from vim_deploy.data.discover import STANDARD_INPUT, Discovery, FlushMarker, Item
from vim_deploy.data.preparation import minimum_size_of
from vim_deploy.engines.open import OpenEngine, open_engine
from vim_deploy.errors import (
    ClusterError,
    DecoderError,
    EngineError,
    ImageError,
    OutputError,
    VimDeployError,
    as_user_error,
)
from vim_deploy.metadata import ASSUMED
from vim_deploy.pipeline.cluster.rows import cluster_rows
from vim_deploy.pipeline.identity import identity_of
from vim_deploy.pipeline.image_files import ImageFiles
from vim_deploy.pipeline.image_outputs import ImageOutputs
from vim_deploy.pipeline.inputs import remaining, watched
from vim_deploy.pipeline.labels import RunLabels, labels_of, require_labels
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.pipeline.outputs import check_for_arrays, check_outputs, make_folders
from vim_deploy.pipeline.overlays import overlays_of
from vim_deploy.pipeline.progress import with_progress
from vim_deploy.pipeline.run_report import open_drawings, open_report, write_report
from vim_deploy.pipeline.stop import StoppedRunError, StopSignals
from vim_deploy.pipeline.stream import batch_size_of, predict_stream
from vim_deploy.pipeline.summary import Summary
from vim_deploy.registry import load_object
from vim_deploy.results import Format, Output, Row, Start, format_of, open_output
from vim_deploy.results.escape import escape, unescaped_path
from vim_deploy.results.output import companions
from vim_deploy.storage import StoragePath
from vim_deploy.tasks.base import TaskHandler
from vim_deploy.tasks.open import open_task
from vim_deploy.tasks.options import task_paths
from vim_deploy.tasks.registry import TASKS
from vim_deploy.tasks.spec import TaskSpec
from vim_deploy.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from vim_deploy.report import Pictures, RunReport

_log = logging.getLogger("vim_deploy")

_Rows: TypeAlias = Generator["tuple[Row, Pictures | None]", None, None]


def run_inference(options: InferenceOptions, console: Console | None = None) -> Summary:
    """Run an engine over images and write one row for each, in order.

    `console` shows progress. Raises StoppedRunError for a run that ended early, and another VimDeployError
    for a run that could not start; a damaged image causes neither.
    """
    format = format_of(options.output, options.format)
    check_outputs(options)
    # Signals have their default action before: runtimes do not survive an exception while they are imported.
    with (
        open_engine(
            options.engine, threads=options.threads, device=options.device, source=options.source
        ) as engine,
        StopSignals() as stop,
    ):
        _log.info("%s: %s", options.engine, engine.manifest.validated)
        if (engine.metadata.class_names_source or "").startswith(ASSUMED):
            _log.info("class names are %s", engine.metadata.class_names_source)
        try:
            return _run(options, format, engine, stop, console)
        except KeyboardInterrupt:
            raise stop.error(resumable=False) from None


def _run(
    options: InferenceOptions,
    format: Format,
    engine: OpenEngine,
    stop: StopSignals,
    console: Console | None,
) -> Summary:
    labels = labels_of(options, engine)
    spec = TASKS.get(engine.metadata.task)
    if spec.arrays:
        check_for_arrays(options, engine.path)
    discovery = _discovery(options, labels, spec)
    items = discovery if options.watch else _require_items(discovery, spec)
    require_labels(options, _known_inputs(options, discovery))
    stop.defer()
    task = open_task(engine, options.task_options, options.inputs)
    _check_reduced_jpeg(options, task)
    task.start(batch_size_of(task, options.batch_size), options.worker_count, _log.info)
    outputs = _image_outputs(options, discovery, task)
    identity = identity_of(options, engine.manifest, labels.values, format) | task.identity()
    output = open_output(options.output, format, task.columns, identity, options.start)
    with contextlib.ExitStack() as stack:
        for part in (output, outputs):
            stack.callback(part.close)
        discovery.stopped = stop.requested
        run = _Run(options, task, engine, discovery, output, outputs, open_report(options, task), stop)
        run.write(items, console)
        return run.summary


class _Run:
    """The rows of a run, from its inputs to its output."""

    def __init__(
        self,
        options: InferenceOptions,
        task: TaskHandler,
        engine: OpenEngine,
        discovery: Discovery,
        output: Output,
        image_outputs: ImageOutputs,
        report: RunReport | None,
        stop: StopSignals,
    ) -> None:
        self._options, self._task, self._discovery = options, task, discovery
        self._output, self._stop = output, stop
        self._image_outputs, self._report, self._engine = image_outputs, report, engine
        manifest = engine.manifest
        self.summary = Summary(
            str(options.engine),
            manifest.backend,
            manifest.device,
            manifest.precision,
            task=task,
            noun=task.spec.noun,
        )

    def write(self, items: Iterable[Item | FlushMarker], console: Console | None) -> None:
        """Write all rows, the task's files and the report, and complete the output.

        After an error, the output can be resumed.
        """
        try:
            with self._stop.deferred():
                self._write_rows(items, console)
            self.summary.other_files = self._discovery.other_files
            for note in self._discovery.notes:
                _log.warning("%s", note)
            self._task.finish()
            if self._report is not None:
                write_report(self._report, self._options, self._task, self._engine.manifest, self.summary)
            self._stop.defer()  # completing the output is not interrupted
            self._output.finish()
        except BaseException as error:
            with contextlib.suppress(OutputError, OSError, MemoryError):
                self._output.flush()
            if not self._output.saved:
                self._output.discard()
            stopped = isinstance(error, KeyboardInterrupt)
            problem = self._stop.error(self._output.resumable) if stopped else as_user_error(error)
            if problem is not None:
                raise self._with_advice(problem) from None
            raise

    def _write_rows(self, items: Iterable[Item | FlushMarker], console: Console | None) -> None:
        summary, options = self.summary, self._options
        inputs = self._remaining_inputs(items)
        summary.resumed = summary.images
        rows = self._rows(inputs) if options.cluster is None else self._cluster_rows(inputs)
        started = time.perf_counter()
        with contextlib.closing(rows):
            try:
                for row, pictures in with_progress(rows, self._count_inputs, console, summary.noun):
                    self._output.write(row)
                    self._count(row, pictures)
                    self._check_failures()
            finally:
                summary.seconds = time.perf_counter() - started

    def _rows(self, inputs: Iterable[Item | FlushMarker]) -> _Rows:
        options = self._options
        stream = predict_stream(
            self._task,
            inputs,
            batch_size=options.batch_size,
            workers=options.worker_count,
            loader=self._task.loader(options.limits),
            stopped=self._stop.requested,
        )
        with contextlib.closing(stream), open_drawings(options, self._task) as drawings:
            for number, prediction in enumerate(stream):
                row = self._image_outputs.write(prediction)
                yield row, drawings.pictures(number, row, prediction)

    def _cluster_rows(self, inputs: Iterable[Item | FlushMarker]) -> _Rows:
        items = [given for given in inputs if isinstance(given, Item)]
        if STANDARD_INPUT in self._options.inputs and self._options.start is not Start.RESUME:
            self._image_outputs.check(item.path for item in items)
        batch = batch_size_of(self._task, self._options.batch_size)
        rows = cluster_rows(
            items, self._options, self._engine, self._image_outputs, batch, self._stop.requested
        )
        with contextlib.closing(rows):
            yield from rows

    def _count(self, row: Row, pictures: Pictures | None = None) -> None:
        self.summary.count(row)
        if self._report is not None:
            self._report.add(row, pictures)

    def _count_earlier(self, row: Row) -> None:
        self._count(row)
        self._image_outputs.remember(row)

    def _remaining_inputs(self, items: Iterable[Item | FlushMarker]) -> Iterator[Item | FlushMarker]:
        """The inputs without a row. The rows of an interrupted run are counted when this returns."""
        shard, count = self._options.shard, self._count_earlier
        if not self._options.watch:
            mine = (given for given in items if isinstance(given, FlushMarker) or shard.has(given.path))
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
            reasons = "; ".join(summary.reasons.lines(3))
            raise StoppedRunError(
                f"{summary.failed} of {plural(summary.images, summary.noun)} failed, more than "
                f"--max-failures {limit} allows ({reasons})",
                self._output.resumable,
            )

    def _with_advice(self, error: VimDeployError) -> VimDeployError:
        """The error itself if no rows can be resumed, else one that says how to resume."""
        number = error.signal if isinstance(error, StoppedRunError) else None
        saved = self._output.saved
        if not saved and not isinstance(error, (StoppedRunError, DecoderError, ClusterError)):
            return error
        text = str(error).rstrip(".")
        if saved:
            assert self._options.output is not None
            partial = companions(self._options.output).partial
            text += f". {partial} has {plural(saved, 'row')}; continue with --resume"
        return StoppedRunError(f"{text}.", self._output.resumable, number)

    def _count_inputs(self) -> int | None:
        """The total for the progress bar; None if it cannot be known."""
        inputs = _known_inputs(self._options, self._discovery)
        return None if inputs is None else sum(1 for _ in inputs) - self.summary.resumed


def _discovery(options: InferenceOptions, labels: RunLabels, spec: TaskSpec) -> Discovery:
    excluded = [options.output, *companions(options.output.resolve())] if options.output is not None else []
    if options.report is not None:
        excluded.append(options.report)
    excluded += [output.path for output in task_paths(options.task_options).outputs]
    return Discovery(
        options.inputs,
        labels.label_of,
        excluded=excluded,
        null_separated=options.null_separated,
        accepts=load_object(spec.accepts),
    )


def _known_inputs(options: InferenceOptions, discovery: Discovery) -> Iterator[Item] | None:
    """The inputs, found by another search; None if they are not known before they are processed."""
    if options.watch or STANDARD_INPUT in options.inputs:
        return None
    again = Discovery(
        options.inputs, discovery.label_of, excluded=discovery.excluded, accepts=discovery.accepts
    )
    return (item for item in again if options.shard.has(item.path))


def _image_outputs(options: InferenceOptions, discovery: Discovery, task: TaskHandler) -> ImageOutputs:
    """Raises OutputError if a new run would replace a file, as far as its inputs are known."""
    output = options.output
    resumable = output is not None and (output.is_file() or not output.exists())
    record = companions(output.resolve()).image_files if output and resumable else None
    if isinstance(record, StoragePath):
        files = ImageFiles(None, owns_all=options.start is Start.RESUME)
    else:
        files = ImageFiles(record)
    outputs = ImageOutputs(task, overlays_of(options, task), files)
    folders = make_folders(options)
    if options.start is not Start.RESUME and any(next(folder.iterdir(), None) for folder in folders):
        outputs.check(item.path for item in _known_inputs(options, discovery) or ())
    return outputs


def _require_items(discovery: Discovery, spec: TaskSpec) -> Iterator[Item | FlushMarker]:
    """All items. Raises ImageError if there are none."""
    items = discovery.stream()
    first = next((given for given in items if isinstance(given, Item)), None)
    if first is None:
        inputs = ", ".join(f"'{escape(str(given))}'" for given in discovery.inputs)
        what, expected = "images", "of images"
        if spec.arrays:
            what, expected = "arrays", "of arrays (.npz, or .npy for a model with one input)"
        raise ImageError(
            f"no {what} found in {inputs} ({plural(discovery.other_files, 'other file')}); give folders or "
            f"files {expected}."
        )
    return chain([first], items)


def _check_reduced_jpeg(options: InferenceOptions, task: TaskHandler) -> None:
    if options.limits.reduced_jpeg and minimum_size_of(task.preparation) is None:
        raise EngineError(
            f"--reduced-jpeg is not valid for the task {task.network.metadata.task}: its image sizes depend "
            "on the exact proportions, which a reduced JPEG does not keep. Leave it out."
        )
