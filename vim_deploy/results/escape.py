"""Escapes text so that every format can store it and every reader can parse it.

`escape`: a backslash becomes `\\\\`; control characters, line and paragraph separators, marks that change the
direction of text, and bytes that are not UTF-8 become `\\xNN`, byte by byte. Everything else is unchanged.
The result is one line; `unescape` returns the original bytes.

`guard`: spreadsheets evaluate a cell that starts with `=`, `+`, `-` or `@` as a formula, so such cells are
prefixed with an apostrophe. Cells that start with an apostrophe get one too, which makes `unguard` exact.
"""

from __future__ import annotations

import os
import re

from vim_deploy.text import UNSAFE, hexadecimal

_UNSAFE = re.compile(f"[\\\\{UNSAFE}]")
_ESCAPED = re.compile(rb"\\(?:x([0-9a-f]{2})|\\)")
_GUARDED = ("=", "+", "-", "@", "'")


def escape(text: str) -> str:
    """`text` may contain bytes that are not UTF-8, in the form of os.fsdecode."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    return "\\\\" if character == "\\" else hexadecimal(character)


def unescape(text: str) -> bytes:
    """The bytes of the original text; for a path, as the operating system takes them."""
    return _ESCAPED.sub(
        lambda match: bytes.fromhex(match.group(1).decode()) if match.group(1) else b"\\", text.encode()
    )


def unescaped_path(text: str) -> str:
    """The path of a row's image."""
    return os.fsdecode(unescape(text))


def guard(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_GUARDED) else cell


def unguard(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell
