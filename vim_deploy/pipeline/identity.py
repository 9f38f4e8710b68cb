"""The identity of a run: everything that its rows depend on. Only a run with an equal identity resumes it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from vim_deploy.data.labels import Labels
from vim_deploy.engines.manifest import Manifest
from vim_deploy.files import sha256_of
from vim_deploy.package import VERSION
from vim_deploy.pipeline.options import InferenceOptions
from vim_deploy.results import Format
from vim_deploy.results.escape import escape


def identity_of(
    options: InferenceOptions, manifest: Manifest, labels: Mapping[str, int], format: Format
) -> dict[str, Any]:
    """Plain JSON; `labels`: class indices by folder, or by image in a table.

    Batch size, threads and workers are left out because rows do not depend on them.
    """
    return {
        "version": VERSION,
        "engine": manifest.payload.sha256,
        "metadata": _hash(manifest.metadata),
        "inputs": [escape(given) for given in options.inputs],
        "format": format.value,
        "labels": options.labels.value if isinstance(options.labels, Labels) else "table",
        "label_field": options.label_field,
        "classes": _hash(dict(labels)),
        "max_pixels": options.limits.max_pixels,
        "max_metadata": options.limits.max_metadata,
        "reduced_jpeg": options.limits.reduced_jpeg,
        "depth": options.limits.depth,
        "shard": str(options.shard),
        "watch": options.watch,
        "overlays": None if options.overlays is None else escape(os.fspath(options.overlays)),
        "legend": options.legend,
    }


def _hash(values: Mapping[str, Any]) -> str:
    return sha256_of(json.dumps(values, sort_keys=True).encode())
