"""A local server of the protocol of Google Cloud Storage for tests; it needs no credentials."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

BUCKET = "photos-bucket"
# Clients keep connections open, so each needs a thread. gcsfs copies a file if the server refuses the request
# that moves it, which this server does not have.
_SERVER = f"""
import sys
from http import HTTPStatus
from gcp_storage_emulator import server as emulator
def refuse(request, response, storage):
    response.status = HTTPStatus.BAD_REQUEST
emulator.server.HTTPServer = emulator.server.ThreadingHTTPServer
emulator.HANDLERS = ((r".*/moveTo/.*", {{"POST": refuse}}), *emulator.HANDLERS)
server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket={BUCKET!r})
server.start()
print(server._api._httpd.server_address[1], flush=True)
sys.stdin.read()
server.stop()
"""
# Without it gcsfs asks Google for the kind of each bucket.
_SWITCH = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"


def started() -> Iterator[str]:
    """The address of a server, which is stopped at the end. The environment selects it."""
    os.environ.setdefault(_SWITCH, "false")  # before gcsfs is imported
    pytest.importorskip("gcp_storage_emulator", reason="needs gcp-storage-emulator: run make test-scale")
    pytest.importorskip("gcsfs", reason="gs:// needs gcsfs (extra: gcs)")
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        before = os.environ.get("STORAGE_EMULATOR_HOST")
        os.environ["STORAGE_EMULATOR_HOST"] = address
        try:
            yield address
        finally:
            os.environ.pop("STORAGE_EMULATOR_HOST")
            if before is not None:
                os.environ["STORAGE_EMULATOR_HOST"] = before
    finally:
        process.terminate()
        process.wait()


def system():
    import gcsfs

    return gcsfs.GCSFileSystem(use_listings_cache=False)


def upload(folder: str, prefix: str) -> str:
    """Copy a folder into the bucket and return its URL."""
    files = system()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            files.pipe_file(f"{BUCKET}/{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"gs://{BUCKET}/{prefix}"


def content(url: str) -> bytes:
    data: bytes = system().cat_file(url)
    return data
