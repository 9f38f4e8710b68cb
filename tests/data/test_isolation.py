"""A decoder that hangs, crashes or uses too much memory costs one row only."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vim_deploy import child
from vim_deploy.data import loading
from vim_deploy.data.decode import Limits
from vim_deploy.data.discover import Item
from vim_deploy.data.isolation import ProcessLoader
from vim_deploy.data.loading import ThreadLoader
from vim_deploy.data.memory import EncodedImage, PixelImage
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import DecoderError

PREPROCESSING = Preprocessing((8, 6), 1.0)
# Files with these names make the decoder fail like hostile files do.
FAILURES = """
import vim_deploy.data.decode as module
original = module.decode
def decode(path, limits, minimum_size, name):
    import ctypes, os, signal, sys, time
    name = os.path.basename(name)
    if path.startswith("/proc/"):
        with open(path, "rb") as file:
            name = {b"crash": "crash.png", b"hangs": "hang.png"}.get(file.read(5), name)
    if name == "hang.png":
        time.sleep(1000)
    if name == "crash.png":
        ctypes.string_at(0)
    if name == "killed.png":
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("once") and not os.path.exists(path + ".killed"):
        open(path + ".killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "bug.png":
        raise RuntimeError("a mistake")
    if name == "memory.png":
        bytearray(1 << 50)
    if name == "noise.png":
        os.write(0, b"\\xff" * 100)
    return original(path, limits, minimum_size, name)
module.decode = decode
"""


def run_in_decoders(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Run code in decoder processes before they decode."""
    first, rest = child._BOOTSTRAP.split("; from ", 1)
    monkeypatch.setattr(child, "_BOOTSTRAP", f"{first}; exec({code!r})\nfrom {rest}")


@pytest.fixture
def failing(monkeypatch):
    run_in_decoders(monkeypatch, FAILURES)


def image_item(folder: Path, name: str) -> Item:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(folder / name)
    return Item(str(folder / name))


def test_pixels_are_those_of_the_thread_loader(tmp_path):
    item = image_item(tmp_path, "a.png")
    expected = ThreadLoader(PREPROCESSING, Limits()).load(item)
    with contextlib.closing(ProcessLoader(PREPROCESSING, Limits())) as loader:
        for _ in range(3):
            found = loader.load(item)
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            assert (found.size, found.flags, found.reason) == (expected.size, expected.flags, "")
        missing = loader.load(Item(str(tmp_path / "none.png")))
        assert missing.pixels is None and "No such file" in missing.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hang.png", "decoding took longer than 10 s"),
        ("crash.png", "was killed by SIGSEGV"),
        ("killed.png", "was killed by SIGKILL"),
        ("bug.png", "exited with code 1"),
        ("memory.png", "not enough memory"),
        ("noise.png", "sent an invalid reply"),
    ],
)
def test_failed_decoders_are_reported_and_replaced(tmp_path, failing, name, reason):
    good, bad = image_item(tmp_path, "good.png"), image_item(tmp_path, name)
    with contextlib.closing(ProcessLoader(PREPROCESSING, Limits(seconds=10))) as loader:
        for item in (good, bad, good, bad, good) if name != "hang.png" else (good, bad, good):
            found = loader.load(item)
            if item is good:
                assert found.pixels is not None, found.reason
            else:
                assert found.pixels is None
                assert reason in found.reason
        assert len(loader._processes) == 1


def test_failed_decoders_do_not_affect_other_files(tmp_path, failing):
    names = ["a.png", "crash.png", "b.png", "c.png", "killed.png", "killed.png", "d.png", "bug.png"]
    items = [image_item(tmp_path, name) for name in names]
    with contextlib.closing(ProcessLoader(PREPROCESSING, Limits(seconds=30))) as loader:
        for _ in range(2):
            found = list(loader.load_many(items))
            assert [loaded.given for loaded in found] == items
            good = [loaded.pixels is not None for loaded in found]
            assert good == [len(name) == 5 for name in names], [loaded.reason for loaded in found]


def test_a_file_is_decoded_again_when_the_decoder_was_killed(tmp_path, failing):
    names = ["a.png", "once.png", "once_b.png", "killed.png", "once_c.png", "b.png"]
    items = [image_item(tmp_path, name) for name in names]
    with contextlib.closing(ProcessLoader(PREPROCESSING, Limits(seconds=30))) as loader:
        found = list(loader.load_many(items))
    assert [loaded.given for loaded in found] == items
    assert [loaded.reason for loaded in found] == ["", "", "", "the decoder was killed by SIGKILL", "", ""]
    np.testing.assert_array_equal(found[1].pixels, found[0].pixels)


def test_a_decoder_that_ended_while_idle_is_replaced_without_an_error(tmp_path):
    item = image_item(tmp_path, "a.png")
    with contextlib.closing(ProcessLoader(PREPROCESSING, Limits())) as loader:
        assert loader.load(item).pixels is not None
        process = loader._processes[0]._process
        assert process is not None
        process.kill()
        process.wait()
        assert [loaded.reason for loaded in loader.load_many([item] * 3)] == [""] * 3


def test_closing_ends_a_hanging_decoder(tmp_path, failing):
    bad = image_item(tmp_path, "hang.png")
    loader = ProcessLoader(PREPROCESSING, Limits(seconds=None))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(loader.load, bad)
        while not loader._processes or loader._processes[0]._connection is None:
            time.sleep(0.01)
        time.sleep(0.2)
        loader.close()
        assert "stopped" in future.result(timeout=60).reason


def test_decoder_processes_end_with_their_parent(tmp_path):
    loader = ProcessLoader(PREPROCESSING, Limits())
    loader.load(image_item(tmp_path, "a.png"))
    process = loader._processes[0]._process
    assert process is not None and process.poll() is None
    # The same as when the parent ends, even by kill -9: its end of the connection is closed.
    loader._processes[0]._connection.close()
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(("killed", "starts"), [(1, True), (2, True), (3, False)])
def test_a_decoder_that_is_killed_while_it_starts_is_replaced(monkeypatch, tmp_path, killed, starts):
    code = f"""
import os, pathlib
left = pathlib.Path({str(tmp_path / "left")!r})
if number := int(left.read_text()):
    left.write_text(str(number - 1))
    os.kill(os.getpid(), 9)
"""
    run_in_decoders(monkeypatch, code)
    (tmp_path / "left").write_text(str(killed))
    with contextlib.closing(ProcessLoader(PREPROCESSING, Limits())) as loader:
        item = image_item(tmp_path, "a.png")
        if starts:
            assert loader.load(item).reason == ""
        else:
            with pytest.raises(DecoderError, match=r"does not start .*killed by SIGKILL"):
                loader.load(item)
        assert (tmp_path / "left").read_text() == "0"


def test_a_decoder_that_does_not_start_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(child, "_BOOTSTRAP", "raise SystemExit(3)")
    loader = ProcessLoader(PREPROCESSING, Limits())
    with contextlib.closing(loader), pytest.raises(DecoderError, match="does not start"):
        loader.load(image_item(tmp_path, "a.png"))


def test_a_decoder_that_cannot_be_launched_is_an_error(monkeypatch, tmp_path):
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("subprocess.Popen", fail)
    loader = ProcessLoader(PREPROCESSING, Limits())
    with contextlib.closing(loader), pytest.raises(DecoderError, match="Too many open files"):
        loader.load(image_item(tmp_path, "a.png"))


def test_default_workers_fit_into_memory(monkeypatch):
    limits = Limits()
    monkeypatch.setattr(loading, "usable_cpus", lambda: 64)
    for memory, workers in ((None, 8), (100 * limits.memory, 8), (3 * limits.memory, 3), (1, 1)):
        monkeypatch.setattr(loading, "usable_memory", lambda memory=memory: memory)
        assert loading.default_workers(limits) == workers


def test_max_pixels_may_exceed_the_limit_of_pillow(tmp_path):
    # 200 million pixels of one bit: more than Pillow's default limit.
    path = tmp_path / "large.png"
    Image.new("1", (20_000, 10_000), 1).save(path)
    for limit, fine in ((200_000_000, True), (199_999_999, False)):
        with contextlib.closing(ProcessLoader(PREPROCESSING, Limits(max_pixels=limit))) as loader:
            found = loader.load(Item(os.fspath(path)))
            assert (found.pixels is not None) == fine, found.reason
            assert fine or "200000000" in found.reason or "are more than the limit" in found.reason


def test_contents_are_decoded_in_the_process(tmp_path, failing):
    item = image_item(tmp_path, "a.png")
    content = Path(item.path).read_bytes()
    given = [EncodedImage(b"crash"), EncodedImage(content), item, EncodedImage(b"hangs"), EncodedImage(b"?")]
    loader = ProcessLoader(PREPROCESSING, Limits(seconds=3.0))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with contextlib.closing(loader):
        found = list(loader.load_many(given))
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1  # the connection
    expected = ThreadLoader(PREPROCESSING, Limits()).load(item)
    assert [entry.given for entry in found] == given
    for entry in found[1:3]:
        np.testing.assert_array_equal(entry.pixels, expected.pixels)
        assert (entry.size, entry.flags) == (expected.size, expected.flags)
    assert "SIGSEGV" in found[0].reason
    assert "longer than 3 s" in found[3].reason
    assert found[4].reason and found[4].pixels is None


def test_images_that_were_decoded_before_stay_in_this_process(tmp_path):
    decoded = ThreadLoader(PREPROCESSING, Limits())._decode(image_item(tmp_path, "a.png"))
    loader = ProcessLoader(PREPROCESSING, Limits())
    with contextlib.closing(loader):
        assert loader.load(PixelImage(decoded)).pixels is not None
        assert loader._processes == []
