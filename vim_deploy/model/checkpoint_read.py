"""Checkpoint files to plain Python values, without running code that a file contains."""

from __future__ import annotations

import argparse
import json
import pickletools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from vim_deploy.errors import CheckpointError
from vim_deploy.files import open_regular, sha256_of_file

CONFIG_KEY = "vim_deploy.config"

# Magic number: the first bytes written by torch.save before version 1.6.
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_KNOWN_GLOBALS = re.compile(
    r"collections\.OrderedDict|argparse\.Namespace|torch\._utils\._rebuild_\w+|torch\.\w*Storage|torch\.\w+\d+"
)
_EXPECTED = (
    "Expected a checkpoint written by torch.save (.pth) or a .safetensors file; check that the download is "
    "complete and is the weights file itself."
)


@dataclass(frozen=True)
class RawCheckpoint:
    """The contents of a file, its hash, and the configuration in its metadata."""

    content: Any
    sha256: str
    config: dict[str, Any] | None = None


def read_checkpoint(path: Path) -> RawCheckpoint:
    """Read a `.pth` or `.safetensors` file; the format is detected by content. Raises CheckpointError."""
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder; expected a file. Name the .pth or .safetensors file in it."
        )
    try:
        with open_regular(path) as file:
            head = file.read(64)
        sha256 = sha256_of_file(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist; check the path, or use hf://owner/repo/file."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); give a regular file that you may read."
        ) from None
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes). {_EXPECTED}")
    if path.suffix == ".safetensors" or _is_safetensors(head):
        content, config = _read_safetensors(path)
        return RawCheckpoint(content, sha256, config)
    if head.startswith(b"PK"):
        _check_archive(path)
    else:
        _check_single_file(path, head)
    return RawCheckpoint(_torch_load(path, mmap=head.startswith(b"PK")), sha256)


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({error}): truncated or damaged. {_EXPECTED}"
        ) from None
    return tensors, _metadata_config(path, metadata.get(CONFIG_KEY))


def _metadata_config(path: Path, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for numbers of too many digits
        raise CheckpointError(
            f"{path}: the metadata {CONFIG_KEY} is not JSON ({error}); write the file again with "
            "save_checkpoint."
        ) from None
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{path}: the metadata {CONFIG_KEY} is a JSON {type(config).__name__}; expected an object with "
            "VimConfig's fields. Write the file again with save_checkpoint."
        )
    return config


def _check_archive(path: Path) -> None:
    """Raises CheckpointError for a ZIP file that is damaged, not a checkpoint or unsafe."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is truncated: its ZIP directory is missing. {_EXPECTED}")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from None
    names = [entry.filename for entry in entries]
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a ZIP archive but not a checkpoint (it contains "
            f"{', '.join(names[:5]) or 'nothing'}). {_EXPECTED}"
        )
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which contains code; expected weights only. Save the state "
            "dict of the original model instead: torch.save(model.state_dict(), 'weights.pth')."
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{path} has compressed entries, which torch.save does not write. {_EXPECTED}")
    try:
        with _namespace_allowed():
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # damaged pickles raise all kinds of exceptions
        raise _damaged(path, error) from None
    if unsafe:
        raise _unsafe(path, unsafe)


def _check_single_file(path: Path, head: bytes) -> None:
    """Raises CheckpointError unless torch.save before 1.6 wrote the file, the only format safe to read."""
    if head.startswith(b"\x80"):
        if unsafe := [name for name in _pickle_globals(path) if not _KNOWN_GLOBALS.fullmatch(name)]:
            raise _unsafe(path, unsafe)
        if head.startswith(_LEGACY_MAGIC):
            return
        raise CheckpointError(f"{path} is a plain Python pickle, not written by torch.save. {_EXPECTED}")
    with path.open("rb") as file:
        file.seek(257)
        if file.read(5) == b"ustar":
            raise CheckpointError(
                f"{path} is a tar archive, an obsolete format that cannot be read safely; expected a .pth or "
                ".safetensors file. Unpack it, or save the weights again with a current PyTorch."
            )
    raise CheckpointError(f"{path} is not a checkpoint: {_describe(head)}. {_EXPECTED}")


def _describe(head: bytes) -> str:
    for magic, kind in (
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF8", "a GIF image"),
    ):
        if head.startswith(magic):
            return f"it is {kind}"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer (run `git lfs pull` to fetch the file itself)"
    text = head.decode("utf-8", errors="replace")
    if text.isprintable() or ("\n" in text and "\ufffd" not in text):
        return f"it is text that starts with {text.strip()[:40]!r}"
    return f"it starts with the bytes {head[:8].hex(' ')}"


def _torch_load(path: Path, mmap: bool) -> Any:
    # Memory-mapped, so that the optimizer state of a training checkpoint is not read.
    try:
        with _namespace_allowed():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # damaged files raise all kinds of exceptions
        if unsafe := re.findall(r"GLOBAL ([\w.]+)", str(error)):
            raise _unsafe(path, unsafe[:1]) from None
        raise _damaged(path, error) from None


def _namespace_allowed() -> Any:
    """Training checkpoints store their arguments in an argparse.Namespace: plain values, no code."""
    return torch.serialization.safe_globals([(argparse.Namespace, "argparse.Namespace")])


def _pickle_globals(path: Path) -> list[str]:
    """The names that the pickles at the start of a file import, without running them."""
    found: dict[str, None] = {}
    try:
        with path.open("rb") as file:
            while file.peek(1):
                _collect_globals(file, found)
    except Exception:  # end of the pickles: tensor data, or damage
        return list(found)
    return list(found)


def _collect_globals(file: BinaryIO, found: dict[str, None]) -> None:
    strings: list[str] = []  # pushed so far; STACK_GLOBAL pops the last two
    memo: dict[int, str | None] = {}
    pushed: str | None = None  # by the previous operation, if it was a string
    argument: Any
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("GLOBAL", "INST"):
            found[str(argument).replace(" ", ".")] = None
        elif operation.name == "STACK_GLOBAL":
            found[".".join(strings[-2:])] = None
        elif operation.name == "MEMOIZE":
            memo[len(memo)] = pushed
        elif operation.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = pushed
        elif operation.name in ("GET", "BINGET", "LONG_BINGET"):
            argument = memo.get(argument)
        pushed = argument if isinstance(argument, str) else None
        if pushed is not None:
            strings.append(pushed)


def _unsafe(path: Path, names: list[str]) -> CheckpointError:
    # Names outside PyTorch first, as they are the most informative.
    names = sorted(names, key=lambda name: (name.startswith("torch."), name))
    return CheckpointError(
        f"{path} imports {', '.join(names[:10])}, which could run code; its weights were NOT loaded and none "
        "of its code was run. Expected only tensors, plain values and argparse.Namespace. If you trust its "
        "origin, save only the weights: torch.save(model.state_dict(), 'weights.pth'), or as safetensors. If "
        "not, delete it."
    )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return CheckpointError(f"{path} is damaged: {reason[:200]} ({type(error).__name__}). {_EXPECTED}")
