"""A local server of the S3 protocol for tests, with credentials that must not appear anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from storage_server import copy_folder, running

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
    with running(_SERVER, _variables) as address:
        system().mkdir(BUCKET)
        yield address


def _variables(address: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def system():
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False)


def upload(folder: str, prefix: str) -> str:
    """Copy a folder into the bucket and return its URL."""
    copy_folder(system(), folder, f"{BUCKET}/{prefix}")
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
