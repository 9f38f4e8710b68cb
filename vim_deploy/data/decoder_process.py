"""The process started by isolation.py, which decodes the requested files until its input ends.

Messages are a length (4 bytes, little-endian) and that many bytes. A request is two messages, the path of a
file and the name of the image, whose suffix may decide how it is decoded; a reply is a JSON
object, followed by height x width x channels bytes of cropped pixels if the object has `size`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from typing import Any

from vim_deploy import child

READY = b"ready"


def send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(struct.pack("<I", len(message)) + message)


def receive(connection: socket.socket) -> bytes | None:
    """None at the end of the input."""
    head = _receive_exactly(connection, 4)
    return _receive_exactly(connection, struct.unpack("<I", head)[0]) if head else None


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def main(preparation: dict[str, Any], limits: dict[str, Any], memory: int) -> None:
    """`preparation`: its to_dict(); `limits`: the fields of Limits; `memory`: the limit in bytes."""
    from vim_deploy.data.decode import Limits
    from vim_deploy.data.preparation import preparation_from

    prepare = preparation_from(preparation)
    limit = Limits(**limits)
    _load_decoders()
    child.limit_memory(memory)
    connection = socket.socket(fileno=os.dup(0))
    # libtiff and other libraries write warnings to stderr directly.
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    send(connection, READY)
    while (request := receive(connection)) is not None:
        # Ends this process if it hangs after its parent has died.
        if limit.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, 2 * limit.seconds + 5)
        name = receive(connection)
        if name is None:
            break
        reply, pixels = _decode(os.fsdecode(request), os.fsdecode(name), prepare, limit)
        send(connection, json.dumps(reply).encode())
        if pixels is not None:
            connection.sendall(pixels)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _decode(path: str, name: str, preparation: Any, limits: Any) -> tuple[dict[str, Any], bytes | None]:
    from vim_deploy.data.decode import decode
    from vim_deploy.data.preparation import minimum_size_of
    from vim_deploy.errors import ImageError

    try:
        decoded = decode(path, limits, minimum_size_of(preparation), name)
        pixels = preparation.crop(decoded.image).tobytes()
    except ImageError as error:
        return {"reason": str(error)}, None
    except MemoryError:
        return {"reason": "not enough memory to decode the image"}, None
    return {"size": decoded.size, "flags": decoded.flags}, pixels


def _load_decoders() -> None:
    from PIL import Image

    from vim_deploy.data.formats import available

    # `Limits.max_pixels` replaces Pillow's limit, which may be lower.
    Image.MAX_IMAGE_PIXELS = None
    available()
