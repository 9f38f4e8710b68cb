"""Everything that `predict` takes: paths, URLs, images, arrays, tensors, bytes, files, and lists of these."""

from __future__ import annotations

import io
import json
import re
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from infer_command import run
from PIL import Image
from small_onnx import color_model, save

from vim_deploy import (
    ClassifyResult,
    EngineError,
    ImageError,
    InputError,
    Limits,
    MissingDependencyError,
    Model,
    build,
    load,
)
from vim_deploy.data.loading import default_workers

RED = np.zeros((10, 12, 3), np.uint8)
RED[:, :, 0] = 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("inputs")
    build(save(color_model(), place / "colors.onnx"), place / "colors.engine")
    (place / "photos" / "more").mkdir(parents=True)
    Image.fromarray(RED).save(place / "photos" / "red.png")
    Image.new("RGB", (5, 5), "blue").save(place / "photos" / "more" / "blue.png")
    (place / "photos" / "notes.txt").write_text("text")
    (place / "empty").mkdir()
    return place


@pytest.fixture(scope="module")
def model(folder) -> Iterator[Model[ClassifyResult]]:
    with load(folder / "colors.engine", task="classify") as opened:
        yield opened


def content(folder: Path) -> bytes:
    return (folder / "photos" / "red.png").read_bytes()


def test_every_kind_of_image_gives_the_same_result(folder, model):
    path = folder / "photos" / "red.png"
    channels_first = torch.from_numpy(RED.transpose(2, 0, 1).copy())
    given: dict[str, Any] = {
        "str": str(path),
        "Path": path,
        "URL": f"file://{path}",
        "Pillow": Image.fromarray(RED),
        "array": RED,
        "array of floats": RED / 255,
        "array of halves": (RED / 255).astype(np.float16),
        "RGBA": np.dstack([RED, np.full((10, 12), 255, np.uint8)]),
        "not contiguous": np.ascontiguousarray(RED[..., ::-1])[..., ::-1],
        "read-only": np.frombuffer(RED.tobytes(), np.uint8).reshape(RED.shape),
        "tensor": channels_first,
        "tensor of floats": channels_first / 255,
        "tensor in bfloat16": (channels_first / 255).bfloat16(),
        "tensor with gradient": (channels_first / 255).requires_grad_(),
        "bytes": content(folder),
        "bytearray": bytearray(content(folder)),
        "memoryview": memoryview(content(folder)),
        "BytesIO": io.BytesIO(content(folder)),
    }
    (expected,) = model.predict(path)
    assert expected.top1.name == "red"
    for kind, image in given.items():
        (result,) = model.predict(image)
        assert result.ok, (kind, result.error)
        assert (result.size, result.top) == ((12, 10), expected.top), kind
    del given["BytesIO"]  # it has been read
    for kind, result in zip(given, model.predict(given.values(), stream=True), strict=True):
        assert result.top == expected.top, kind
    with path.open("rb") as file:
        (result,) = model.predict(file)
    assert result == expected


def test_gray_images_and_16_bit_arrays(model):
    gray = np.full((6, 4), 200, np.uint8)
    wide = gray.astype(np.uint16) << 8
    for values in (gray, gray[:, :, None], wide, torch.from_numpy(gray), torch.from_numpy(gray)[None]):
        (result,) = model.predict(values)
        assert (result.ok, result.size) == (True, (4, 6)), result
        np.testing.assert_allclose(result.probabilities, 1 / 3, rtol=1e-6)
    assert model.predict(wide)[0].flags == ("from_16bit",)
    assert model.predict(gray / 255)[0].flags == ("from_float",)


def test_limits_apply_to_files_and_arrays(folder, model):
    values = np.full((6, 4), 4000, np.uint16)
    path = folder / "12bit.png"
    Image.fromarray(values).save(path)
    for image in (path, path.read_bytes(), values, Image.fromarray(values), Image.open(path)):
        (result,) = model.predict(image, limits=Limits(depth=12))
        assert result.flags == ("from_12bit",), image
        assert result.plot(legend=False).getpixel((0, 0)) == (250, 250, 250)
        assert "low_16bit" in model.predict(image)[0].flags
    (large,) = model.predict(path, limits=Limits(max_pixels=23))
    assert large.error == "4 x 6 pixels are more than the limit of 23 pixels"


def test_transparent_arrays_are_composited_on_white(model):
    (result,) = model.predict(np.zeros((4, 4, 4), np.uint8))
    assert result.flags == ("alpha",)
    np.testing.assert_allclose(result.probabilities, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\); .* use array.transpose\(1, 2, 0\)"),
        (np.zeros((8, 8, 2), np.uint8), "expected"),
        (np.zeros(8, np.uint8), "expected"),
        (np.zeros((0, 8, 3), np.uint8), "empty"),
        (np.zeros((8, 8, 3), np.int64), "type int64; expected uint8"),
        (np.full((8, 8, 3), 1.5), "from 1.5 to 1.5; expected 0 to 1"),
        (np.full((8, 8, 3), np.nan), "expected 0 to 1"),
        (torch.zeros(8, 8, 3), r"use tensor.permute\(2, 0, 1\)"),
        (torch.zeros(3, 8, 8) - 1, "from -1 to -1; expected 0 to 1"),
        (b"", "the file is empty"),
        (b"text", "not an image, or damaged"),
        (io.BytesIO(), "the file is empty"),
        ("missing.png", "No such file"),
        ("none-*.png", "matches no file"),
        ("file:///missing/image.png", "no such file"),
        ("unknown://host/image.png", "rotocol"),
        ("", "cannot be read"),
        ("a\0b.png", "zero byte"),
    ],
)
def test_an_invalid_image_is_a_result_with_the_reason(model, image, reason):
    first, second, third = model.predict([RED, image, RED])
    assert first.ok and third.ok and not second.ok
    with pytest.raises(ImageError, match="has no result"):
        _ = second.top1
    assert second.error is not None
    assert re.search(reason, second.error), second.error
    (alone,) = model.predict(image)
    assert alone.error == second.error or isinstance(image, io.BytesIO)


def test_damaged_content_is_a_result(folder, model):
    (result,) = model.predict(content(folder)[:-20])
    assert not result.ok and "damaged" in str(result.error)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "the source is an int; expected a path, URL"),
        (None, "a NoneType"),
        ({"image": RED}, "the source is a dict"),
        (io.StringIO("text"), "open as text"),
    ],
)
def test_other_sources_are_errors_at_once(model, source, message):
    with pytest.raises(InputError, match=message):
        model.predict(source, stream=True)


def test_limits_of_another_type(model):
    with pytest.raises(InputError, match=r"limits is 5; expected vim_deploy\.Limits"):
        model.predict(RED, limits=5)


def test_other_elements_are_named(model):
    with pytest.raises(InputError, match="element 1 of the source is a list"):
        model.predict([RED, [RED]])
    stream = model.predict((image for image in [RED, 3]), stream=True)  # type: ignore[list-item]
    with pytest.raises(InputError, match="element 1 of the source is an int"):
        list(stream)


def test_folders_and_globs_are_searched_like_those_of_the_command(folder, model, monkeypatch):
    monkeypatch.chdir(folder)
    found = [(result.path, result.top1.name) for result in model.predict("photos")]
    assert found == [("photos/red.png", "red"), ("photos/more/blue.png", "blue")]
    assert [result.path for result in model.predict(["photos/*.png", Path("photos/more")])] == [
        "photos/red.png",
        "photos/more/blue.png",
    ]
    with pytest.raises(ImageError, match="no images found in 'empty'"):
        model.predict("empty")


def test_a_batch_is_a_source_of_images(model):
    batch = np.stack([RED, RED[..., ::-1]])
    assert [result.top1.name for result in model.predict(batch)] == ["red", "blue"]
    tensors = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())
    assert [result.top1.name for result in model.predict(tensors)] == ["red", "blue"]


def test_a_buffer_may_be_used_again(model):
    """A camera writes every frame into the same memory."""

    def frames() -> Iterator[np.ndarray]:
        frame = np.zeros((8, 8, 3), np.uint8)
        for index in range(60):
            frame[:] = 0
            frame[..., index % 3] = 255
            yield frame

    names = [result.top1.name for result in model.predict(frames(), stream=True)]
    assert names == ["red", "green", "blue"] * 20


def test_an_image_may_be_closed_after_its_turn(folder, model):
    def images() -> Iterator[Image.Image]:
        for _ in range(40):
            with Image.open(folder / "photos" / "red.png") as image:
                yield image

    assert [result.error for result in model.predict(images(), stream=True)] == [None] * 40


def test_names_of_files_and_urls_are_the_paths_of_results(folder, model):
    path = folder / "photos" / "red.png"
    with path.open("rb") as file:
        assert model.predict(file)[0].path == str(path)
    assert model.predict(f"file://{path}")[0].path == f"file://{path}"
    assert model.predict(content(folder))[0].path is None


def test_urls_without_fsspec_name_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"vim-deploy\[urls\]"):
        model.predict("memory://image.png")


def test_urls_that_need_another_package_name_it(model, monkeypatch):
    fsspec = pytest.importorskip("fsspec", reason="URLs need fsspec (extra: urls)")

    def refuse(url: str, mode: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "open", refuse)
    with pytest.raises(MissingDependencyError, match="Install s3fs"):
        model.predict("s3://bucket/image.png")


def test_images_over_http(folder, model):
    pytest.importorskip("aiohttp", reason="https:// needs aiohttp (extra: urls)")
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder / "photos"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        found, missing = model.predict([f"{root}/red.png", f"{root}/none.png"])
        server.shutdown()
    assert found.top1.name == "red"
    assert missing.error == "cannot be read: no such file"


def test_a_stream_is_lazy_and_keeps_nothing(model):
    total = 5000
    taken = done = released = most_ahead = most_alive = 0

    def release() -> None:
        nonlocal released
        released += 1

    def images() -> Iterator[Image.Image]:
        nonlocal taken
        for index in range(total):
            taken += 1
            image = Image.new("RGB", (8, 8), ("red", "green", "blue")[index % 3])
            weakref.finalize(image, release)
            yield image

    for result in model.predict(images(), stream=True, batch_size=4, workers=2):
        assert result.ok
        most_ahead, most_alive = max(most_ahead, taken - done), max(most_alive, taken - released)
        done += 1
    assert done == taken == total
    # Two workers with four images each, eight decoded ones, and the batch.
    assert most_ahead <= 2 * 4 + 8 + 4 + 4
    assert most_alive <= most_ahead + 4


def test_a_stream_that_is_not_finished_stops_its_source(model):
    taken = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield RED

    stream = model.predict(images(), stream=True)
    next(stream)
    stream.close()
    ahead = taken
    assert ahead <= 8 * default_workers(Limits()) + 4 * 8
    assert next(iter(model.predict(RED))).ok and taken == ahead


def test_an_error_of_the_source_reaches_the_caller(model):
    def images() -> Iterator[np.ndarray]:
        yield RED
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        model.predict(images())


def test_results_are_the_rows_of_the_command(folder, model, monkeypatch):
    monkeypatch.chdir(folder)
    given = ["photos/red.png", "photos/notes.txt", "photos/more/blue.png"]
    done = run("colors.engine", *given, "--labels", "none", "--format", "jsonl", "-o", "rows.jsonl")
    assert done.exit_code == 1, done.output
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert [json.loads(json.dumps(result.to_dict())) for result in model.predict(given)] == rows


def test_preprocess_gives_the_pixels_that_predict_uses(folder, model):
    pixels = model.preprocess(folder / "photos" / "red.png")
    assert (pixels.shape, pixels.dtype) == ((1, 3, 8, 8), np.float32)
    logits = model.run(pixels)["logits"]
    (result,) = model.predict(folder / "photos" / "red.png")
    np.testing.assert_allclose(result.probabilities, np.exp(logits[0]) / np.exp(logits[0]).sum(), rtol=1e-6)
    for same in (RED, Image.fromarray(RED), content(folder), torch.from_numpy(RED.transpose(2, 0, 1))):
        np.testing.assert_array_equal(model.preprocess(same), pixels)


def test_preprocess_takes_one_image(folder, model):
    with pytest.raises(ImageError, match=r"missing\.png: cannot be read: No such file"):
        model.preprocess("missing.png")
    for several in ([RED], np.stack([RED, RED]), folder / "photos"):
        with pytest.raises(InputError, match="expected one image"):
            model.preprocess(several)


def test_run_takes_tensors_and_names_what_it_expects(model):
    pixels = np.zeros((2, 3, 8, 8), np.float32)
    pixels[:, 0] = 1
    expected = model.run(pixels)["logits"]
    np.testing.assert_array_equal(model.run(torch.from_numpy(pixels))["logits"], expected)
    np.testing.assert_array_equal(model.run(torch.from_numpy(pixels).requires_grad_())["logits"], expected)
    with pytest.raises(EngineError, match="float64; the engine expects float32"):
        model.run(torch.from_numpy(pixels).double())
    with pytest.raises(InputError, match="expected a numpy array or a torch tensor, not a list"):
        model.run(pixels.tolist())
