"""Writes the files for the TensorRT steps, which need no PyTorch: networks, and outputs of the eager model.

    python tools/gpu_check/prepare.py FOLDER [--sizes 224,...] [--images PHOTOS]

Writes to FOLDER: vim_tiny_{fp32,fp16}_SIZE.onnx and deit_tiny_fp16_SIZE.onnx with synthetic weights, and
eager_224.npz: pixels (seeded noise and the images) and the eager model's logits for them (CPU, reference
operator, float32). Does not need a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

SEEDED_IMAGES, CANDIDATES, SEED = 8, 24, 7


def export_vim(path: Path, size: int, precision: str) -> None:
    from vim_deploy.export.exporter import ExportRequest, export
    from vim_deploy.families.family import ModelSource

    source = ModelSource("vim_tiny", image_size=(size, size))
    # Only small sizes are compared; graphs of other sizes differ only in the position embedding.
    export(ExportRequest(source, path, precision=precision, check=size <= 224 and library_available()))


def library_available() -> bool:
    """Whether exported files can be compared here, which requires the operator library for CPUs."""
    from vim_deploy.errors import OperatorLibraryError
    from vim_deploy.ops.library import ort_library

    try:
        ort_library()
    except OperatorLibraryError as error:
        print(f"exported files are not compared with the eager model: {error}", file=sys.stderr)
        return False
    return True


def export_deit(path: Path, size: int) -> None:
    """float32 inputs and outputs, float16 inside, opset 17, like the exported Vim."""
    import eager
    import onnx
    import torch

    from vim_deploy.export.opset import lower_to_opset_17

    class InHalf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = eager.deit(size).half()

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(pixels.half()).float()
            return logits

    program = torch.onnx.export(
        InHalf().eval(),
        (torch.zeros(2, 3, size, size),),
        dynamo=True,
        opset_version=18,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch", min=1)}},
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    lower_to_opset_17(model)
    onnx.save_model(model, str(path))


def eager_logits(pixels: np.ndarray, scan: str = "reference") -> np.ndarray:
    import eager
    import torch

    from vim_deploy.ops import use_scan

    with torch.inference_mode(), use_scan(scan):
        logits: np.ndarray = eager.vim(pixels.shape[-1], "fp32")(torch.from_numpy(pixels)).numpy()
    return logits


def pixels_of(images: Path | None, metadata: Any) -> np.ndarray:
    """(images, channels, height, width): seeded noise, then every image that can be read.

    Selects the noise images with the largest margin between the two best classes: if the margin is below the
    error of float16, a correct engine may predict the other class.
    """
    from vim_deploy.data.decode import Limits
    from vim_deploy.data.discover import Discovery
    from vim_deploy.data.loading import ThreadLoader

    rule = metadata.preprocessing
    shape = (CANDIDATES, rule.channels, *rule.image_size)
    drawn = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    best = np.sort(eager_logits(drawn, "auto"), axis=-1)
    seeded = drawn[np.argsort(best[:, -2] - best[:, -1])[:SEEDED_IMAGES]]
    items = [] if images is None else list(Discovery([str(images)]))
    loaded = [entry.pixels for entry in ThreadLoader(rule, Limits()).load_many(items)]
    return np.stack([*seeded, *(pixels for pixels in loaded if pixels is not None)])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="224,512,768,1024,1248")
    parser.add_argument("--images", type=Path)
    options = parser.parse_args(arguments)
    from vim_deploy.engines.source import read_source

    options.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for size in map(int, options.sizes.split(",")):
        for precision in ("fp32", "fp16") if size == 224 else ("fp16",):
            made.append(options.folder / f"vim_tiny_{precision}_{size}.onnx")
            export_vim(made[-1], size, precision)
        made.append(options.folder / f"deit_tiny_fp16_{size}.onnx")
        export_deit(made[-1], size)
    vim = next(path for path in made if path.name.startswith("vim_tiny"))
    pixels = pixels_of(options.images, read_source(vim).metadata)
    reference = options.folder / f"eager_{pixels.shape[-1]}.npz"
    np.savez(reference, pixels=pixels, logits=eager_logits(pixels))
    names = [path.name for path in (*made, reference)]
    result = {"step": "prepare", "files": names, "images": len(pixels), "compared": library_available()}
    print(json.dumps({**result, "passed": True}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
