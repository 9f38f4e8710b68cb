"""The cells of an earlier run, which --resume keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vim_deploy.errors import OutputError

_CONDITIONS = ("cpu", "cpu_instruction_set", "kernel_instruction_set", "cpus", "versions")


def saved_cells(path: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells in a file; none if it does not exist. `result`: of this run, without cells.

    Raises OutputError if the file is not a result, or if it was measured under other conditions, with other
    settings or with other code.
    """
    if not path.exists():
        return []
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        cells: list[dict[str, Any]] = saved["cells"]
        different = _differences(saved, result)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} cannot be continued: it is not a result of this version ({type(error).__name__}: "
            f"{error}); use another --output."
        ) from None
    if different:
        raise OutputError(
            f"{path} cannot be continued: {', '.join(different)}; use another --output, or measure again "
            "without --resume."
        )
    return cells


def _differences(saved: dict[str, Any], result: dict[str, Any]) -> list[str]:
    before, now = ({name: facts["conditions"][name] for name in _CONDITIONS} | facts["settings"]
                   for facts in (saved, result))  # fmt: skip
    found = [
        f"{name} was {before.get(name)} and is {now[name]}" for name in now if before.get(name) != now[name]
    ]
    if saved["code"] != result["code"]:
        found.append("it was measured with other code")
    return found
