"""The memory that this process may use, from the files of control groups, and the CPUs in use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vim_deploy import machine
from vim_deploy.machine import _control_group_limits, usable_memory

VERSION_1 = "12:cpu,cpuacct:/a\n5:memory:/a/b\n1:name=systemd:/a\n"
VERSION_2 = "0::/a/b\n"


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        (VERSION_2, {"a/memory.max": "1000\n", "a/b/memory.max": "max\n"}, [1000]),
        (VERSION_2, {"memory.max": "1000\n"}, [1000]),  # in a container, where /a/b does not exist
        (VERSION_2, {}, []),
        (VERSION_1, {f"memory/{folder}memory.limit_in_bytes": "500\n" for folder in ("", "a/b/")}, [500] * 2),
    ],
)
def test_limits_of_control_groups(tmp_path, groups, files, limits):
    root = tmp_path / "fs"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "cgroup").write_text(groups)
    assert list(_control_group_limits(tmp_path / "cgroup", root)) == limits
    assert list(_control_group_limits(tmp_path / "none", root)) == []


def test_this_machine_has_memory():
    memory = usable_memory()
    assert memory is None or memory > 1 << 26
    assert memory is None or not (meminfo := Path("/proc/meminfo")).exists() or memory <= _total(meminfo)


def _total(meminfo: Path) -> int:
    return int(meminfo.read_text().split()[1]) * 1024


def test_busy_cpus_are_those_that_worked_meanwhile(monkeypatch):
    """100 units later on each of 4 CPUs: 150 of them at work, the others idle or waiting for a disk."""
    times = iter(("cpu  10 0 10 1000 50 0 0 0 0 0\n", "cpu  100 20 50 1230 70 0 0 0 5 0\n"))
    monkeypatch.setattr(machine.Path, "read_text", lambda self: next(times))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    assert machine.busy_cpus(0) == pytest.approx(4 * 150 / 400)


def test_busy_cpus_are_unknown_without_the_kernels_figures(monkeypatch):
    monkeypatch.setattr(machine.Path, "read_text", lambda self: "")
    assert machine.busy_cpus(0) is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_busy_cpus_of_this_machine():
    found = machine.busy_cpus(0.1)
    assert found is not None and 0 <= found <= (os.cpu_count() or 1)
