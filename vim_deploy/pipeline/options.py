"""The options of a run of vim-infer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vim_deploy.data.decode import Limits
from vim_deploy.data.labels import Labels
from vim_deploy.data.loading import default_workers
from vim_deploy.pipeline.inputs import Shard
from vim_deploy.pipeline.stop import FailureLimit
from vim_deploy.results import Format, Start


@dataclass(frozen=True)
class ClusterOptions:
    """A run on a Ray cluster. None: `address` a local cluster; `actors` one per node, or per GPU for engines
    that need one; `actor_gpus` one for such engines."""

    address: str | None = None
    actors: int | None = None
    actor_gpus: float | None = None


@dataclass(frozen=True)
class InferenceOptions:
    """See `vim-infer --help`. `task_options`: the given options of tasks by field name, see tasks/options.py.

    `labels`: a Path is a table of images and classes. `label_field`: see `by_shard` in data/labels.py.
    `force`: replace existing files of other kinds, but no inputs. `idle`: seconds without a new file after
    which `watch` ends. `command`: the command line, for the report. `cluster` None: this machine, without
    Ray.
    """

    engine: Path
    inputs: tuple[str, ...]
    output: Path | None = None
    format: Format | None = None
    device: str | None = None
    batch_size: int | None = None
    threads: int | None = None
    workers: int | None = None
    labels: Labels | Path = Labels.AUTO
    label_field: str | None = None
    source: Path | None = None
    start: Start = Start.NEW
    limits: Limits = field(default_factory=Limits)
    max_failures: FailureLimit = field(default_factory=FailureLimit)
    shard: Shard = field(default_factory=Shard)
    null_separated: bool = False
    force: bool = False
    watch: bool = False
    report: Path | None = None
    overlays: Path | None = None
    legend: bool = True
    idle: float | None = None
    command: str = ""
    cluster: ClusterOptions | None = None
    task_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def worker_count(self) -> int:
        """`workers`, or the default."""
        return self.workers or default_workers(self.limits)
