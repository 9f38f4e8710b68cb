"""Kills actors, worker processes and nodes of a Ray cluster at random during runs of vim-infer --ray.

    python tools/kill_cluster.py [--kills N] [--images N] [--seed N]

Starts a cluster of two nodes on this machine and runs vim-infer on small images until N processes were killed
with SIGKILL. Every run has to finish with the rows of a run without Ray, byte for byte. A killed node is
replaced. Prints the kills by kind and the number of runs; the exit code is 1 if a run failed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from infer_command import COMMAND, make_engine, make_images  # noqa: E402

_NODE = {"num_cpus": 2, "object_store_memory": 128 << 20}
_LIMIT = 600.0  # seconds for one run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--pause", type=float, default=8.0, help="longest pause between two kills, in seconds"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_engine()
        make_images("images", options.images)
        command = [*COMMAND, "colors.engine", "images", "--quiet"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        subprocess.run([*command, "-o", "expected.csv"], env=environment, check=True)
        return _campaign(options, command, environment)


def _campaign(options: argparse.Namespace, command: list[str], environment: dict[str, str]) -> int:
    from ray.cluster_utils import Cluster

    chance, kills, runs, failed = random.Random(options.seed), Counter[str](), 0, 0
    head = {**_NODE, "node_ip_address": "127.0.0.2", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(**_NODE, node_ip_address="127.0.0.3")
    try:
        while sum(kills.values()) < options.kills and not failed:
            runs += 1
            arguments = ["-o", "rows.csv", "--restart", "--force"]
            arguments += ["--ray", cluster.address, "--actors", "2"]
            process = subprocess.Popen([*command, *arguments], env=environment)
            started = time.monotonic()
            while process.poll() is None and time.monotonic() - started < _LIMIT:
                if sum(kills.values()) >= options.kills:
                    time.sleep(0.2)
                    continue
                time.sleep(chance.uniform(0.2, options.pause))
                kind = chance.choice(("actor", "worker", "actor", "node"))
                if process.poll() is None and (kind != "node" or _actors(cluster)):
                    if kind == "node":
                        cluster.remove_node(node, allow_graceful=False)
                        node = cluster.add_node(**_NODE, node_ip_address="127.0.0.3")
                        kills[kind] += 1
                    elif _kill(_actors(cluster) if kind == "actor" else _workers(cluster), chance):
                        kills[kind] += 1
            failed += _check(process)
            print(f"run {runs}: {dict(kills)} kills, {'failed' if failed else 'equal rows'}", flush=True)
    finally:
        cluster.shutdown()
    print(f"{sum(kills.values())} kills in {runs} runs: {dict(kills)}; failed runs: {failed}")
    return 1 if failed else 0


def _check(process: subprocess.Popen[Any]) -> int:
    """0 if the run has ended well with the expected rows."""
    if process.poll() is None:
        process.kill()
        process.wait()
        return 1
    same = Path("rows.csv").exists() and Path("rows.csv").read_bytes() == Path("expected.csv").read_bytes()
    Path("rows.csv").unlink(missing_ok=True)
    return int(process.returncode != 0 or not same)


def _actors(cluster: Any) -> list[int]:
    """The processes that run engines."""
    return _processes("ray::MapWorker", cluster)


def _workers(cluster: Any) -> list[int]:
    """The decoder processes of the actors."""
    return _processes("vim_deploy.data.decoder_process", cluster)


def _processes(text: str, cluster: Any) -> list[int]:
    """The processes that the nodes of this cluster started, and their children."""
    nodes = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
    marks = [f"RAY_RAYLET_PID={pid}\0".encode() for pid in nodes]
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                ours = any(mark in (folder / "environ").read_bytes() for mark in marks)
            except OSError:
                continue
            if text in command and ours:
                found.append(int(folder.name))
    return sorted(found)


def _kill(processes: list[int], chance: random.Random) -> bool:
    if not processes:
        return False
    try:
        os.kill(chance.choice(processes), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
