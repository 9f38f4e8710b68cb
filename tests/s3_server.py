"""A local server of the S3 protocol for tests, with credentials that must not appear anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "a-secret-key-of-this-test"
ACCESS = "an-access-key-of-this-test"
BUCKET = "photos-bucket"
_SERVER = """
import socket, sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


def started() -> Iterator[str]:
    """The address of a server, which is stopped at the end. The environment has its credentials."""
    pytest.importorskip("moto", reason="needs moto: run make test-scale")
    pytest.importorskip("s3fs", reason="s3:// needs s3fs (extra: s3)")
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        variables = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            _make_bucket()
            yield address
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
    finally:
        process.terminate()
        process.wait()


def _make_bucket() -> None:
    system().mkdir(BUCKET)


def system():
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False)


def upload(folder: str, prefix: str) -> str:
    """Copy a folder into the bucket and return its URL."""
    files = system()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            files.pipe_file(f"{BUCKET}/{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def content(url: str) -> bytes:
    data: bytes = system().cat_file(url)
    return data


def names(prefix: str) -> list[str]:
    """All objects below a prefix of the bucket."""
    return [name.removeprefix(f"{BUCKET}/") for name in system().find(f"{BUCKET}/{prefix}")]


def all_bytes() -> bytes:
    """The names and contents of all objects except images."""
    files = system()
    found = [name for name in files.find(BUCKET) if not name.endswith((".png", ".jpg"))]
    return b"\n".join(name.encode() + b"\n" + files.cat_file(name) for name in found)
