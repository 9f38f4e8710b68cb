"""The package's imports are allowed by docs/architecture.md, and the checker finds violations."""

from __future__ import annotations

import re

import architecture
import pytest

KNOWN = architecture.modules()
EDGES = architecture.graph(KNOWN)
RULES = architecture.read_rules()


def test_the_package_follows_the_table():
    assert architecture.check() == []


def test_modules_and_their_imports_are_found():
    assert {"vim_deploy", "vim_deploy.engines.base", "vim_deploy.export.onnx"} <= KNOWN.keys()
    assert "vim_deploy.errors" in EDGES["vim_deploy.registry"]
    # An import below TYPE_CHECKING, and one inside a function.
    assert "vim_deploy.interface.load" in EDGES["vim_deploy"]
    assert "onnxruntime" in EDGES["vim_deploy.engines.onnxruntime.session"]


def test_a_cycle_is_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "numpy"}}
    names = architecture.cycle(edges)
    assert names[0] == names[-1] and set(names) == {"b", "c"}
    assert architecture.cycle({"a": {"b", "c"}, "b": {"c"}}) == []


@pytest.mark.parametrize(
    ("module", "target", "message"),
    [
        ("vim_deploy.tasks.detect.handler", "vim_deploy.engines.open", "imports engines: "),
        ("vim_deploy.tasks.detect.handler", "vim_deploy.tasks.segment.handler", "imports tasks.segment: "),
        ("vim_deploy.engines.open", "torch", "imports torch: torch"),
        ("vim_deploy.data.decode", "vim_deploy.engines.onnxruntime.session", "imports engines.onnxruntime: "),
        ("vim_deploy.new", "numpy", "belongs to no part"),
    ],
)
def test_a_forbidden_import_is_found(module, target, message):
    edges = {**EDGES, module: EDGES.get(module, set()) | {target}}
    found = set(architecture.violations(edges, RULES, KNOWN)) - set(
        architecture.violations(EDGES, RULES, KNOWN)
    )
    assert len(found) == 1
    assert message in found.pop()


def test_a_part_without_modules_is_found():
    rules = {**RULES, "nothing": architecture.Rule("nothing", frozenset(), frozenset())}
    assert "the part nothing has no modules" in architecture.violations(EDGES, rules, KNOWN)


def test_only_families_name_their_models():
    families = ("vim_deploy.model", "vim_deploy.dense", "vim_deploy.families")
    naming = [
        name
        for name, path in KNOWN.items()
        if not name.startswith(families) and re.search(r"\b(VimConfig|VisionMamba)\b", path.read_text())
    ]
    assert naming == []
