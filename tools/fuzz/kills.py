"""Kills commands at random moments and checks the files that they leave.

After each signal no file of the user has changed, and each output is whole or absent. After the next run,
with --resume where there is one, all outputs are those of a run that was not interrupted, and there is no
other file.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import kill_commands as places
from kill_commands import OUTPUT, SETUP, TEMPORARY, Command

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FINISHED = (0, 1)  # 1: an image could not be read
_STOPPED = (2, 3, 130)  # with a message; 2: there is nothing to continue
_SECONDS = 600  # of a run; longer is a failure
_ATTEMPTS = 6  # kills of a run before it may finish
_LOG = "printed"
_WHOLE = b"whole"
_TRACEBACK = "Traceback (most recent call last)"


def run(models: list[Path], count: int, seed: int, folder: Path, keep: Path) -> dict[str, Any]:
    """Counts of the signals that ended a process; `failures`: the cases in which a file was wrong.

    The models are the examples of the repository. `models`: those that need not be exported, for example
    digits.onnx.
    """
    place = _Place(folder, models)
    landed: Counter[str] = Counter()
    failures: list[str] = []
    cases, started = 0, time.monotonic()
    for cases in range(1, 20 * count):
        generator = random.Random(f"{seed}/{cases}")
        command = places.choose(generator)
        signals: list[str] = []
        problem = place.case(command, generator, signals)
        landed.update(f"{command.program}: {name}" for name in signals)
        if problem:
            failures.append(f"{cases} ({command.title}; {', '.join(signals)}): {problem}")
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, keep / f"{seed}-{cases}", dirs_exist_ok=True)
        if cases % 10 == 0:
            kills = sum(landed.values())
            print(f"{cases} runs, {kills} kills, {len(failures)} failures", file=sys.stderr, flush=True)
        if sum(landed.values()) >= count:
            break
    return {
        "kills": sum(landed.values()),
        "runs": cases,
        "seed": seed,
        "signals": dict(sorted(landed.items())),
        "failures": failures,
        "seconds": round(time.monotonic() - started, 1),
    }


class _Place:
    """A folder with the files of a user, and the outputs of all commands when they are not interrupted."""

    def __init__(self, folder: Path, models: list[Path]) -> None:
        self.folder, self.log = folder, folder / _LOG
        self._seconds: dict[str, float] = {}
        self._outputs: dict[str, dict[str, bytes]] = {}
        for name in ("export", "build", "infer", "validate", "bench"):
            import_module(f"vim_deploy.cli.{name}")
        for name in ("onnxruntime", "torch", "vim_deploy.export.exporter", "vim_deploy.pipeline.inference"):
            import_module(name)  # once, before the process forks
        os.environ |= {"TMPDIR": str(folder / TEMPORARY), "VIM_DEPLOY_CACHE": str(folder / OUTPUT / "cache")}
        tempfile.tempdir = None
        places.write_user_files(folder)
        for model in models:
            shutil.copy(model, folder / model.name)
        for command in SETUP:
            if not (folder / command.arguments[-1]).exists():
                self._finish(command)
        self._inputs = self._user_files()

    def case(self, command: Command, generator: random.Random, signals: list[str]) -> str | None:
        """Kill a command and let it finish; `signals` gets those that landed. Returns what is wrong."""
        if command.title not in self._outputs:
            places.reset_output(self.folder)
            self._seconds[command.title] = self._finish(command)
            self._outputs[command.title] = self._written()
        expected = self._outputs[command.title]
        places.reset_output(self.folder)
        try:
            for attempt in range(generator.randrange(1, _ATTEMPTS + 1)):
                number = generator.choice(_SIGNALS)
                again = _continued(command) if attempt else command
                code = self._killed(again, number, generator.random())
                if code not in (*_FINISHED, -number, 128 + number, *_STOPPED):
                    return f"{number.name}: exit code {code}: {self._printed()}"
                if code == 2 and not self._is_complete(command):
                    return f"{number.name}: {self._printed()}"
                if _TRACEBACK in self._printed():
                    return f"{number.name}: {self._printed()}"
                self._check_user_files()
                self._check_whole(expected)
                if code in _FINISHED or code == 2:
                    break
                signals.append(number.name)
            if not self._is_complete(command):
                self._finish(_continued(command))
            self._check_user_files()
            self._check_whole(expected)
            found = self._written()
            if found.keys() != expected.keys():
                return f"the files differ: {sorted(found.keys() ^ expected.keys())}"
        except _WrongError as error:
            return str(error)
        return None

    def _finish(self, command: Command) -> float:
        """The seconds of a run that is not interrupted. Raises _WrongError unless it succeeds."""
        started = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(self._start(command), 0)[1])
        if code not in _FINISHED:
            raise _WrongError(f"{command.title}: exit code {code}: {self._printed()}")
        return time.monotonic() - started

    def _killed(self, command: Command, number: signal.Signals, moment: float) -> int:
        """The exit code of a run that gets a signal; `moment`: 0 to 1 of its usual duration."""
        title = command.title  # with --resume it is shorter
        child = self._start(command)
        usual = self._seconds.setdefault(title, self._seconds[title.removesuffix(" --resume")])
        time.sleep(usual * moment)
        os.kill(child, number)
        deadline = time.monotonic() + _SECONDS
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise _WrongError(f"{number.name} did not end the process")
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(ended[1])
        # So that later moments are within the run, on a machine whose load changes.
        self._seconds[title] = usual * (0.7 if code in _FINISHED else 1.1)
        return code

    def _start(self, command: Command) -> int:
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.chdir(self.folder)
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            import_module(f"vim_deploy.cli.{command.program}").main(list(command.arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except KeyboardInterrupt:
            code = 130  # before the command handles it; Python's own message is no traceback of ours
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def _printed(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def _is_complete(self, command: Command) -> bool:
        """Whether the rows of a run are final, so that there is nothing to resume."""
        if not command.resumes:
            return False
        rows = self.folder / command.arguments[3]
        return rows.exists() and not rows.with_name(rows.name + ".run.json").exists()

    def _user_files(self) -> dict[str, bytes]:
        skipped = (f"{OUTPUT}/", f"{TEMPORARY}/", _LOG)
        return {
            name: path.read_bytes()
            for name, path in places.files_of(self.folder)
            if not name.startswith(skipped)
        }

    def _written(self) -> dict[str, bytes]:
        """The content of all outputs and of all files that are left elsewhere."""
        names = (OUTPUT, TEMPORARY)
        return {
            f"{name}/{inner}": _content(path)
            for name in names
            for inner, path in places.files_of(self.folder / name)
        }

    def _check_user_files(self) -> None:
        found = self._user_files()
        changed = sorted(
            name for name in {*found, *self._inputs} if found.get(name) != self._inputs.get(name)
        )
        if changed:
            raise _WrongError(f"files of the user changed: {changed}")

    def _check_whole(self, expected: dict[str, bytes]) -> None:
        for name, content in expected.items():
            path = self.folder / name
            if path.exists() and _content(path) != content:
                raise _WrongError(f"{name} is not whole, or differs from that of a run without signals")


def _continued(command: Command) -> Command:
    if not command.resumes:
        return command
    return Command(command.program, (*command.arguments, "--resume"), resumes=True)


def _content(path: Path) -> bytes:
    """The content of a file; of files with dates and durations only whether they are whole.

    Of Parquet files the rows: a run that was continued has other groups of rows.
    """
    from vim_deploy.engines.container import read_engine
    from vim_deploy.errors import EngineError

    data = path.read_bytes()
    if path.suffix == ".html":
        return _WHOLE if data.rstrip().endswith(b"</html>") else data
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        with contextlib.suppress(ValueError, OSError):
            return repr(read_table(path).to_pylist()).encode()
    if path.suffix == ".engine":
        with contextlib.suppress(EngineError):
            read_engine(path)
            return _WHOLE
    return data


class _WrongError(Exception):
    """A file, an exit code or a message that must not be."""
