"""Records a passed validation in the engine's manifest, for `vim-infer` to show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vim_deploy.engines.container import read_engine, write_engine
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of_file
from vim_deploy.validation.artifacts import RunMode, Target
from vim_deploy.validation.results import TargetResult, Validation


def check_signable(targets: list[Target]) -> None:
    """Raises EngineError without an engine. ONNX files are not signed: engines refer to their hash."""
    if not any(target.mode == RunMode.ENGINE for target in targets):
        raise EngineError("--sign needs at least one engine among the artifacts; build one with vim-build.")


def sign(validation: Validation) -> list[TargetResult]:
    """Write the record into every engine that passed, and return their results. The payload does not change.

    Raises EngineError for an engine that changed since it was validated.
    """
    signed = []
    for result in validation.results:
        if result.target.mode == RunMode.ENGINE and result.passed:
            _sign(result, validation)
            signed.append(result)
    return signed


def _sign(result: TargetResult, validation: Validation) -> None:
    path = result.target.path
    if sha256_of_file(path) != result.artifact_sha256:
        raise EngineError(f"{path} changed during the validation; validate it again.")
    manifest, payload = read_engine(path)
    total = result.float64.group()
    record: dict[str, Any] = {
        "created": validation.created,
        "reference": _reference(validation.origin),
        "checkpoint": validation.origin,
        "payload_sha256": manifest.payload.sha256,
        "inputs": len(validation.inputs),
        "inputs_sha256": validation.inputs_sha256,
        "versions": validation.versions,
        "max_abs": total.max_abs,
        "max_relative": total.relative,
        "top1": total.top1,
        "decisions_changed": len(result.float64.changed),
    }
    write_engine(path, replace(manifest, validation=record), payload)


def _reference(origin: dict[str, Any]) -> str:
    """The checkpoint's name with the start of its hash, or with its seed."""
    if origin["sha256"]:
        return f"{origin['source']} ({origin['sha256'][:12]})"
    return f"{origin['source']} (seed {origin['seed']})"
