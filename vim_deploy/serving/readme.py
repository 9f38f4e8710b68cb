"""The README.md in the folder of a network's model: what is in it, and how the server must be started."""

from __future__ import annotations

from pathlib import PurePath

from vim_deploy.engines.manifest import FileRecord
from vim_deploy.package import VERSION
from vim_deploy.serving.artifacts import Artifact, tensorrt_version

_PYTHON = """\
Both models run in the server's Python backend. Install the package into the Python that the server starts,
which is the first `python3` on its `PATH`:

```
pip install "vim-deploy[{extra}]=={version}"
tritonserver --model-repository={repository}
```

The Python backend of older servers needs `numpy<2`; a model that finds another one is not loaded, and the log
says so.
"""
_OWN = """\
The server's {title} backend runs the network. The model for images runs in its Python backend and needs the
package in the Python that the server starts, the first `python3` on its `PATH`:
`pip install "vim-deploy=={version}"`.
"""
_ONNXRUNTIME = """
```
tritonserver --model-repository={repository}
```
{library}
The server's version of ONNX Runtime optimizes the ONNX file when the model is loaded. Fused operators are
only in engines, for the Python backend.
"""
_ONNXRUNTIME_LIBRARY = """
The server reads the operator library from the path in `config.pbtxt` (`model_operations`), which is not
relative to the model. If the repository has another path on the server, build it again with
`--served-from PATH`.
"""
_TENSORRT = """
The plan contains plugins, which the server must load at the start:

```
tritonserver --model-repository={repository} \\
    --backend-config=tensorrt,plugins={repository}/{name}/{library}{flags}
```

Servers that do not know this option load the library with `LD_PRELOAD`. The plan runs only with TensorRT
{tensorrt}, and on the GPU that it was built for: {gpu}.
"""
_CODE = " \\\n    --backend-config=tensorrt,version-compatible=true"


def readme(
    name: str,
    image_model: str | None,
    server_backend: str,
    artifact: Artifact,
    source: FileRecord,
    repository: PurePath,
) -> str:
    """The text. `repository`: its path on the server."""
    manifest = artifact.manifest
    lines = [
        f"# {name}",
        "",
        f"Written by vim-build {VERSION} from {source.name} (SHA-256 {source.sha256}).",
        "",
        f"- `{name}`: the network, from tensors to tensors.",
    ]
    if image_model is not None:
        lines.append(f"- `{image_model}`: from encoded images to results; it asks `{name}`.")
    values = {"name": name, "repository": repository, "version": VERSION, "library": artifact.library or ""}
    if server_backend == "python":
        extra = {"onnxruntime": {"cuda": "gpu"}.get(manifest.device, "cpu")}.get(
            manifest.backend, manifest.backend
        )
        text = _PYTHON.format(**values, extra=extra)
    elif server_backend == "onnxruntime":
        note = _ONNXRUNTIME_LIBRARY if artifact.library else ""
        text = _OWN.format(**values, title="ONNX Runtime") + _ONNXRUNTIME.format(
            **{**values, "library": note}
        )
    else:
        code = getattr(manifest.options, "version_compatible", False)
        text = _OWN.format(**values, title="TensorRT") + _TENSORRT.format(
            **values,
            tensorrt=tensorrt_version(manifest),
            gpu=manifest.environment.get("gpu", "any"),
            flags=_CODE if code else "",
        )
    return "\n".join([*lines, "", text])
