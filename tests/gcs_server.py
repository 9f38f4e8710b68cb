"""A local server of the protocol of Google Cloud Storage for tests; it needs no credentials."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from storage_server import copy_folder, running

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
    with running(_SERVER, lambda address: {"STORAGE_EMULATOR_HOST": address}) as address:
        yield address


def system():
    import gcsfs

    return gcsfs.GCSFileSystem(use_listings_cache=False)


def upload(folder: str, prefix: str) -> str:
    """Copy a folder into the bucket and return its URL."""
    copy_folder(system(), folder, f"{BUCKET}/{prefix}")
    return f"gs://{BUCKET}/{prefix}"


def content(url: str) -> bytes:
    data: bytes = system().cat_file(url)
    return data
