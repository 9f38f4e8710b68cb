"""Sends images to a model of Triton Inference Server that `vim-build --triton` has written.

    pip install "tritonclient[http,grpc]"
    python examples/triton_client.py vim_tiny_image cat.jpg dog.jpg
    python examples/triton_client.py vim_tiny_image photos/*.jpg --url 127.0.0.1:8001 --grpc

Prints one JSON object per image. It needs neither vim-deploy nor PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

CLIENTS = 8  # requests at the same time, which the server runs as batches
# Larger outputs, such as label maps and masks, are described by their shapes.
MAX_VALUES = 100


_local = threading.local()


def ask(module: ModuleType, url: str, model: str, path: Path) -> dict[str, Any]:
    """The outputs for one image, or the reason why there are none."""
    if not hasattr(_local, "client"):
        _local.client = module.InferenceServerClient(url)  # those for HTTP work in one thread only
    image = module.InferInput("image", [1, 1], "BYTES")
    try:
        image.set_data_from_numpy(np.array([[path.read_bytes()]], object))
        answer = _local.client.infer(model, [image])
    except OSError as error:
        return {"path": str(path), "error": error.strerror or str(error)}
    except InferenceServerException as error:
        return {"path": str(path), "error": error.message()}
    return {"path": str(path), **{name: plain(answer.as_numpy(name)[0]) for name in names_of(answer)}}


def names_of(answer: Any) -> list[str]:
    response = answer.get_response()
    if isinstance(response, dict):  # over HTTP
        return [output["name"] for output in response["outputs"]]
    return [output.name for output in response.outputs]


def plain(values: np.ndarray) -> Any:
    if values.size > MAX_VALUES:
        return f"{values.dtype} {values.shape}"
    if values.dtype == object:
        return [text.decode() for text in values.ravel()]
    return values.tolist()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Send images to a model of Triton Inference Server.")
    parser.add_argument("model", help="name of the model for images")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--url", default="127.0.0.1:8000", help="address and port of the server")
    parser.add_argument("--grpc", action="store_true", help="use gRPC instead of HTTP")
    given = parser.parse_args(arguments)
    if given.grpc:
        import tritonclient.grpc as module
    else:
        import tritonclient.http as module
    failed = False
    with ThreadPoolExecutor(CLIENTS) as threads:
        for found in threads.map(partial(ask, module, given.url, given.model), given.images):
            failed |= "error" in found
            print(json.dumps(found), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
