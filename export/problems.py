"""What the PyTorch exporter's errors mean for the network that is exported."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from vim_deploy.errors import ExportError, VimDeployError

_SHOWN = 600
_FIXED_SIZE = r"Constraints violated|specialized it to be a constant|ConstraintViolation"
_LAST_STATE = "scan_last_state"
# A pattern in the message or the name of an error, and what to do. The first one that matches applies.
_ADVICE = (
    (
        _FIXED_SIZE,
        "The network's code fixes a size that should be dynamic, for example with int() of a shape; export "
        "with a fixed batch size (--batch-size 1; no dynamic_axes), or change that code.",
    ),
    (
        r"GuardOnDataDependent|data-dependent|Could not guard|Could not extract specialized|"
        r"nonzero|unbacked symint|\.item\(\)",
        "The network's control flow depends on values, which a graph cannot have; make the condition depend "
        "on shapes only, or export the part of the network without it.",
    ),
    (
        r"No ONNX function found|No decompositions registered|DispatchError|UnsupportedOperator",
        "ONNX has no translation of this operator; replace it in the network with standard operators.",
    ),
    (
        r"mutat|in-?place|a view of a leaf Variable|leaf Variable that requires grad",
        "The network changes an input or a buffer in place; use an operation that returns a new tensor.",
    ),
    (
        r"dtype|expected scalar type|must have the same dtype|same device",
        "Inputs and weights have different types or devices; export in float32 on the CPU, with "
        "network.float().cpu().",
    ),
)
_ANY = "Run the network in eager mode with the same inputs first."


class FixedSizeError(ExportError):
    """The network's code makes a size that should be dynamic a constant."""


def explained(error: Exception, exported: nn.Module, root: str) -> Exception:
    """An ExportError for an error of the exporter, or the error itself if it already says what to do.

    `root`: the path of the user's network in the exported module.
    """
    network = exported.get_submodule(root)
    chain = list(_chain(error))
    ours = next((item for item in chain if isinstance(item, VimDeployError)), None)
    if ours is not None:
        return ours
    text = "\n".join(f"{type(item).__name__}: {item}" for item in chain)
    if _LAST_STATE in text:
        return ExportError(last_state_message())
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text, re.IGNORECASE)), _ANY)
    where, what = _place(chain, network), _root_message(chain)
    kind = FixedSizeError if re.search(_FIXED_SIZE, text, re.IGNORECASE) else ExportError
    return kind(f"{type(network).__name__} cannot be exported{where}: {what} {advice}")


def last_state_message() -> str:
    return (
        "the network uses the last state of a scan (return_last_state), which the operator does not return; "
        "export the part of the network that does not use it."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _root_message(chain: list[BaseException]) -> str:
    """The first paragraph of the innermost message, on one line."""
    texts = [str(item).strip() for item in reversed(chain) if str(item).strip()]
    lines = (texts or [type(chain[0]).__name__])[0].split("\n\n")[0].split()
    message = " ".join(lines)[:_SHOWN]
    return message if message.endswith(".") else f"{message}."


def _place(chain: list[BaseException], network: nn.Module) -> str:
    """The innermost module of the network whose forward failed, and the line of its code."""
    paths = {id(module): path for path, module in network.named_modules()}
    for item in reversed(chain):
        trace, found = item.__traceback__, ""
        while trace is not None:
            owner = trace.tb_frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and id(owner) in paths:
                code = trace.tb_frame.f_code
                module = paths[id(owner)] or type(owner).__name__
                found = f" (module {module}, {code.co_filename}:{trace.tb_lineno})"
            trace = trace.tb_next
        if found:
            return found
    # Errors of a later step have no frames of the network, but may quote the line.
    lines = re.findall(r'File "([^"]+)", line (\d+), in \w+', "\n".join(map(str, chain)))
    outside = [line for line in lines if "/torch/" not in line[0]]
    return f" ({':'.join(outside[-1])})" if outside else ""
