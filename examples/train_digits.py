"""Train the small Vision Mamba in examples/digits/ on scikit-learn's digits; some minutes on two cores.

Writes OUT/digits.safetensors (weights, configuration in the metadata) and OUT/digits.json (class names,
preprocessing, training parameters, accuracy on held-out digits).
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import training_run
from digits_data import CLASS_NAMES, HELD_OUT, PREPROCESSING, SPLIT_SEED, Digits, load_split
from torch import Tensor, nn

from vim_deploy.model import VimConfig, VisionMamba
from vim_deploy.model.checkpoint import load_model, save_checkpoint

# Class token in the middle and overlapping patches, as in the published "+" models.
CONFIG = VimConfig(
    image_size=PREPROCESSING.image_size,
    channels=PREPROCESSING.channels,
    patch_size=8,
    stride=4,
    embed_dim=48,
    depth=4,
    num_classes=len(CLASS_NAMES),
)
BATCH = 64
MAX_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
MAX_ROTATION = math.radians(12)
MAX_SCALE = 0.1
MAX_SHIFT = 0.12  # of half the image


def train(model: VisionMamba, digits: Digits, epochs: int) -> None:
    """Train `model` in place; the weights of the last epoch are kept, without model selection."""
    inputs, labels = torch.from_numpy(digits.inputs()), torch.from_numpy(digits.labels)
    optimizer = torch.optim.AdamW(parameter_groups(model))
    steps = epochs * math.ceil(len(labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, MAX_LEARNING_RATE, total_steps=steps, pct_start=0.15
    )
    model.train()
    for epoch in range(epochs):
        losses = []
        for rows in torch.randperm(len(labels)).split(BATCH):
            logits = model(_augmented(inputs[rows]))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}", file=sys.stderr, flush=True)


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """No weight decay for vectors and for the state decays, which it would pull to a single value."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.dim() > 1 and not name.endswith("_log")].append(parameter)
    return [
        {"params": groups[True], "weight_decay": WEIGHT_DECAY},
        {"params": groups[False], "weight_decay": 0.0},
    ]


def _augmented(images: Tensor) -> Tensor:
    """The images with small random rotations, scales and shifts."""
    count = len(images)
    angle = _uniform(count) * MAX_ROTATION
    scale = 1 + _uniform(count) * MAX_SCALE
    shift = _uniform(count, 2) * MAX_SHIFT
    rows = [
        torch.stack([scale * angle.cos(), -angle.sin(), shift[:, 0]], dim=1),
        torch.stack([angle.sin(), scale * angle.cos(), shift[:, 1]], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _uniform(*shape: int) -> Tensor:
    return torch.rand(shape) * 2 - 1


@torch.no_grad()
def accuracy(model: VisionMamba, digits: Digits) -> float:
    predicted = model(torch.from_numpy(digits.inputs())).argmax(dim=1).numpy()
    return float(np.mean(predicted == digits.labels))


def describe(seed: int, epochs: int, reached: float, training_count: int) -> dict[str, Any]:
    return {
        "class_names": list(CLASS_NAMES),
        "preprocessing": PREPROCESSING.to_dict(),
        "training": {"seed": seed, "epochs": epochs, "images": training_count},
        "held_out": {"images": HELD_OUT, "split_seed": SPLIT_SEED, "stratified": True, "accuracy": reached},
        "versions": training_run.versions(),
    }


def main() -> None:
    options = training_run.options(__doc__, "digits", "epochs", 25, threads=2)
    training, held_out = load_split()
    model = VisionMamba(CONFIG)
    seconds = training_run.seconds_of(lambda: train(model, training, options.epochs))

    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.out / "digits.safetensors"
    save_checkpoint(model, weights)
    # Measured with the saved weights and the library's default scan.
    reached = accuracy(load_model(weights)[0], held_out)
    description = describe(options.seed, options.epochs, reached, len(training.labels))
    (options.out / "digits.json").write_text(json.dumps(description, indent=2) + "\n")
    print(
        f"{reached:.2%} accuracy on {HELD_OUT} held-out digits; trained in {seconds:.0f} s; wrote {weights}"
    )


if __name__ == "__main__":
    main()
