"""An HTTP service that classifies uploaded images, with FastAPI.

    pip install fastapi python-multipart uvicorn
    VIM_ENGINE=vim_tiny.engine uvicorn --app-dir examples serve_http:app
    curl -F image=@cat.jpg http://127.0.0.1:8000/predict

Uploads are decoded in this process. Run the service in a container with limits, and see docs/security.md.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, UploadFile

import vim_deploy

MAX_BYTES = 20 << 20  # of an upload
LIMITS = vim_deploy.Limits(max_pixels=40_000_000)


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """Opens the engine once, when the service starts."""
    with vim_deploy.load(os.environ["VIM_ENGINE"]) as model:
        app.state.model = model
        yield


app = FastAPI(title="vim_deploy", lifespan=opened)


@app.get("/")
def describe(request: Request) -> dict[str, Any]:
    model = request.app.state.model
    return {"model": repr(model), "task": model.task, "classes": len(model.class_names)}


# FastAPI calls functions that are not `async` in threads, so that an inference does not block the service.
@app.post("/predict")
def predict(request: Request, image: UploadFile) -> dict[str, Any]:
    content = image.file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise HTTPException(413, f"the image has more than {MAX_BYTES} bytes")
    (result,) = request.app.state.model.predict(content, limits=LIMITS)
    if not result.ok:
        raise HTTPException(422, result.error)
    values: dict[str, Any] = result.to_dict()
    return values
