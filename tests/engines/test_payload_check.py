"""Checks of payloads in child processes, and records of those that passed."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from small_onnx import save, scan_model
from table_engine import built, logits

from vim_deploy import child, load
from vim_deploy.engines import check_records, payload_check
from vim_deploy.engines.container import read_engine, write_engine
from vim_deploy.engines.manifest import FileRecord
from vim_deploy.engines.payload import StoredTensor
from vim_deploy.engines.payload_check import PayloadCheck
from vim_deploy.errors import EngineError

pytest.importorskip("onnxruntime", reason="building engines needs onnxruntime")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIM_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def engine() -> Path:
    return built(columns=1000)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose payloads were checked in this process, which has imported `onnx`."""
    checked: list[str] = []
    check = PayloadCheck.run

    def run_and_note(self: PayloadCheck, name: str) -> None:
        checked.append(name)
        check(self, name)

    monkeypatch.setattr(PayloadCheck, "run", run_and_note)
    return checked


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a process that has not imported `onnx`."""
    monkeypatch.delitem(sys.modules, "onnx")


def records(cache: Path) -> list[Path]:
    return sorted((cache / "checks").glob("*.passed"))


def forge(engine: Path) -> None:
    """Change an operator to one that is not allowed, and all hashes."""
    manifest, payload = read_engine(engine)
    model = onnx.load_model_from_string(payload.data)
    model.graph.node[0].domain = "com.example"
    content = dataclasses.replace(payload, data=model.SerializeToString())
    record = FileRecord(manifest.payload.name, content.sha256, content.bytes)
    write_engine(engine, dataclasses.replace(manifest, payload=record), content)


def opened_in_child() -> dict[str, Any]:
    command = child.command("without_onnx:open_engine", path="table.engine")
    answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answer


def test_processes_that_open_engines_do_not_import_onnx(engine, cache):
    """Not even the first one, whose check is made in another process."""
    for _ in range(2):
        assert opened_in_child() == {"found": [[0.0, 0.0, 0.0]], "onnx": False}
        assert len(records(cache)) == 1


def test_a_forged_engine_is_refused_by_the_child_process_each_time(engine, cache):
    forge(engine)
    for _ in range(2):
        answer = opened_in_child()
        assert "unknown operator com.example::" in answer["found"] and not answer["onnx"]
        assert records(cache) == []


def test_an_engine_is_checked_once(engine, cache, checks):
    for _ in range(2):
        np.testing.assert_allclose(logits(engine), [[0, 0, 3]])
    assert checks == [str(engine)]
    (record,) = records(cache)
    assert record.stat().st_mode & 0o777 == 0o400
    assert record.parent.stat().st_mode & 0o777 == 0o700


def test_a_copy_of_the_engine_is_not_checked_again(engine, checks):
    logits(engine)
    logits(engine.rename("other.engine"))
    assert checks == [str(engine)]


def test_reading_an_engine_for_other_purposes_always_checks_it(engine, checks):
    logits(engine)
    read_engine(engine)
    assert checks == [str(engine)] * 2


def test_a_forged_engine_is_refused_after_the_original_was_checked(engine, cache, checks):
    logits(engine)
    forge(engine)
    checks.clear()
    with pytest.raises(EngineError, match=r"unknown operator com\.example::"):
        load(engine)
    assert checks == [str(engine)] and len(records(cache)) == 1


def _damage(record: Path) -> None:
    record.chmod(0o600)
    content = record.read_bytes()
    record.write_bytes(content[:20] + b"x" + content[21:])
    record.chmod(0o400)


def _empty(record: Path) -> None:
    record.chmod(0o600)
    os.truncate(record, 0)
    record.chmod(0o400)


def _lengthen(record: Path) -> None:
    record.chmod(0o600)
    record.write_bytes(record.read_bytes() + b"x")
    record.chmod(0o400)


def _link(record: Path) -> None:
    record.rename("elsewhere")
    record.symlink_to(Path("elsewhere").resolve())


def _rename_another(record: Path) -> None:
    logits(built(columns=1001, name="another.engine"))
    (other,) = set(record.parent.glob("*.passed")) - {record}
    other.replace(record)


@pytest.mark.parametrize(
    "change",
    [_damage, _empty, _lengthen, _link, _rename_another, lambda record: record.chmod(0o600)],
)
def test_an_unsafe_or_damaged_record_is_replaced(engine, cache, checks, change):
    logits(engine)
    (record,) = records(cache)
    content = record.read_bytes()
    change(record)
    checks.clear()
    logits(engine)
    assert checks == [str(engine)]
    assert record.read_bytes() == content and not record.is_symlink()
    assert record.stat().st_mode & 0o777 == 0o400
    checks.clear()
    logits(engine)
    assert checks == []


def _writable_by_the_group(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "checks").chmod(0o720)


def _linked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "checks").rename("elsewhere")
    (cache / "checks").symlink_to(Path("elsewhere").resolve())


def _of_another_user(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)


def _on_a_network_file_system(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_records, "is_on_local_disk", lambda folder: False)


def _replaced_by_a_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "checks").rename("elsewhere")
    (cache / "checks").write_text("")


@pytest.mark.parametrize(
    "change",
    [_writable_by_the_group, _linked, _of_another_user, _on_a_network_file_system, _replaced_by_a_file],
)
def test_records_in_a_folder_that_others_can_change_do_not_count(engine, cache, checks, monkeypatch, change):
    logits(engine)
    change(cache, monkeypatch)
    for _ in range(2):
        checks.clear()
        np.testing.assert_allclose(logits(engine), [[0, 0, 3]])
        assert checks == [str(engine)]


def test_the_owner_of_a_record_counts_not_only_that_of_the_folder(engine, cache, checks, monkeypatch):
    logits(engine)
    status = os.fstat

    def of_another(descriptor: int) -> os.stat_result:
        found = status(descriptor)
        values = list(found)
        if found.st_mode & 0o777 == 0o400:
            values[4] += 1
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", of_another)
    checks.clear()
    logits(engine)
    assert checks == [str(engine)]


def test_a_full_disk_costs_only_another_check(engine, cache, checks, monkeypatch):
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(check_records, "atomic_write", full)
    for _ in range(2):
        np.testing.assert_allclose(logits(engine), [[0, 0, 3]])
    assert checks == [str(engine)] * 2 and records(cache) == []


def test_a_process_that_was_first_is_no_error(cache, monkeypatch):
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    for _ in range(2):
        check_records.record_passed("0" * 64)
        assert check_records.has_passed("0" * 64)


CHECK = PayloadCheck(
    b"graph", {"table": StoredTensor("FLOAT", (3,), 0)}, 12, ("a",), {"pixels": (1, 3, 8, 8)}
)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": b"Graph"},
        {"tensors": {"table": StoredTensor("FLOAT", (3,), 64)}},
        {"tensors": {"table": StoredTensor("INT32", (3,), 0)}},
        {"weights_bytes": 13},
        {"domains": ("a", "b")},
        {"shapes": {"pixels": (2, 3, 8, 8)}},
    ],
)
def test_the_key_depends_on_everything_that_is_checked(changes):
    assert dataclasses.replace(CHECK).key() == CHECK.key()
    assert dataclasses.replace(CHECK, **changes).key() != CHECK.key()


def _another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")


def _another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_check, "VERSION", "0.0.0")


def _other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path).replace(b"EPContext", b"Other"))


@pytest.mark.parametrize("change", [_another_library, _another_version, _other_code])
def test_the_key_depends_on_the_checks(monkeypatch, change):
    before = CHECK.key()
    payload_check._checker.cache_clear()
    change(monkeypatch)
    try:
        assert CHECK.key() != before
    finally:
        payload_check._checker.cache_clear()


def test_without_metadata_of_a_library_nothing_is_recorded(engine, cache, checks, monkeypatch):
    monkeypatch.setattr(payload_check, "_checker", lambda: None)
    for _ in range(2):
        logits(engine)
    assert checks == [str(engine)] * 2 and records(cache) == []


# They are imported by the checks, but do not decide what passes.
_WITHOUT_RULES = {"child", "engines", "errors", "ops", "package", "registry"}


def test_all_modules_with_rules_are_part_of_the_key():
    path = save(scan_model(), Path("model.onnx"))
    command = child.command("without_onnx:check_file", path=str(path))
    done = subprocess.run(command, capture_output=True, check=True)
    imported = {name.partition(".")[2] for name in json.loads(done.stdout)} - {""}
    assert "engines.graph_check" in imported and "ops.function_body" in imported
    hashed = {
        f"{path.parent.name}.{path.stem}".removeprefix("vim_deploy.") for path in payload_check._SOURCES
    }
    assert imported - _WITHOUT_RULES == hashed - {"engines.payload_check"}


def _ends(code: int, output: bytes = b"", errors: str = "") -> Callable[..., child.Result]:
    return lambda *arguments, **options: child.Result(code, output, errors)


def test_a_crash_of_the_check_refuses_the_engine(engine, cache, without_onnx, monkeypatch):
    started = payload_check._STARTED
    monkeypatch.setattr(child, "call_limited", _ends(-signal.SIGSEGV, started, "stack overflow"))
    with pytest.raises(EngineError, match="checks the graph was killed by SIGSEGV: stack overflow"):
        load(engine)
    monkeypatch.setattr(child, "call_limited", _ends(0, started))
    with pytest.raises(EngineError, match="exited with code 0: it printed nothing"):
        load(engine)
    assert records(cache) == []


def _takes_too_long(*arguments: Any, **options: Any) -> None:
    raise TimeoutError


def test_a_check_that_takes_too_long_refuses_the_engine(engine, without_onnx, monkeypatch):
    monkeypatch.setattr(child, "call_limited", _takes_too_long)
    with pytest.raises(EngineError, match="checking the graph took longer than 300 s"):
        load(engine)


def test_the_memory_of_the_check_is_limited(without_onnx, monkeypatch):
    monkeypatch.setenv("VIM_DEPLOY_BUILD_MEMORY_GB", "0.2")
    check = PayloadCheck(bytes(300_000_000), {}, 0, (), {})
    with pytest.raises(EngineError, match=r"(?s)checks the graph exited with code 1: .*Memory"):
        check.start("model.onnx")()


def _cannot_be_started(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize("outcome", [_cannot_be_started, _ends(2, b"", "unknown option -I")])
def test_where_no_process_can_be_started_the_check_is_made_in_this_one(
    engine, without_onnx, checks, monkeypatch, outcome
):
    monkeypatch.setattr(child, "call_limited", outcome)
    logits(engine)
    logits(engine)
    assert checks == [str(engine)]


def test_the_hash_of_an_engine_is_compared_first(engine, checks):
    content = bytearray(engine.read_bytes())
    content[content.index(b"ReduceMean")] ^= 1
    engine.write_bytes(content)
    with pytest.raises(EngineError, match="edited or damaged"):
        load(engine)
    assert checks == []
