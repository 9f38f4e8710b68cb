"""The progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Entry = TypeVar("Entry")


def with_progress(
    stream: Iterator[Entry], count_inputs: Callable[[], int | None], console: Console | None, noun: str
) -> Iterator[Entry]:
    """The stream, with a progress bar on a terminal. `count_inputs` gives the total, None if unknown.

    `noun`: what an input is.
    """
    if console is None or not console.is_terminal:
        yield from stream
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]:.1f} " + f"{noun}s/s")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate,
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{noun}s", total=count_inputs(), rate=0.0)
        started = time.perf_counter()
        for done, entry in enumerate(stream, 1):
            yield entry
            progress.update(task, completed=done, rate=done / (time.perf_counter() - started))
