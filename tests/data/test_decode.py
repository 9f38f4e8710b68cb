"""Every rule of decode.py."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_tiff import write_tiff

from vim_deploy.data.decode import Limits, decode, decode_pillow
from vim_deploy.data.formats import available
from vim_deploy.data.preprocess import Preprocessing
from vim_deploy.errors import ImageError


def saved(folder: Path, image: Image.Image, name: str = "image.png", **options) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def color(path: Path) -> tuple[int, ...]:
    """Mean of each channel."""
    return tuple(int(value) for value in np.asarray(decode(path).image).reshape(-1, 3).mean(0).round())


FORMATS = [name for name in available() if name != "HEIF"]  # pillow-heif is not a requirement of the tests


@pytest.mark.parametrize("format", FORMATS)
def test_formats_are_detected_by_content(tmp_path, format):
    path = saved(tmp_path, Image.new("RGB", (9, 5), (250, 0, 0)), "misleading.txt", format=format)
    decoded = decode(path)
    assert decoded.size == decoded.image.size == (9, 5)
    assert decoded.flags == ()
    np.testing.assert_allclose(color(path), (250, 0, 0), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path, format, orientation):
    # Left half dark, right half bright; the table has the result of each orientation.
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(pixels).convert("RGB"), format=format, exif=exif)
    decoded = decode(path)
    values = np.asarray(decoded.image.convert("L")).astype(float)
    bright = {1: "right", 2: "left", 3: "left", 4: "right", 5: "bottom", 6: "bottom", 7: "top", 8: "top"}
    height, width = values.shape
    halves = {
        "left": values[:, : width // 2],
        "right": values[:, width // 2 :],
        "top": values[: height // 2],
        "bottom": values[height // 2 :],
    }
    assert max(halves, key=lambda side: halves[side].mean()) == bright[orientation]
    assert decoded.flags == (("rotated",) if orientation > 1 else ())
    assert decoded.size == ((16, 32) if orientation > 4 else (32, 16))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(tmp_path, mode):
    path = saved(tmp_path, Image.new(mode, (4, 4), 0))
    assert decode(path).flags == ("alpha",)
    assert color(path) == (255, 255, 255)


def test_half_transparency_is_mixed_with_white(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 0, 128)))
    assert color(path) == (127, 127, 127)


def test_transparent_palette_entry_becomes_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    opaque = saved(tmp_path, image, "opaque.png")
    transparent = saved(tmp_path, image, "transparent.png", transparency=1)
    assert (color(opaque), decode(opaque).flags) == ((0, 255, 0), ())
    assert (color(transparent), decode(transparent).flags) == ((255, 255, 255), ("alpha",))


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="JPEG")
    assert decode(path).flags == ("from_cmyk",)
    np.testing.assert_allclose(color(path), (255, 0, 0), atol=3)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_keeps_the_high_byte(tmp_path, format):
    values = np.array([[0, 255, 256, 40000, 65535]], np.uint16)
    decoded = decode(saved(tmp_path, Image.fromarray(values), format=format))
    assert decoded.flags == ("from_16bit",)
    assert np.asarray(decoded.image).tolist() == [[0, 0, 1, 156, 255]]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_12_bits_in_16_are_reported_and_read_on_request(tmp_path, format):
    ramp = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    path = saved(tmp_path, Image.fromarray(ramp), format=format)
    decoded = decode(path)
    assert decoded.flags == ("from_16bit", "low_16bit") and np.asarray(decoded.image).max() == 15
    decoded = decode(path, Limits(depth=12))
    assert decoded.flags == ("from_12bit",)
    np.testing.assert_array_equal(np.asarray(decoded.image), ramp >> 4)
    with pytest.raises(ImageError, match="samples up to 4095 need more than 10 bits; give another --depth"):
        decode(path, Limits(depth=10))


def test_8_bit_images_do_not_depend_on_the_depth(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 4), (9, 8, 7)))
    assert decode(path, Limits(depth=12)).flags == ()
    assert (
        np.asarray(decode(path, Limits(depth=12)).image).tolist() == np.asarray(decode(path).image).tolist()
    )


def test_samples_with_their_depth_in_the_file_are_scaled(tmp_path):
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5 2 1 4095\n" + np.array([0, 4095], ">u2").tobytes())
    for limits in (Limits(), Limits(depth=12)):
        decoded = decode(path, limits)
        assert (np.asarray(decoded.image).tolist(), decoded.flags) == ([[0, 255]], ("from_16bit",))


def test_16_bit_color_is_reported(tmp_path):
    pixels = np.full((6, 8, 3), 0xABCD, np.uint16)
    path = write_tiff(tmp_path / "image.tif", pixels)
    decoded = decode(path)
    assert (decoded.flags, decoded.image.getpixel((0, 0))) == (("from_16bit",), (0xAB,) * 3)
    write_tiff(path, pixels >> 4)
    assert decode(path).flags == ("from_16bit", "low_16bit")
    decoded = decode(path, Limits(depth=12))
    assert (decoded.flags, decoded.image.getpixel((0, 0))) == (("from_12bit",), (0xAB,) * 3)
    write_tiff(path, pixels)
    with pytest.raises(ImageError, match="samples up to 43981 need more than 12 bits"):
        decode(path, Limits(depth=12))


def test_12_bit_color_in_a_png_is_read_and_rotated(tmp_path):
    # Pillow cannot write it: a PNG file with 16-bit RGB, an EXIF orientation, and the filter 0 in every row.
    samples = np.random.default_rng(0).integers(0, 4096, (5, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)),
        (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    decoded = decode(path, Limits(depth=12))
    assert decoded.flags == ("rotated", "from_12bit")
    np.testing.assert_array_equal(np.asarray(decoded.image), samples[::-1, ::-1] >> 4)
    assert decode(path).flags == ("rotated", "from_16bit", "low_16bit")


def test_heic_with_pillow_heif(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the package pillow-heif")
    heif.register_heif_opener()
    path = saved(tmp_path, Image.new("RGB", (64, 48), (250, 0, 0)), "image.bin", format="HEIF", quality=95)
    assert decode(path).size == (64, 48)
    np.testing.assert_allclose(color(path), (250, 0, 0), atol=4)


def test_tga_is_found_by_its_footer_or_its_suffix(tmp_path):
    image = Image.new("RGB", (5, 4), (250, 0, 0))
    with_footer = saved(tmp_path, image, "image.bin", format="TGA")
    content = with_footer.read_bytes()
    assert content.endswith(b"TRUEVISION-XFILE.\0") and decode(with_footer).size == (5, 4)
    without = content[: 18 + 3 * 5 * 4]
    (tmp_path / "image.tga").write_bytes(without)
    assert color(tmp_path / "image.tga") == (250, 0, 0)
    (tmp_path / "other.bin").write_bytes(without)
    with pytest.raises(ImageError, match="not an image"):
        decode(tmp_path / "other.bin")


def test_float_from_0_to_1(tmp_path):
    values = np.array([[0, 0.5, 1]], np.float32)
    decoded = decode(saved(tmp_path, Image.fromarray(values), format="TIFF"))
    assert decoded.flags == ("from_float",)
    assert np.asarray(decoded.image).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_other_floats_are_refused(tmp_path, value):
    path = saved(tmp_path, Image.fromarray(np.full((2, 2), value, np.float32)), format="TIFF")
    with pytest.raises(ImageError, match="expected 0 to 1"):
        decode(path)


def test_32_bit_integers_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((2, 2), 70000, np.int32)), format="TIFF")
    with pytest.raises(ImageError, match="are not supported"):
        decode(path)


def test_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), shade) for shade in ("red", "green")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert decode(path).flags == ("first_frame",)
    assert color(path) == (255, 0, 0)


def test_one_bit(tmp_path):
    decoded = decode(saved(tmp_path, Image.new("1", (4, 4), 1)))
    assert decoded.image.mode == "L"
    assert np.asarray(decoded.image).min() == 255


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"just text", "not an image"),
        (b"\xff\xd8\xff", "not an image, or damaged"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", r"HEIC is not supported|not an image, or damaged"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00", "not an image, or damaged"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL is not supported"),
        (b"\x00\x00\x02" + bytes(9) + b"\x04\x00\x04\x00\x18\x00" + bytes(48), "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS is not supported"),
        (b"%PDF-1.7\n", "PDF is not supported"),
        (b"II*\0\0", "not an image, or damaged"),
        (b"II*\0" + b"\xff" * 40, "not an image, or damaged"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path, content, reason):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        decode(path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kept", [0.2, 0.6])
def test_cut_off_files_are_refused(tmp_path, format, kept):
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(whole, format)
    path = tmp_path / f"image.{format.lower()}"
    path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * kept)])
    with pytest.raises(ImageError, match="damaged"):
        decode(path)


@pytest.mark.parametrize(
    ("shape", "type", "samples"),
    [
        ((6, 8, 3), "f4", "3 floating-point samples of 32 bits"),
        ((6, 8, 5), "u1", "5 unsigned samples of 8 bits"),
        ((6, 8, 1), "f8", "1 floating-point sample of 64 bits"),
    ],
)
def test_tiff_files_with_other_samples_are_not_called_damaged(tmp_path, shape, type, samples):
    path = write_tiff(tmp_path / "image.tif", np.zeros(shape, type))
    with pytest.raises(ImageError, match=f"a TIFF file with {samples} per pixel is not supported"):
        decode(path)
    write_tiff(path, np.full((6, 8, 3), 9, np.uint8))
    assert decode(path).flags == ()  # the same file with usual samples is read


def test_too_many_pixels_are_refused(tmp_path):
    path = saved(tmp_path, Image.new("1", (2000, 1000)))
    with pytest.raises(ImageError, match="2000 x 1000 pixels are more than the limit of 1000000"):
        decode(path, Limits(max_pixels=1_000_000))


def test_special_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path, reason in (
        (tmp_path / "pipe.jpg", "not a regular file"),
        (tmp_path / "broken.jpg", "No such file"),
        (tmp_path / "loop.jpg", "symbolic links"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ImageError, match=reason):
            decode(path)


def test_images_in_memory_follow_the_same_rules():
    assert decode_pillow(Image.new("RGBA", (3, 2))).flags == ("alpha",)
    with pytest.raises(ImageError, match="the image is empty"):
        decode_pillow(Image.new("RGB", (0, 5)))


REDUCED = Limits(reduced_jpeg=True)


def smooth(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    values = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns) % 256], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_reduced_on_request_but_not_below_the_minimum_size(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, smooth(640, 400), "photo.jpg", exif=exif, quality=95)
    preprocessing = Preprocessing(image_size=(64, 64))
    whole, reduced = decode(path), decode(path, REDUCED, preprocessing.resized_size)
    upright = (640, 400) if orientation == 1 else (400, 640)
    assert whole.size == whole.image.size == reduced.size == upright
    assert reduced.image.size == tuple(side // 4 for side in upright)  # an eighth would be below 73 pixels
    assert "reduced" in reduced.flags and "reduced" not in whole.flags
    # Two resamplings instead of one: differences of a few steps, but no shift.
    difference = np.abs(preprocessing.crop(whole.image).astype(int) - preprocessing.crop(reduced.image))
    assert difference.max() > 0 and difference.mean() < 2


@pytest.mark.parametrize(
    ("name", "limits", "side"), [("a.jpg", Limits(), 32), ("a.png", REDUCED, 32), ("a.jpg", REDUCED, 400)]
)
def test_nothing_else_is_reduced(tmp_path, name, limits, side):
    path = saved(tmp_path, smooth(640, 400), name)
    decoded = decode(path, limits, Preprocessing(image_size=(side, side)).resized_size)
    assert decoded.image.size == (640, 400)
    assert "reduced" not in decoded.flags


def test_extreme_proportions_survive_reduction(tmp_path):
    path = saved(tmp_path, smooth(6000, 1), "line.jpg")
    assert decode(path, REDUCED, Preprocessing(image_size=(8, 8)).resized_size).size == (6000, 1)
