"""Reads and preprocesses images in the workers of a torch DataLoader, and runs the engine on its batches.

    python examples/data_loader.py vim_tiny.engine photos/*.jpg

`model.predict` decodes in threads and needs no PyTorch. A DataLoader is for programs that have one already,
for example because they mix datasets. The workers get the model by its path.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset

import vim_deploy
from vim_deploy import Model


class Images(Dataset[tuple[int, torch.Tensor]]):
    """The index of each image and its pixels (channels, height, width), NaN for an image that is damaged."""

    def __init__(self, model: Model[vim_deploy.ClassifyResult], paths: Sequence[str]) -> None:
        self.model, self.paths = model, list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        try:
            pixels = torch.from_numpy(self.model.preprocess(self.paths[index])[0])
        except vim_deploy.ImageError as error:
            print(f"error: {error}")
            preprocessing = self.model.metadata.preprocessing
            pixels = torch.full((preprocessing.channels, *preprocessing.image_size), torch.nan)
        return index, pixels


def classify(
    engine: str, paths: Sequence[str], workers: int = 2, start_method: str | None = None
) -> Iterator[tuple[str, str | None]]:
    """The path and the most probable class of each image, None for an image that is damaged."""
    with vim_deploy.load(engine, task="classify") as model:
        images = Images(model, paths)
        loader = DataLoader(images, batch_size=8, num_workers=workers, multiprocessing_context=start_method)
        for indices, pixels in loader:
            logits = torch.from_numpy(model.run(pixels)["logits"])
            for index, scores in zip(indices.tolist(), logits, strict=True):
                best = int(scores.argmax())
                yield paths[index], None if scores.isnan().any() else model.class_names[best]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("engine")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for path, name in classify(options.engine, options.images, options.workers):
        print(f"{path}: {name}")


if __name__ == "__main__":
    main()
