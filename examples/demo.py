"""The whole path on real images, with the commands that a user would type: `make demo`.

1. A small Vim that was trained on handwritten digits: export, build, infer on held-out images, accuracy,
   and equality with the eager model on every one of them.
2. The path of an ImageNet checkpoint: Vim-Tiny with generated weights on photographs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "demo-output"
COMMANDS = Path(sys.executable).parent
DIGITS = HERE / "digits"
EXPECTED_ACCURACY = 0.97


def main() -> int:
    OUTPUT.mkdir(exist_ok=True)
    print("== A trained Vim on handwritten digits it has not seen ==")
    images = _write_digits(OUTPUT / "digits")
    card = DIGITS / "digits.json"
    onnx_file, engine = OUTPUT / "digits.onnx", OUTPUT / "digits.engine"
    _run("vim-export", "auto", "--checkpoint", DIGITS / "digits.safetensors", "--class-names", card,
         "--preprocessing", card, "--check-images", OUTPUT / "digits", "-o", onnx_file)  # fmt: skip
    _run("vim-build", onnx_file, "-o", engine)
    _run("vim-infer", engine, OUTPUT / "digits", "-o", OUTPUT / "digits.csv", "--labels", "folder")
    _compare_with_eager(engine, images)

    print("\n== The path of an ImageNet checkpoint: Vim-Tiny, generated weights, photographs ==")
    _write_photographs(OUTPUT / "photographs")
    onnx_file, engine = OUTPUT / "vim_tiny.onnx", OUTPUT / "vim_tiny.engine"
    _run("vim-export", "vim_tiny", "--image-size", "224", "--check-images", OUTPUT / "photographs",
         "-o", onnx_file)  # fmt: skip
    _run("vim-build", onnx_file, "-o", engine)
    _run("vim-infer", engine, OUTPUT / "photographs", "-o", OUTPUT / "photographs.csv", "--top-k", "3")
    print((OUTPUT / "photographs.csv").read_text(encoding="utf-8"))
    print("With published weights only the first command changes:")
    print("  vim-export vim_tiny --checkpoint vim_t_midclstok_76p1acc.pth -o vim_tiny.onnx")
    return 0


def _run(command: str, *arguments: str | Path) -> None:
    shown = [str(_short(argument)) for argument in arguments]
    print(f"\n$ {command} {' '.join(shown)}", flush=True)
    subprocess.run([COMMANDS / command, *map(str, arguments)], check=True)


def _short(argument: str | Path) -> str | Path:
    return argument.relative_to(HERE.parent) if isinstance(argument, Path) else argument


def _write_digits(folder: Path) -> list[Path]:
    sys.path.insert(0, str(HERE))
    from write_digits import write_digits

    write_digits(folder)
    return sorted(folder.glob("*/*.png"))


def _write_photographs(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder.mkdir(exist_ok=True)
    samples = load_sample_images()
    for name, pixels in zip(samples.filenames, samples.images, strict=True):
        Image.fromarray(pixels).save(folder / f"{Path(name).stem}.png")


def _compare_with_eager(engine_path: Path, images: list[Path]) -> None:
    """Every image through the engine and through the eager model with the slow reference operator."""
    import torch

    from vim_deploy import load_engine
    from vim_deploy.data.decode import decode
    from vim_deploy.model import load_model
    from vim_deploy.ops import use_scan
    from vim_deploy.parity import difference

    model, _ = load_model(DIGITS / "digits.safetensors")
    with load_engine(engine_path) as engine:
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
    print(f"engine alone: {len(images) / seconds:.0f} images per second")
    if accuracy < EXPECTED_ACCURACY or found.top1_equal != found.images or not found.within("fp32"):
        raise SystemExit("The demo failed: accuracy or parity is below what is promised.")


if __name__ == "__main__":
    sys.exit(main())
