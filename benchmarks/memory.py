"""Memory of one and of several processes that have the same engine open."""

from __future__ import annotations

import contextlib
from pathlib import Path
from statistics import mean

import click

from vim_deploy.bench import openers
from vim_deploy.bench.process import Worker
from vim_deploy.bench.table import table
from vim_deploy.engines.container import read_manifest
from vim_deploy.engines.selfcheck import example_shapes

_HEAD = ("engine", "weights", "processes", "peak", "anonymous", "proportional", "all processes")


def imported(path: str) -> None:
    """In a worker: import the runtime of an engine."""
    openers.engine(path, threads=1)


def measured(path: str, processes: int) -> dict[str, float]:
    """Means over the processes, in bytes above the start, while all of them have run a batch of one."""
    manifest = read_manifest(path)
    (example,) = example_shapes(manifest.inputs, manifest.model_metadata(path), path).values()
    shape = (manifest.input.shape[0] or 1, *example[1:])
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(f"process {index}")) for index in range(processes)]
        for worker in workers:
            worker.call("benchmarks.memory:imported", {"path": path})
        # After all of them share the runtime's pages.
        starts = [worker.call("vim_deploy.bench.memory:shares", {}) for worker in workers]
        peaks = []
        for worker in workers:
            worker.open("vim_deploy.bench.openers:engine", {"path": path, "threads": 1}, shape, seed=0)
            peaks.append(worker.run(2, 60)["memory"]["above_start"])
        found = [worker.call("vim_deploy.bench.memory:shares", {}) for worker in workers]
    grown = [
        {key: after[key] - before[key] for key in after} for before, after in zip(starts, found, strict=True)
    ]
    means = {key: mean(values[key] for values in grown) for key in grown[0]}
    return {"peak": mean(peaks), **means}


@click.command()
@click.argument("engines", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--processes", default="1,4", show_default=True, help="Numbers of processes, separated by commas."
)
def main(engines: tuple[str, ...], processes: str) -> None:
    """Print the memory that an engine takes, in units of 1e6 bytes per process above the start.

    The start: the runtime is imported, the engine is not open. peak: of resident memory, while opening and
    running. anonymous: not shared with other processes. proportional: with each process's share of common
    pages. all processes: the sum of the latter. Engines are opened once before they are measured.
    """
    rows = []
    for path in engines:
        measured(path, 1)  # copies the weights into the cache
        for count in map(int, processes.split(",")):
            found = measured(path, count)
            together = count * found["proportional"]
            sizes = (found["peak"], found["anonymous"], found["proportional"], together)
            weights = read_manifest(path).payload.bytes
            rows.append(
                (
                    Path(path).name,
                    f"{weights / 1e6:.0f}",
                    str(count),
                    *(f"{size / 1e6:.0f}" for size in sizes),
                )
            )
    click.echo(table(_HEAD, rows))


if __name__ == "__main__":
    main()
