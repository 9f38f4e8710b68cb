"""Class names in the formats of other projects."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vim_deploy.class_names import read_class_names
from vim_deploy.errors import ConfigError, MissingDependencyError

NAMES = ("ant", "bee", "sea slug")
FILES = {
    "names.txt": "ant\nbee\n\nsea slug\n",
    "windows.txt": "\ufeffant\r\nbee\r\nsea slug\r\n",
    "list.json": json.dumps(NAMES),
    "marked.json": "\ufeff" + json.dumps(NAMES),
    "object.json": json.dumps({"class_names": NAMES, "other": 1}),
    "config.json": json.dumps(
        {"id2label": {"0": "ant", "2": "sea slug", "1": "bee"}, "label2id": {"ant": 0}}
    ),
    "id2label.json": json.dumps({"0": "ant", "1": "bee", "2": "sea slug"}),
    "imagenet_class_index.json": json.dumps(
        {"0": ["n01", "ant"], "1": ["n02", "bee"], "2": ["n03", "sea slug"]}
    ),
    "LOC_synset_mapping.txt": "n00000001 ant\nn00000002 bee\nn00000003 sea slug\n",
    "synset_to_lemma.txt": "n00000001\tant\nn00000002\tbee\nn00000003\tsea slug\n",
    "list.yaml": "path: data\nnames: [ant, bee, sea slug]\n",
    "data.yaml": "train: images\nnames:\n  0: ant\n  1: bee\n  2: sea slug\n",
}


@pytest.mark.parametrize("name", FILES)
def test_formats(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name].encode())
    assert read_class_names(tmp_path / name) == NAMES


def test_synsets_of_imagenet_get_their_names(tmp_path):
    path = tmp_path / "imagenet_synsets.txt"
    path.write_text("n01440764\nn02123045\nn00000001\n")
    assert read_class_names(path) == ("tench", "tabby", "n00000001")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "\n", "has no class names; expected one name per line"),
        ("object.json", '{"classes": ["a"]}', "there is no entry for 0"),
        ("gap.json", '{"0": "a", "2": "b"}', "there is no entry for 1"),
        ("numbers.json", "[1, 2]", "has no class names"),
        ("broken.json", "[", "is not valid JSON"),
        ("broken.yaml", "names: [", "is not valid YAML"),
        ("object.yaml", "names: !!python/object:os.system {}", "is not valid YAML"),
    ],
)
def test_other_contents_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_class_names(tmp_path / name)


def test_yaml_without_pyyaml(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    Path(tmp_path / "data.yaml").write_text("names: [a]")
    with pytest.raises(MissingDependencyError, match="pip install pyyaml"):
        read_class_names(tmp_path / "data.yaml")
