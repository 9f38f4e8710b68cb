"""Runs a command and prints its time and the largest memory of its processes, by kind.

    python tools/process_memory.py vim-infer model.engine photos/ -o rows.csv --ray --actors 2

Processes that other processes of the command started count too. `rss` is resident memory, of which `shared`
are pages of Ray's object store; `pss` divides pages that several processes map, such as weights, between
them. Values are those of the largest process of each kind, in MB.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

_SECONDS = 2.0  # each time takes tens of milliseconds
_KINDS = {
    r"^ray::.*Predictor": "actor",
    r"decoder_process": "decoder",
    r"^ray::IDLE": "idle Ray worker",
    r"raylet/raylet": "raylet, with the object store",
    r"gcs_server|ray/_private|ray/dashboard|ray/autoscaler": "other Ray process",
    r"^ray::": "other Ray worker",
    r"vim-infer|vim_deploy": "vim-infer",
}
_FIELDS = {"VmRSS": "rss", "RssShmem": "shared"}


def main(command: list[str]) -> int:
    largest: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    counts: dict[str, int] = defaultdict(int)
    before = set(_processes())
    started = time.monotonic()
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            found: dict[str, int] = defaultdict(int)
            for number in set(_processes()) - before:
                kind, memory = _kind(number), _memory(number)
                if kind is None or not memory:
                    continue
                found[kind] += 1
                for name, value in memory.items():
                    largest[kind][name] = max(largest[kind][name], value)
            for kind, count in found.items():
                counts[kind] = max(counts[kind], count)
            time.sleep(_SECONDS)
    seconds = round(time.monotonic() - started, 1)
    processes = {kind: {"processes": counts[kind], **values} for kind, values in sorted(largest.items())}
    print(json.dumps({"seconds": seconds, "processes": processes}, indent=2))
    return process.returncode


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _kind(number: int) -> str | None:
    try:
        text = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return next((kind for pattern, kind in _KINDS.items() if re.search(pattern, text)), None)


def _memory(number: int) -> dict[str, int]:
    """In MB; empty for a process that has ended."""
    try:
        status = Path(f"/proc/{number}/status").read_text()
        rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
    except OSError:
        return {}
    found = {}
    for text, names in ((status, _FIELDS), (rollup, {"Pss": "pss"})):
        for name, shown in names.items():
            if match := re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE):
                found[shown] = int(match.group(1)) // 1000
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
