"""The result of a validation inside the engine that it is about, for `vim-infer` to show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vim_deploy.engines.container import read_engine, write_engine
from vim_deploy.errors import EngineError
from vim_deploy.files import sha256_of_file
from vim_deploy.validation.artifacts import ENGINE, Way
from vim_deploy.validation.validate import ArtifactResult, Validation


def check_signable(ways: list[Way]) -> None:
    """Raises EngineError where no engine is among the artifacts: an ONNX file must keep its hash."""
    if not any(way.how == ENGINE for way in ways):
        raise EngineError("--sign writes into engines, and none is given; build one with vim-build.")


def sign(validation: Validation) -> list[ArtifactResult]:
    """Write the verdict into every engine that passed; returns those. The payload stays as it is.

    Raises EngineError for an engine that is another file now than the one that was validated.
    """
    signed = []
    for result in validation.results:
        if result.way.how == ENGINE and result.passed:
            _sign(result, validation)
            signed.append(result)
    return signed


def _sign(result: ArtifactResult, validation: Validation) -> None:
    path = result.way.path
    if sha256_of_file(path) != result.artifact_sha256:
        raise EngineError(f"{path} was replaced while it was validated; validate it again.")
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
    """The checkpoint in a few words: its name and the beginning of its hash, or its seed."""
    if origin["sha256"]:
        return f"{origin['source']} ({origin['sha256'][:12]})"
    return f"{origin['source']} (seed {origin['seed']})"
