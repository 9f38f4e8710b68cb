"""The pipeline: decode in threads, collect batches, run the engine; one prediction per input, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from vim_deploy.data.decode import MAX_PIXELS, load_image
from vim_deploy.data.discover import Item
from vim_deploy.errors import EngineError, ImageError
from vim_deploy.machine import usable_processors

if TYPE_CHECKING:
    from vim_deploy.engines.engine import Engine

_Input: TypeAlias = Item | Image.Image
DEFAULT_BATCH = 8
MOST_DEFAULT_WORKERS = 8


@dataclass(frozen=True)
class Score:
    """One class of a top-k list."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What became of one input."""

    path: str | None  # None for an image that was given as an object
    status: str  # "ok" or "error"
    reason: str = ""  # why the status is "error"
    size: tuple[int, int] | None = None  # width, height, upright
    flags: tuple[str, ...] = ()  # what decoding did, see data/decode.py
    label: int | None = None  # index of the true class where known
    rank: int | None = None  # how many classes scored above the true one
    top: tuple[Score, ...] = ()  # best first
    features: np.ndarray | None = None


@dataclass(frozen=True)
class _Loaded:
    """An input after decoding; `pixels` is None when there is a reason."""

    item: Item | None
    reason: str = ""
    size: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()
    pixels: np.ndarray | None = None


def predict_stream(
    engine: Engine,
    inputs: Iterable[_Input],
    *,
    top_k: int = 5,
    batch_size: int | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Generator[Prediction, None, None]:
    """Predictions as they are made; memory does not grow with the number of inputs.

    With an engine of fixed batch size the last batch is filled with zero images, whose results are dropped.
    Raises EngineError for options that do not fit the engine.
    """
    size = _batch_size(engine, batch_size)
    threads = workers or min(usable_processors(), MOST_DEFAULT_WORKERS)
    if top_k < 1:
        raise EngineError(f"top_k is {top_k}; expected 1 or more.")
    if engine.metadata.preprocessing.channels not in (1, 3):
        raise EngineError(
            f"the model takes {engine.metadata.preprocessing.channels} channels and images have 1 or 3; "
            "prepare the pixels yourself and call Engine.run(pixels)."
        )

    def load(given: _Input) -> _Loaded:
        return _load(engine, given, max_pixels)

    def batches() -> Generator[Prediction, None, None]:
        waiting: list[_Loaded] = []
        count = 0
        for loaded in _in_order(load, inputs, threads, 2 * size):
            waiting.append(loaded)
            count += loaded.pixels is not None
            # A run of damaged files must not pile up either.
            if count == size or len(waiting) >= 4 * size:
                yield from _run_batch(engine, waiting, top_k)
                waiting, count = [], 0
        yield from _run_batch(engine, waiting, top_k)

    return batches()


def _batch_size(engine: Engine, asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise EngineError(f"batch_size is {asked}; expected 1 or more.")
    if engine.batch is None:
        return asked or DEFAULT_BATCH
    if asked not in (None, engine.batch):
        raise EngineError(
            f"batch_size is {asked}; the engine is fixed to batches of {engine.batch}. "
            "Leave the option out, or export the model with a dynamic batch."
        )
    return engine.batch


def _in_order(
    load: Callable[[_Input], _Loaded], inputs: Iterable[_Input], workers: int, ahead: int
) -> Iterator[_Loaded]:
    """`load` over the inputs in threads, results in order, at most `workers + ahead` inputs at a time."""
    source = iter(inputs)
    pending: deque[Future[_Loaded]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        pending.extend(pool.submit(load, item) for item in islice(source, workers + ahead))
        while pending:
            loaded = pending.popleft().result()
            pending.extend(pool.submit(load, item) for item in islice(source, 1))
            yield loaded
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _load(engine: Engine, given: _Input, max_pixels: int) -> _Loaded:
    item = given if isinstance(given, Item) else None
    try:
        decoded = load_image(given.path if isinstance(given, Item) else given, max_pixels)
        pixels = engine.metadata.preprocessing(decoded.image)
    except ImageError as error:
        return _Loaded(item, reason=str(error))
    except MemoryError:
        return _Loaded(item, reason="not enough memory to decode the image")
    return _Loaded(item, size=decoded.size, flags=decoded.flags, pixels=pixels)


def _run_batch(engine: Engine, loaded: list[_Loaded], top_k: int) -> Iterator[Prediction]:
    pixels = [entry.pixels for entry in loaded if entry.pixels is not None]
    outputs: Iterator[np.ndarray] = iter(())
    if pixels:
        filling = [np.zeros_like(pixels[0])] * ((engine.batch or 0) - len(pixels))
        outputs = iter(engine.run(np.stack(pixels + filling))[engine.output.name])
    for entry in loaded:
        path = entry.item.path if entry.item else None
        label = entry.item.label if entry.item else None
        if entry.pixels is None:
            yield Prediction(path, "error", entry.reason, label=label)
        else:
            yield _prediction(engine, entry, path, label, next(outputs), top_k)


def _prediction(
    engine: Engine, entry: _Loaded, path: str | None, label: int | None, output: np.ndarray, top_k: int
) -> Prediction:
    common: dict[str, Any] = {"size": entry.size, "flags": entry.flags, "label": label}
    if not np.isfinite(output).all():
        return Prediction(path, "error", f"the model gave NaN or infinite {engine.output.name}", **common)
    if engine.metadata.task == "features":
        return Prediction(path, "ok", features=output.copy(), **common)
    rank = None
    if label is not None:
        rank = int((output > output[label]).sum() + (output[:label] == output[label]).sum())
    return Prediction(path, "ok", top=_top(output, engine.class_names, top_k), rank=rank, **common)


def _top(logits: np.ndarray, names: tuple[str, ...], top_k: int) -> tuple[Score, ...]:
    """The best classes by softmax, ties in class order."""
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-wide, kind="stable")[:top_k]
    return tuple(Score(int(index), names[index], float(probabilities[index])) for index in order)
