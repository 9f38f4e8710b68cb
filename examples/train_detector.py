"""Train the small detector in examples/detector/ on scenes made of digits; some minutes on two cores.

Writes OUT/detector.safetensors (weights, configuration in the metadata) and OUT/detector.json (class names,
preprocessing, training parameters, average precision on scenes of held-out digits).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import training_run
from detection_data import HELD_OUT_SCENES, annotations, held_out_objects, make_objects
from detection_losses import detection_loss
from digits_data import CLASS_NAMES, load_split
from scenes_data import HELD_OUT_SEED, PREPROCESSING
from train_digits import parameter_groups

from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.dense.detector import Detector
from vim_deploy.dense.detector_checkpoint import load_detector
from vim_deploy.dense.detector_config import DetectorConfig
from vim_deploy.model import VimConfig
from vim_deploy.model.checkpoint import save_checkpoint
from vim_deploy.tasks.detect.annotations import Annotations
from vim_deploy.tasks.detect.average_precision import average_precision, encode_rle
from vim_deploy.tasks.detect.paste import paste_mask

# A smaller version of the reference's tiny configuration, with anchors for digits of 20 to 50 pixels.
CONFIG = DetectorConfig(
    BackboneConfig(
        VimConfig(
            image_size=PREPROCESSING.image_size,
            embed_dim=96,
            depth=4,
            state=8,
            class_token="none",
            num_classes=0,
            rope=True,
            rope_residual=True,
        ),
        out_indices=(3,),
        last=FeatureType.STREAM,
        final_norm=False,
    ),
    num_classes=len(CLASS_NAMES),
    channels=32,
    anchor_sizes=(24, 32, 48, 64, 96),
    pre_nms_topk=200,
    post_nms_topk=60,
    proposal_convs=1,
    box_convs=1,
    box_hidden=128,
    mask_convs=2,
    detections_per_image=30,
)
BATCH = 16
MAX_LEARNING_RATE = 2e-3


def train(model: Detector, steps: int, seed: int) -> None:
    """Train `model` in place on generated scenes, each used once."""
    digits, _ = load_split()
    optimizer = torch.optim.AdamW(parameter_groups(model))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, MAX_LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    model.train()
    losses = []
    for step in range(steps):
        scenes = [make_objects(digits, np.random.default_rng([seed, step, i])) for i in range(BATCH)]
        pixels = torch.from_numpy(np.stack([PREPROCESSING.normalize(scene.image) for scene in scenes]))
        loss = detection_loss(model, pixels, scenes)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 25 == 0:
            print(f"step {step + 1}/{steps}: loss {np.mean(losses[-25:]):.3f}", file=sys.stderr, flush=True)


@torch.no_grad()
def evaluate(model: Detector, count: int = HELD_OUT_SCENES) -> dict[str, dict[str, float | None]]:
    """Average precision of boxes and masks on the held-out scenes."""
    scenes = list(held_out_objects(count))
    results = []
    for number, scene in enumerate(scenes):
        height, width = scene.image.shape[:2]
        found = model(torch.from_numpy(PREPROCESSING.normalize(scene.image))[None])
        for box, score, index, mask in zip(*(values.numpy() for values in found), strict=True):
            left, top, right, bottom = map(float, box)
            whole = paste_mask(mask, box, height, width)
            results.append(
                {
                    "image_id": number,
                    "category_id": 1 + int(index),
                    "bbox": [left, top, right - left, bottom - top],
                    "score": float(score),
                    "segmentation": {"size": [height, width], "counts": encode_rle(whole)},
                }
            )
    ground_truth = Annotations(
        Path("held out"), annotations(scenes), {}, tuple(range(1, 1 + len(CLASS_NAMES)))
    )
    return average_precision(ground_truth, results, range(count))


def main() -> None:
    options = training_run.options(__doc__, "detector", "steps", 1500, threads=1)
    model = Detector(CONFIG)
    seconds = training_run.seconds_of(lambda: train(model, options.steps, options.seed))

    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.out / "detector.safetensors"
    save_checkpoint(model.half(), weights)  # half the size; the figures are those of the rounded weights
    description = describe(weights, options.steps, options.seed)
    figures = description["held_out"]["average_precision"]
    (options.out / "detector.json").write_text(json.dumps(description, indent=2) + "\n")
    print(
        f"AP of boxes {figures['bbox']['AP']:.3f}, of masks {figures['segm']['AP']:.3f} on {HELD_OUT_SCENES} "
        f"held-out scenes; trained in {seconds:.0f} s; wrote {weights}"
    )


def describe(weights: Path, steps: int, seed: int) -> dict[str, Any]:
    """The contents of the JSON file, with figures measured with the saved weights."""
    figures = evaluate(load_detector(weights)[0])
    return {
        "class_names": list(CLASS_NAMES),
        "preprocessing": PREPROCESSING.to_dict(),
        "training": {"seed": seed, "steps": steps, "scenes": steps * BATCH},
        "held_out": {"scenes": HELD_OUT_SCENES, "seed": HELD_OUT_SEED, "average_precision": figures},
        "versions": training_run.versions(),
    }


if __name__ == "__main__":
    main()
