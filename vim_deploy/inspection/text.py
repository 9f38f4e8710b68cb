"""A description as text: one fact per line, wrapped to the width of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from vim_deploy.precision import QUANTIZED_PRECISIONS
from vim_deploy.text import by, listed, plural

Fact: TypeAlias = "tuple[str, str]"  # what it is, and its value
_INDENT = 16
_SHOWN_CLASSES = 6
_KINDS = {"engine": "engine", "onnx": "ONNX file", "checkpoint": "checkpoint"}


def to_text(description: Mapping[str, Any], width: int = 80) -> str:
    """The facts that users look for; the JSON output has all."""
    facts = {"engine": _engine, "onnx": _onnx, "checkpoint": _checkpoint}[description["kind"]](description)
    head = f"{description['path']}: {_KINDS[description['kind']]}, {_megabytes(description['bytes'])}"
    return "\n".join([head, *(_line(name, value, width) for name, value in facts)])


def parity_in_words(parity: Mapping[str, Any] | None) -> str:
    """The comparison with the eager model that vim-export made."""
    if parity is None:
        return "NOT compared with the eager model (--no-check)"
    found = next((parity[each] for each in QUANTIZED_PRECISIONS if each in parity), None)
    if found is not None:
        # Not a judgment: vim-validate judges quantized files, by accuracy.
        agreement = "compared with the eager float32 model"
    elif (found := parity.get("library")) is not None:
        agreement = "equal to the eager model"
    else:
        found = parity.get("function_body") or parity["eager"]
        agreement = "close to the eager float32 model"
    return (
        f"{agreement} on {plural(found['images'], parity['images'] + ' image')}: largest difference "
        f"{found['max_abs']:.1e} on values up to {found['max_reference']:.2g}"
    )


def precision_in_words(precision: str, quantization: Mapping[str, Any] | None) -> str:
    """The precision; of a quantized file also what was quantized, and from how many images."""
    if quantization is None:
        return precision
    return (
        f"{precision} in {plural(quantization['matmuls'], 'matmul')} with ranges from "
        f"{plural(quantization['images'], 'image')}"
    )


def _line(name: str, value: str, width: int) -> str:
    return textwrap.fill(
        value,
        max(width, 2 * _INDENT),
        initial_indent=f"  {name:{_INDENT - 3}} ",
        subsequent_indent=" " * _INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _engine(description: Mapping[str, Any]) -> Iterator[Fact]:
    manifest = description["manifest"]
    environment = dict(manifest["environment"])
    runtime = environment.pop(manifest["backend"], "")
    yield "runtime", f"{manifest['backend']} {runtime}".strip() + f" on {manifest['options']['device']}"
    yield "built for", ", ".join(f"{name} {value}" for name, value in environment.items())
    yield "usable here", "yes" if description["usable"] else f"no: {description['problem']}"
    yield from _model(description["model"], manifest["precision"])
    yield "input", ", ".join(map(_tensor, manifest["inputs"]))
    yield "outputs", ", ".join(map(_tensor, manifest["outputs"]))
    yield "scan", str(manifest["operator"].get("implementation", "see --json"))
    yield "exported file", f"{manifest['source']['name']}, SHA-256 {manifest['source']['sha256']}"
    yield "self-check", _self_check(manifest["self_check"])
    yield "validation", description["validated"]
    yield "built", f"{manifest['created']} by vim-deploy {manifest['tool_version']}"
    yield "built with", description["build_command"]
    yield "SHA-256", description["sha256"]


def _onnx(description: Mapping[str, Any]) -> Iterator[Fact]:
    graph, model = description["graph"], description["model"]
    yield from _model(model, model["precision"])
    yield "input", ", ".join(map(_tensor, graph["inputs"]))
    yield "outputs", ", ".join(map(_tensor, graph["outputs"]))
    yield (
        "graph",
        f"opset {graph['opset']}, IR version {graph['ir_version']}, {plural(graph['nodes'], 'node')}, of "
        f"them {plural(graph['scans'], 'selective scan')}",
    )
    yield "SHA-256", description["sha256"]


def _checkpoint(description: Mapping[str, Any]) -> Iterator[Fact]:
    model = description["model"]
    config = model["config"]
    yield "model", f"{model['variant']}, {model['kind']} of the family {model['family']}"
    yield (
        "weights",
        f"{plural(model['tensors'], 'tensor')}, {model['parameters'] / 1e6:.1f} M parameters"
        + (f", from {model['key']!r}" if model["key"] else ""),
    )
    if "image_size" in config:
        yield "image size", by(config["image_size"])
    yield "classes", _classes(model)
    for note in description["notes"]:
        yield "note", note
    yield "SHA-256", description["sha256"]


def _model(model: Mapping[str, Any], precision: str) -> Iterator[Fact]:
    checkpoint = model["checkpoint"]
    yield "task", model["task"]
    yield "model", ", ".join([model["variant"], *_image_size(model["preprocessing"])])
    yield "classes", _classes(model)
    yield "precision", precision_in_words(precision, model.get("quantization"))
    if model["preprocessing"]:
        yield "preprocessing", _preprocessing(model["preprocessing"])
    hashed = f", SHA-256 {checkpoint['sha256']}" if checkpoint.get("sha256") else ""
    seed = "" if checkpoint.get("seed") is None else f" (seed {checkpoint['seed']})"
    yield "weights", f"{checkpoint.get('source')}{seed}{hashed}"
    yield "parity", parity_in_words(model["parity"])
    yield "exported with", ", ".join(f"{name} {version}" for name, version in model["versions"].items())


def _image_size(preprocessing: Mapping[str, Any]) -> list[str]:
    """Empty for a network that does not take images."""
    return [by(preprocessing["image_size"])] if preprocessing else []


def _preprocessing(values: Mapping[str, Any]) -> str:
    return (
        f"crop ratio {values['crop_ratio']:g}, mean {_numbers(values['mean'])}, std "
        f"{_numbers(values['std'])}, {plural(values['channels'], 'channel')}"
    )


def _classes(model: Mapping[str, Any]) -> str:
    if model["class_count"] is None:
        return "none"
    names: Sequence[str] | None = model["class_names"]
    count = plural(model["class_count"], "class", "classes")
    if not names:
        return f"{count} without names"
    source = model.get("class_names_source")
    return f"{count}: {listed(names, _SHOWN_CLASSES)}" + (f" (names {source})" if source else "")


def _tensor(spec: Mapping[str, Any]) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in spec["shape"])
    return f"{spec['name']} {spec['dtype']} ({sides})"


def _self_check(check: Mapping[str, Any]) -> str:
    if not check.get("compared", True):
        return "NOT compared with the exported file"
    return (
        f"differs from the exported file by {check['max_abs_diff']:.1e}, {check['max_relative_diff']:.1e} of "
        "the largest value"
    )


def _numbers(values: Sequence[float]) -> str:
    return "/".join(f"{value:g}" for value in values)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
