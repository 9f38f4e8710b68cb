"""What the rows of a run depend on, so that a run is only ever continued by one that makes the same rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vim_deploy.files import sha256_of
from vim_deploy.package import VERSION
from vim_deploy.results.escape import escape

if TYPE_CHECKING:
    from vim_deploy.engines.manifest import Manifest
    from vim_deploy.pipeline.inference import InferenceOptions
    from vim_deploy.results import Format


def identity_of(
    options: InferenceOptions, manifest: Manifest, classes: Mapping[str, int], top_k: int, format: Format
) -> dict[str, Any]:
    """Plain JSON. Batch size, threads and workers are not part of it: they do not change a row's meaning."""
    return {
        "version": VERSION,
        "engine": manifest.payload.sha256,
        "metadata": _hash(manifest.metadata),
        "inputs": [escape(given) for given in options.inputs],
        "format": format.value,
        "top_k": top_k,
        "labels": options.labels.value,
        "classes": _hash(dict(classes)),
        "max_pixels": options.limits.max_pixels,
        "max_metadata": options.limits.max_metadata,
        "reduced_jpeg": options.limits.reduced_jpeg,
        "shard": str(options.shard),
        "watch": options.watch,
    }


def _hash(values: Mapping[str, Any]) -> str:
    return sha256_of(json.dumps(values, sort_keys=True).encode())
