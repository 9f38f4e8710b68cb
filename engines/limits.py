"""How much memory and time a process that checks or runs an untrusted graph may take."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vim_deploy import machine
from vim_deploy.errors import EngineError

MEMORY_VARIABLE = "VIM_DEPLOY_BUILD_MEMORY_GB"
SECONDS_VARIABLE = "VIM_DEPLOY_BUILD_SECONDS"
# The interpreter, the runtime and its libraries.
_BASE_MEMORY = 1 << 30
_MEMORY_PER_THREAD = 16 << 20
# Weights as they were read, in the graphs before and after optimization, and in sessions.
_MEMORY_PER_FILE_BYTE = 12
# Of activations. A detector with the operator library needs 350 bytes; the function body of the scan needs a
# state of (channels, 16) floats for every token.
_MEMORY_PER_ELEMENT = 4 << 10
_BASE_SECONDS = 300.0
_SECONDS_PER_ELEMENT = 1e-3


@dataclass(frozen=True)
class Limits:
    memory: int  # bytes
    seconds: float


def limits_for(file_bytes: int, elements: int, threads: int) -> Limits:
    """The limits for a file and an input with so many elements, or those in the environment.

    Several times of what models of that size need, but not more memory than the machine has. Raises
    EngineError for a value in the environment that is not a positive number.
    """
    memory = (
        _BASE_MEMORY
        + _MEMORY_PER_THREAD * threads
        + _MEMORY_PER_FILE_BYTE * file_bytes
        + _MEMORY_PER_ELEMENT * elements
    )
    chosen = _chosen(MEMORY_VARIABLE)
    return Limits(
        int(chosen * 1e9) if chosen else min(memory, machine.usable_memory() or memory),
        _chosen(SECONDS_VARIABLE) or _BASE_SECONDS + _SECONDS_PER_ELEMENT * elements,
    )


def _chosen(variable: str) -> float | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:  # also false for NaN
        raise EngineError(f"{variable} is {text!r:.100}; expected a positive number.")
    return value
