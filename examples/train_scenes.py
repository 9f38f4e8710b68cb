"""Train the small segmenter in examples/scenes/ on scenes made of digits; half an hour or more on one core.

Writes OUT/scenes.safetensors (weights, configuration in the metadata) and OUT/scenes.json (class names,
preprocessing, training parameters, mIoU on scenes of held-out digits).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import training_run
from digits_data import load_split
from scenes_data import (
    CLASS_NAMES,
    HELD_OUT_SCENES,
    HELD_OUT_SEED,
    PREPROCESSING,
    held_out_scenes,
    make_scene,
)
from torch import Tensor
from train_digits import parameter_groups

from vim_deploy.dense.config import BackboneConfig
from vim_deploy.dense.segmentation import SegmenterConfig
from vim_deploy.dense.segmenter import Segmenter
from vim_deploy.dense.segmenter_checkpoint import load_segmenter
from vim_deploy.model import VimConfig
from vim_deploy.model.checkpoint import save_checkpoint

# The reference's tiny configuration, smaller: patches of 8 pixels, a feature map from every block.
CONFIG = SegmenterConfig(
    BackboneConfig(
        VimConfig(
            image_size=PREPROCESSING.image_size,
            patch_size=8,
            stride=8,
            embed_dim=48,
            depth=4,
            class_token="none",
            num_classes=0,
        ),
        out_indices=(0, 1, 2, 3),
    ),
    num_classes=len(CLASS_NAMES),
    channels=48,
    auxiliary_channels=32,
)
BATCH = 16
MAX_LEARNING_RATE = 4e-3
AUXILIARY_WEIGHT = 0.4  # as in the reference's training


def train(model: Segmenter, steps: int, seed: int) -> None:
    """Train `model` in place on generated scenes, each used once."""
    digits, _ = load_split()
    optimizer = torch.optim.AdamW(parameter_groups(model))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, MAX_LEARNING_RATE, total_steps=steps, pct_start=0.15
    )
    model.train()
    losses = []
    for step in range(steps):
        scenes = [make_scene(digits, np.random.default_rng([seed, step, i])) for i in range(BATCH)]
        pixels = torch.from_numpy(np.stack([PREPROCESSING.normalize(image) for image, _ in scenes]))
        labels = torch.from_numpy(np.stack([labels for _, labels in scenes]).astype(np.int64))
        decoded, auxiliary = model.forward_training(pixels)
        loss = _loss(decoded, labels) + AUXILIARY_WEIGHT * _loss(auxiliary, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 25 == 0:
            print(f"step {step + 1}/{steps}: loss {np.mean(losses[-25:]):.3f}", file=sys.stderr, flush=True)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    resized = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return F.cross_entropy(resized, labels)


@torch.no_grad()
def evaluate(model: Segmenter) -> dict[str, Any]:
    """mIoU over all classes, IoU of each and pixel accuracy, on the held-out scenes."""
    classes = len(CLASS_NAMES)
    confusion = np.zeros((classes, classes), np.int64)
    for image, labels in held_out_scenes():
        pixels = torch.from_numpy(PREPROCESSING.normalize(image))[None]
        found = model.segment(pixels, CONFIG.image_size).argmax(dim=1)[0].numpy()
        confusion += np.bincount(
            (labels.astype(np.int64) * classes + found).ravel(), minlength=classes**2
        ).reshape(classes, classes)
    right = np.diag(confusion)
    iou = right / (confusion.sum(0) + confusion.sum(1) - right)
    return {
        "miou": float(iou.mean()),
        "iou": {name: round(float(value), 4) for name, value in zip(CLASS_NAMES, iou, strict=True)},
        "pixel_accuracy": float(right.sum() / confusion.sum()),
    }


def main() -> None:
    options = training_run.options(__doc__, "scenes", "steps", 2500, threads=1)
    model = Segmenter(CONFIG)
    seconds = training_run.seconds_of(lambda: train(model, options.steps, options.seed))

    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.out / "scenes.safetensors"
    final = Segmenter(CONFIG.replace(auxiliary_channels=0))
    final.load_state_dict({name: model.state_dict()[name] for name in final.state_dict()})
    save_checkpoint(final, weights)
    # Measured with the saved weights and the library's default scan.
    figures = evaluate(load_segmenter(weights)[0])
    description = {
        "class_names": list(CLASS_NAMES),
        "preprocessing": PREPROCESSING.to_dict(),
        "training": {"seed": options.seed, "steps": options.steps, "scenes": options.steps * BATCH},
        "held_out": {"scenes": HELD_OUT_SCENES, "seed": HELD_OUT_SEED, **figures},
        "versions": training_run.versions(),
    }
    (options.out / "scenes.json").write_text(json.dumps(description, indent=2) + "\n")
    print(
        f"mIoU {figures['miou']:.2%}, pixel accuracy {figures['pixel_accuracy']:.2%} on {HELD_OUT_SCENES} "
        f"held-out scenes; trained in {seconds:.0f} s; wrote {weights}"
    )


if __name__ == "__main__":
    main()
