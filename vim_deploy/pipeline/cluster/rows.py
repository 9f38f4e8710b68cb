"""The rows of a run on a cluster, in the order of the inputs."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vim_deploy.data.discover import Item
from vim_deploy.engines.open import OpenEngine
from vim_deploy.errors import ClusterError, ConfigError, ImageError, VimDeployError
from vim_deploy.pipeline.cluster.predictor import Answer, Chunk, Predictor, Sent
from vim_deploy.pipeline.cluster.session import ray_session
from vim_deploy.pipeline.image_outputs import ImageOutputs
from vim_deploy.pipeline.options import ClusterOptions, InferenceOptions
from vim_deploy.text import plural

CHUNK = 256  # images
_CHUNKS_PER_ACTOR = 8  # fewer images per chunk for short runs, so that all actors have work
_POLL_SECONDS = 0.2
_log = logging.getLogger("vim_deploy")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many actors run, and the CPUs and GPUs of each."""

    actors: int
    cpus: int
    gpus: float

    @classmethod
    def of(
        cls, cluster: ClusterOptions, threads: int | None, nodes: Sequence[dict[str, float]], gpu: bool
    ) -> Plan:
        """`nodes`: the resources of each. Raises ConfigError if no node has what an actor needs."""
        usable = [node for node in nodes if node.get("CPU", 0) >= 1]
        gpus = (1.0 if cluster.actor_gpus is None else cluster.actor_gpus) if gpu else 0.0
        if gpus:
            usable = [node for node in usable if node.get("GPU", 0) >= gpus]
        if not usable:
            needed = f"a CPU and {gpus:g} GPU" if gpus else "a CPU"
            raise ConfigError(f"no node of the cluster has {needed} for an actor; see `ray status`.")
        most = [int(node["GPU"] / gpus) for node in usable] if gpus else [1] * len(usable)
        actors = cluster.actors or sum(most)
        per_node = -(-actors // len(usable))
        return cls(actors, threads or max(1, int(min(node["CPU"] for node in usable)) // per_node), gpus)


def cluster_rows(
    items: Iterable[Item],
    options: InferenceOptions,
    engine: OpenEngine,
    outputs: ImageOutputs,
    batch: int,
    stopped: Callable[[], bool],
) -> Generator[Answer, None, None]:
    """One row per item, computed by Ray Data with a pool of actors, with pictures for the report. Ends early
    once `stopped()`.

    Ray computes the chunks of an actor, process or node that is lost again. Raises ClusterError if the run
    cannot go on, ConfigError if it cannot start, and the errors of the actors.
    """
    assert options.cluster is not None
    listed = [(item, _refusal(outputs, item)) for item in items]
    if not listed:
        return
    with ray_session(options.cluster) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        plan = Plan.of(options.cluster, options.threads, nodes, engine.manifest.device != "cpu")
        size = _chunk_size(len(listed), plan.actors, batch)
        chunks = [Chunk(start, listed[start : start + size]) for start in range(0, len(listed), size)]
        _log.info(
            "%s on %s: %s with %s and %g GPUs each, %s of up to %s",
            "Ray",
            plural(len(nodes), "node"),
            plural(plan.actors, "actor"),
            plural(plan.cpus, "CPU"),
            plan.gpus,
            plural(len(chunks), "chunk"),
            plural(size, "image"),
        )
        sent = Sent(
            dataclasses.replace(options, threads=plan.cpus, cluster=None),
            ray.put(Path(engine.path).read_bytes()),
            str(Path.cwd()),
        )
        yield from _computed(ray, chunks, sent, plan, stopped)


def _refusal(outputs: ImageOutputs, item: Item) -> str:
    """Why the files of the item must not be written, "" if they may."""
    try:
        outputs.reserve(item.path)
    except ImageError as error:
        return str(error)
    return ""


def _chunk_size(images: int, actors: int, batch: int) -> int:
    """A multiple of the batch size, so that the batches are those of a run on one machine."""
    wanted = min(CHUNK, -(-images // (actors * _CHUNKS_PER_ACTOR)))
    return max(1, -(-wanted // batch)) * batch


def _computed(
    ray: Any, chunks: list[Chunk], sent: Sent, plan: Plan, stopped: Callable[[], bool]
) -> Iterator[Answer]:
    """The rows of the chunks in order; nothing is lost and nothing comes twice."""
    expected = 0
    for number, content in _results(ray, chunks, sent, plan, stopped):
        if number != expected:
            raise ClusterError(f"chunk {number} came instead of chunk {expected}.")
        found: list[Answer] | VimDeployError = pickle.loads(content)
        if isinstance(found, VimDeployError):
            raise found
        yield from found
        expected += 1
    if expected != len(chunks) and not stopped():
        raise ClusterError(f"{expected} of {plural(len(chunks), 'chunk')} came back from the cluster.")


def _results(
    ray: Any, chunks: list[Chunk], sent: Sent, plan: Plan, stopped: Callable[[], bool]
) -> Iterator[tuple[int, bytes]]:
    """Read in another thread, so that the wait for a chunk can be ended."""
    waiting: queue.Queue[Any] = queue.Queue(maxsize=4)
    ended = threading.Event()

    def put(value: Any) -> None:
        while not ended.is_set():
            try:
                waiting.put(value, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                pass

    def read() -> None:
        try:
            dataset = _dataset(ray, chunks, sent, plan)
            for block in dataset.iter_batches(batch_size=None, batch_format="numpy"):
                for number, content in zip(block["number"], block["answers"], strict=True):
                    put((int(number), content))
                if ended.is_set():
                    return
            put(None)
        except Exception as error:
            put(error)

    threading.Thread(target=read, name="ray-rows", daemon=True).start()
    try:
        while not stopped():
            try:
                value = waiting.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if value is None:
                return
            if isinstance(value, ray.exceptions.RayError):
                raise ClusterError(f"the cluster failed: {' '.join(str(value).split())[:300]}.")
            if isinstance(value, Exception):
                raise value
            yield value
    finally:
        ended.set()


def _dataset(ray: Any, chunks: list[Chunk], sent: Sent, plan: Plan) -> Any:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    entries = [{"number": number, "items": pickle.dumps(chunk)} for number, chunk in enumerate(chunks)]
    return ray.data.from_items(entries, override_num_blocks=len(entries)).map_batches(
        Predictor,
        fn_constructor_args=(sent,),
        compute=ray.data.ActorPoolStrategy(size=plan.actors, max_tasks_in_flight_per_actor=2),
        batch_size=None,
        batch_format="numpy",
        num_cpus=plan.cpus,
        num_gpus=plan.gpus,
    )
