"""The cache of engines that are built when an ONNX file is opened."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from vim_deploy.engines import manifest as manifest_module
from vim_deploy.engines.base import backend_module
from vim_deploy.engines.build import build_from_source
from vim_deploy.engines.cache_folder import cache_subfolder, mark_used
from vim_deploy.engines.container import read_engine
from vim_deploy.engines.manifest import Manifest
from vim_deploy.engines.payload import Payload
from vim_deploy.engines.source import read_source
from vim_deploy.engines.spec import BuildOptions
from vim_deploy.errors import EngineError, os_errors
from vim_deploy.files import sha256_of, sha256_of_file
from vim_deploy.package import VERSION

_log = logging.getLogger("vim_deploy")


def cached_engine(onnx_path: str | os.PathLike[str], options: BuildOptions) -> tuple[Path, Manifest, Payload]:
    """The engine of an ONNX file: from the cache if there is a valid one, otherwise built into it.

    The name of a cache entry is a hash of the file and of everything else the build depends on. Entries are
    checked like any engine. Raises EngineError.
    """
    module = backend_module(options.backend)
    with os_errors(EngineError, f"{os.fspath(onnx_path)} cannot be read"):
        source_hash = sha256_of_file(onnx_path)
    parts = {
        "source": source_hash,
        "backend": options.backend,
        "device": options.device,
        "format": manifest_module.FORMAT,
        "tool": VERSION,
        **module.fingerprint(options),
    }
    key = sha256_of(json.dumps(parts, sort_keys=True).encode())
    entry = cache_subfolder("engines") / f"{key[:40]}.engine"

    def check(manifest: Manifest) -> None:
        manifest.check_environment(str(entry), module.environment(manifest))
        if manifest.source.sha256 != source_hash:
            raise manifest.refuse(str(entry), "source.sha256", manifest.source.sha256, source_hash)

    if entry.exists():
        try:
            manifest, payload = read_engine(entry, share=True, check_manifest=check)
            mark_used(entry)
            _log.debug("the cached engine of %s is %s", os.fspath(onnx_path), entry)
            return entry, manifest, payload
        except EngineError as error:
            _log.warning("building the cached engine again: %s", error)
    else:
        _log.info("building an engine for %s into %s", os.fspath(onnx_path), entry.parent)
    build_from_source(read_source(onnx_path), entry, options)
    return (entry, *read_engine(entry, share=True))
