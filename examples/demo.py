"""Export, build and inference on real images, with the commands that a user would type: `make demo`.

1. A small classifier trained on handwritten digits: accuracy on held-out images, parity with the eager model.
2. A small segmenter trained on scenes of digits: label maps, mIoU, parity with the eager model.
3. A small detector trained on the same scenes: boxes and masks, average precision.
4. The workflow for an ImageNet checkpoint: Vim-Tiny with synthetic weights on photographs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "demo-output"
COMMANDS = Path(sys.executable).parent
DIGITS = HERE / "digits"
SCENES = HERE / "scenes"
DETECTOR = HERE / "detector"
EXPECTED_ACCURACY = 0.97
DEMO_SCENES = 16
SAME_CLASS = 0.9999  # of the pixels: rounding may decide near ties differently


def main() -> int:
    OUTPUT.mkdir(exist_ok=True)
    print("== A trained classifier on held-out handwritten digits ==")
    images = _write_digits(OUTPUT / "digits")
    card = DIGITS / "digits.json"
    onnx_file, engine = OUTPUT / "digits.onnx", OUTPUT / "digits.engine"
    _run("vim-export", "auto", "--checkpoint", DIGITS / "digits.safetensors", "--class-names", card,
         "--preprocessing", card, "--check-images", OUTPUT / "digits", "-o", onnx_file)  # fmt: skip
    _run("vim-build", onnx_file, "-o", engine)
    _run("vim-infer", engine, OUTPUT / "digits", "-o", OUTPUT / "digits.csv", "--labels", "folder",
         "--report", OUTPUT / "digits.html")  # fmt: skip
    _compare_with_eager(engine, images)

    print("\n== A trained segmenter on scenes of held-out digits ==")
    scenes = _folder("scenes")
    _write_scenes(scenes)
    card, onnx_file, engine = SCENES / "scenes.json", OUTPUT / "scenes.onnx", OUTPUT / "scenes.engine"
    _run("vim-export", "auto", "--task", "segment", "--checkpoint", SCENES / "scenes.safetensors",
         "--class-names", card, "--preprocessing", card, "-o", onnx_file)  # fmt: skip
    _run("vim-build", onnx_file, "-o", engine)
    _run("vim-infer", engine, scenes / "images", "-o", OUTPUT / "scenes.csv", "--scale", "none",
         "--maps", scenes / "maps", "--overlays", scenes / "overlays",
         "--ground-truth", scenes / "labels", "--report", OUTPUT / "scenes.html")  # fmt: skip
    _compare_segments_with_eager(scenes)

    print("\n== A trained detector on scenes of held-out digits ==")
    objects = _folder("objects")
    _write_objects(objects)
    card, onnx_file, engine = DETECTOR / "detector.json", OUTPUT / "objects.onnx", OUTPUT / "objects.engine"
    _run("vim-export", "auto", "--task", "detect", "--checkpoint", DETECTOR / "detector.safetensors",
         "--class-names", card, "--preprocessing", card, "-o", onnx_file)  # fmt: skip
    _run("vim-build", onnx_file, "-o", engine)
    _run("vim-infer", engine, objects / "images", "-o", OUTPUT / "objects.csv",
         "--coco", OUTPUT / "found.json", "--overlays", objects / "overlays",
         "--annotations", objects / "annotations.json", "--report", OUTPUT / "objects.html")  # fmt: skip

    print("\n== The workflow for an ImageNet checkpoint: Vim-Tiny, synthetic weights, photographs ==")
    _write_photographs(OUTPUT / "photographs")
    onnx_file, engine = OUTPUT / "vim_tiny.onnx", OUTPUT / "vim_tiny.engine"
    _run("vim-export", "vim_tiny", "--image-size", "224", "--check-images", OUTPUT / "photographs",
         "-o", onnx_file)  # fmt: skip
    _run("vim-build", onnx_file, "-o", engine)
    _run("vim-infer", engine, OUTPUT / "photographs", "-o", OUTPUT / "photographs.csv", "--top-k", "3")
    print((OUTPUT / "photographs.csv").read_text(encoding="utf-8"))
    print("With published weights, only the first command changes:")
    print("  vim-export vim_tiny --checkpoint vim_t_midclstok_76p1acc.pth -o vim_tiny.onnx")
    return 0


def _run(command: str, *arguments: str | Path) -> None:
    shown = [str(_short(argument)) for argument in arguments]
    print(f"\n$ {command} {' '.join(shown)}", flush=True)
    subprocess.run([COMMANDS / command, *map(str, arguments)], check=True)


def _folder(name: str) -> Path:
    """A new output folder: vim-infer does not replace the label maps and overlays of an earlier run."""
    shutil.rmtree(OUTPUT / name, ignore_errors=True)
    return OUTPUT / name


def _short(argument: str | Path) -> str | Path:
    return argument.relative_to(HERE.parent) if isinstance(argument, Path) else argument


def _write_digits(folder: Path) -> list[Path]:
    sys.path.insert(0, str(HERE))
    from write_digits import write_digits

    write_digits(folder)
    return sorted(folder.glob("*/*.png"))


def _write_scenes(folder: Path) -> None:
    from write_scenes import write_scenes

    write_scenes(folder, DEMO_SCENES)


def _write_objects(folder: Path) -> None:
    from write_objects import write_objects

    write_objects(folder, DEMO_SCENES)


def _write_photographs(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder.mkdir(exist_ok=True)
    samples = load_sample_images()
    for name, pixels in zip(samples.filenames, samples.images, strict=True):
        Image.fromarray(pixels).save(folder / f"{Path(name).stem}.png")


def _compare_with_eager(engine_path: Path, images: list[Path]) -> None:
    """Compare the engine with the eager model, which runs the slow reference operator, on every image."""
    import torch

    from vim_deploy import load
    from vim_deploy.data.decode import decode
    from vim_deploy.model import load_model
    from vim_deploy.ops import use_scan
    from vim_deploy.parity.difference import difference

    model, _ = load_model(DIGITS / "digits.safetensors")
    with load(engine_path) as engine:
        pixels = np.stack([engine.metadata.preprocessing(decode(path).image) for path in images])
        start = time.perf_counter()
        logits = np.concatenate([engine.run(pixels[i : i + 8])["logits"] for i in range(0, len(pixels), 8)])
        seconds = time.perf_counter() - start
    with torch.inference_mode(), use_scan("reference"):
        expected = model(torch.from_numpy(pixels)).numpy()
    found = difference(expected, logits)
    labels = np.array([int(path.parent.name) for path in images])
    accuracy = float((logits.argmax(1) == labels).mean())
    print(f"\nheld-out accuracy: {accuracy:.2%} of {len(images)} images")
    print(
        f"parity with eager: same top-1 on {found.top1_equal} of {found.images} images, "
        f"largest difference {found.max_abs:.2g} on logits up to {found.max_reference:.2g}"
    )
    print(f"engine only: {len(images) / seconds:.0f} images per second")
    if accuracy < EXPECTED_ACCURACY or found.top1_equal != found.images or not found.within("fp32"):
        raise SystemExit("The demo failed: accuracy or parity is below expectation.")


def _compare_segments_with_eager(scenes: Path) -> None:
    """Compare every label map with that of the eager model, which runs the slow reference operator."""
    import torch
    from PIL import Image
    from scenes_data import PREPROCESSING

    from vim_deploy.dense.segmenter_checkpoint import load_segmenter
    from vim_deploy.ops import use_scan

    model, _ = load_segmenter(SCENES / "scenes.safetensors")
    paths = sorted((scenes / "images").glob("*.png"))
    pixels = np.stack([PREPROCESSING.normalize(np.asarray(Image.open(path))) for path in paths])
    with torch.inference_mode(), use_scan("reference"):
        expected = model.segment(torch.from_numpy(pixels), PREPROCESSING.image_size).argmax(dim=1).numpy()
    found = np.stack([np.asarray(Image.open(scenes / "maps" / path.name)) for path in paths])
    same = float((found == expected).mean())
    print(f"\nparity with eager: same class in {same:.4%} of {found.size} pixels of {len(paths)} label maps")
    if same < SAME_CLASS:
        raise SystemExit("The demo failed: label maps differ from those of the eager model.")


if __name__ == "__main__":
    sys.exit(main())
