"""The vim-validate command: results, exit codes, reports, signatures and user errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import commands
import numpy as np
import onnx
import pytest
from browser import Browser, needs_browser
from PIL import Image

from vim_deploy import load
from vim_deploy.cli.infer import main as infer
from vim_deploy.cli.validate import main
from vim_deploy.engines.build import build_engine
from vim_deploy.engines.container import read_manifest, write_engine
from vim_deploy.engines.onnxruntime.options import OnnxruntimeOptions
from vim_deploy.engines.open import open_engine
from vim_deploy.engines.payload import Payload
from vim_deploy.export.exporter import ExportRequest, export
from vim_deploy.families.family import ModelSource
from vim_deploy.validation import artifacts

pytest.importorskip("onnxruntime", reason="vim-validate runs artifacts with onnxruntime")

SMALL = {"embed_dim": 32, "depth": 2, "image_size": [32, 48], "num_classes": 5}
NAMES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A configuration, its exported file and its engine."""
    folder = tmp_path_factory.mktemp("made")
    config = folder / "small.json"
    config.write_text(json.dumps(SMALL))
    source = ModelSource(str(config), seed=3)
    export(ExportRequest(source, folder / "small.onnx", class_names=NAMES, check=False))
    build_engine(folder / "small.onnx", folder / "small.engine", OnnxruntimeOptions(threads=1))
    return folder


@pytest.fixture
def photos(tmp_path):
    for index, name in enumerate(NAMES):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return tmp_path / "photos"


def run(made, *arguments, seed="3"):
    words = [str(made / "small.json"), "--seed", seed, *map(str, arguments)]
    return commands.invoke(main, *words)


def test_all_options_together(made, photos, tmp_path):
    pytest.importorskip("matplotlib", reason="--plot and the plot in --html need matplotlib")
    page, plot = tmp_path / "report.html", tmp_path / "layers.svg"
    result = run(
        made, made / "small.onnx", made / "small.engine", "--images", photos, "--labels", "folder",
        "--layers", "--invariance", "--html", page, "--plot", plot, "--json", "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    labels = [artifact["label"] for artifact in found["artifacts"]]
    assert labels == ["small.onnx (library)", "small.onnx (function body)", "small.engine"]
    for artifact in found["artifacts"]:
        assert artifact["passed"] and artifact["notes"] == []
        for reference in ("against_float32", "against_float64"):
            groups = {group["kind"]: group for group in artifact[reference]["groups"]}
            assert [groups[kind]["images"] for kind in ("real", "random", "hard", "all")] == [5, 4, 8, 17]
            assert 0 < groups["all"]["relative"] < 2e-5
        assert artifact["layers"]["first_fault"] is None
        assert len(artifact["layers"]["parts"]) == 2 + 2 * 15
        assert artifact["accuracy"]["images"] == 5
        assert artifact["accuracy"]["top1"] == artifact["accuracy"]["reference_top1"]
        conditions = [row["condition"] for row in artifact["invariance"]["variations"]]
        assert "1 thread" in conditions and "batch 1 instead of 4" in conditions
        assert ("scan with portable" in conditions) == (artifact["mode"] != "function body")
    assert found["eager_float32_against_float64"]["groups"][-1]["relative"] > 0
    text = page.read_text()
    assert "<svg" in text and "no part exceeds its limit" in text and "3 of 3 results" in text
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert plot.read_text().startswith("<?xml")


def test_a_fault_is_reported_with_its_part(made, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot in --html needs matplotlib")
    page = tmp_path / "page.html"
    graph = onnx.load(str(made / "small.onnx"))
    for node in graph.graph.node:
        if node.name == "layers.1.mixer/SelectiveScan":
            next(item for item in node.attribute if item.name == "reverse").i = 1
    broken = tmp_path / "broken.onnx"
    onnx.save(graph, str(broken))
    build_engine(broken, tmp_path / "broken.engine")
    result = run(made, broken, tmp_path / "broken.engine", "--layers", "--block", "1", "--no-function-body",
                 "--sign", "--html", page)  # fmt: skip
    assert result.exit_code == 1, result.stderr
    for label in ("broken.onnx (library)", "broken.engine"):
        assert (
            f"{label}: FAILED: the local error first exceeds its limit at layers.1.scan forward"
            in result.stdout
        )
        assert f"{label}: FAILED: against eager float64: relative difference" in result.stdout
    assert ": block 1" in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0] == "FAILED: 0 of 2 results within the tolerance of the precision, on 12 inputs"
    assert [line for line in lines if len(line) > 80 and ": FAILED: " not in line] == []
    _check_page(page)
    assert "recorded" not in result.stderr
    assert read_manifest(tmp_path / "broken.engine").validation is None


def _check_page(page: Path) -> None:
    """The verdict is first, the cause before the tables; axes and limits of the plot are named."""
    text = page.read_text()
    body = text[text.index("<body>") :]
    assert body.index("FAILED: 0 of 2 results") < body.index("exceeds its limit at layers.1.scan forward")
    assert body.index("exceeds its limit at layers.1.scan forward") < body.index("<table>")
    assert "vim-validate " in body and "--no-function-body --sign --html" in body


@needs_browser
def test_the_page_fits_on_phones_and_desktops(made, tmp_path):
    pytest.importorskip("matplotlib", reason="the plot in --html needs matplotlib")
    copy, page = tmp_path / f"{'long_' * 20}<img src=x>.onnx", tmp_path / "page.html"
    copy.write_bytes((made / "small.onnx").read_bytes())
    given = (copy, "--no-function-body", "--random", 1, "--no-hard", "--layers", "--html", page)
    assert run(made, *given, seed="4").exit_code == 1
    with Browser(tmp_path / "profile") as browser:
        for width in (360, 1280):
            browser.open(page, width)
            assert browser.evaluate("document.body.innerText").startswith("FAILED: 0 of 1 result ")
            assert browser.overflowing() == []
            assert browser.problems() == []


def test_every_artifact_is_opened_once(made, monkeypatch):
    opened = []

    def counting(path, **options):
        opened.append(path)
        return open_engine(path, **options)

    monkeypatch.setattr(artifacts, "open_engine", counting)
    result = run(made, made / "small.engine", made / "small.onnx", "--no-hard", "--no-function-body")
    assert result.exit_code == 0, result.output
    assert opened == [made / "small.engine"]


def test_other_weights_are_reported(made):
    result = run(made, made / "small.onnx", "--no-function-body", "--no-hard", seed="4")
    assert result.exit_code == 1
    assert "was exported from other weights (synthetic)" in result.stdout
    assert "FAILED" in result.stdout


def test_a_tolerance_can_be_given(made):
    options = ("--no-function-body", "--no-hard", "--random", 1)
    assert run(made, made / "small.onnx", *options, "--rtol", "1e-12").exit_code == 1
    # With other weights, only a large tolerance accepts the outputs.
    result = run(made, made / "small.onnx", *options, "--atol", 1000, "--json", seed="4")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["artifacts"][0]["against_float64"]["absolute_tolerance"] == 1000


def test_signature_is_shown_and_bound_to_the_payload(made, tmp_path):
    engine = tmp_path / "signed.engine"
    build_engine(made / "small.onnx", engine)
    assert read_manifest(engine).validated.startswith("not validated")
    result = run(made, engine, "--sign", "--no-hard")
    assert result.exit_code == 0, result.stderr
    assert f"{engine}: recorded as validated" in result.stderr
    with load(engine) as opened:
        manifest = opened.manifest
        assert opened.run(np.zeros((1, 3, 32, 48), np.float32))["logits"].shape == (1, 5)
    assert manifest.validated.startswith("validated against eager synthetic (seed 3) on 20")
    record = manifest.validation
    assert record["inputs"] == 4 and len(record["inputs_sha256"]) == 64
    assert set(record["versions"]) >= {"vim_deploy", "torch", "onnxruntime"}
    image = tmp_path / "image.png"
    Image.new("RGB", (60, 40), "teal").save(image)
    inferred = commands.invoke(infer, engine, image)
    assert f"{engine}: validated against eager synthetic (seed 3)" in inferred.stderr
    # A record copied to another payload does not apply to it.
    from dataclasses import replace

    other = replace(manifest, validation={**record, "payload_sha256": "0" * 64})
    assert other.validated.startswith("not validated")
    write_engine(engine, replace(manifest, validation=None), engine_payload(engine))
    assert read_manifest(engine).validated.startswith("not validated")


def engine_payload(path: Path) -> Payload:
    from vim_deploy.engines.container import read_engine

    return read_engine(path)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{made}/none.onnx"], "none.onnx cannot be read"),
        (["{made}/small.json"], "neither an engine"),
        (["{made}/small.engine", "--images", "1.jpg", "2.jpg"], "2.jpg is an image, not an artifact"),
        (["{made}/small.onnx", "--plot", "x.png"], "add --layers"),
        (["{made}/small.onnx", "--synsets", "x.txt"], "add --labels"),
        (["{made}/small.onnx", "--labels", "folder"], "add --images"),
        (["{made}/small.onnx", "--html", "no/such/x.html"], "does not exist"),
        (["{made}/small.onnx", "--sign"], "build one with vim-build"),
        (["{made}/small.onnx", "--images", "{made}/none.png"], "does not exist"),
        (["{made}/small.onnx", "--no-hard", "--random", "0"], "no inputs to compare on"),
        (["{made}/small.onnx", "--num-classes", "7", "--no-function-body"], "was not exported from custom"),
        (["{made}/small.engine", "--sign", "--atol", "1"], "drop --rtol and --atol"),
        (["{moved}", "--layers"], "give that file as an artifact too"),
        (["{made}/small.onnx", "--layers", "--block", "2"], "--block 2: the model has 2 blocks, from 0 to 1"),
    ],
    ids=lambda value: " ".join(value[1:])[:30] if isinstance(value, list) else "",
)
def test_user_errors_exit_with_2(made, tmp_path, arguments, message):
    moved = tmp_path / "moved.engine"
    moved.write_bytes((made / "small.engine").read_bytes())
    result = run(made, *(word.format(made=made, moved=moved) for word in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_all_artifacts_are_looked_at_before_the_first_comparison(made):
    result = run(made, made / "small.engine", made / "small.json")
    assert result.exit_code == 2
    assert "small.json is neither an engine" in result.stderr
    assert "small.engine on" not in result.stderr


def test_another_model_is_refused_by_its_input(made):
    result = commands.invoke(main, "vim_tiny", made / "small.onnx", "--image-size", "32")
    assert result.exit_code == 2
    assert (
        "small.onnx was not exported from vim_tiny: it is a custom model with an input of 3x32x48 and 5"
        in (result.stderr)
    )


def test_the_suffix_of_a_plot_is_checked_before_pytorch_is_loaded(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run(made, made / "small.onnx", "--layers", "--plot", "x.xyz")
    assert result.exit_code == 2
    assert "x.xyz has the suffix 'xyz'; plots have one of png, svg, pdf" in result.stderr


def test_without_pytorch_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [
        name for name in sys.modules if name.startswith(("vim_deploy.export", "vim_deploy.validation"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    result = run(made, made / "small.onnx")
    assert result.exit_code == 2
    assert (
        'the package torch is not installed; run `pip install "vim-deploy[torch]" --extra-index-url'
        in result.stderr
    )


def test_help_needs_no_framework():
    code = (
        "import sys; from vim_deploy.cli.validate import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "loaded = {'torch', 'onnx', 'numpy', 'onnxruntime', 'matplotlib'} & sys.modules.keys()\n"
        "sys.exit(f'{loaded} imported for --help' if loaded else 0)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2]
    )


def test_file_names_are_not_markup(made, tmp_path):
    copy = tmp_path / "[red][-x].onnx"
    copy.write_bytes((made / "small.onnx").read_bytes())
    result = run(made, copy, "--no-function-body", "--random", 1, "--no-hard", "--layers", seed="4")
    assert result.exit_code == 1, result.stderr
    assert "[red][-x].onnx (library): FAILED" in result.stdout
