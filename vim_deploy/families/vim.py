"""Vision Mamba classifiers."""

from __future__ import annotations

from typing import Any

from vim_deploy.families.family import Family
from vim_deploy.imagenet import DATASET, IMAGENET_NAMES
from vim_deploy.model.config import PRESETS, REGISTERED_NAMES, VimConfig, variant_name
from vim_deploy.text import by, plural


def _parse_config(values: dict[str, Any]) -> VimConfig:
    """Fields of VimConfig, or options of the reference implementation, which are spelled differently."""
    is_reference = any(key.startswith("if_") or key in ("img_size", "d_state") for key in values)
    return VimConfig.from_reference(values) if is_reference else VimConfig.from_dict(values)


def _notes(config: VimConfig) -> tuple[str, ...]:
    rows, columns = config.unused_pixels
    if not rows and not columns:
        return ()
    used = tuple(side - rest for side, rest in zip(config.image_size, (rows, columns), strict=True))
    return (
        f"images of {by(config.image_size)} are not divided into whole patches: the model does not use the "
        f"last {plural(rows, 'row')} and {plural(columns, 'column')} of pixels; --image-size "
        f"{by(used)} uses all.",
    )


FAMILY = Family(
    name="vim",
    kind="classifier",
    model="vim_deploy.model.vim:VisionMamba",
    load="vim_deploy.model.checkpoint:load_model",
    parse_config=_parse_config,
    presets=PRESETS,
    aliases=REGISTERED_NAMES,
    name_of=variant_name,
    class_names=IMAGENET_NAMES,
    dataset=DATASET,
    notes_of=_notes,
    parts="vim_deploy.families.vim_parts:model_parts",
    probes="vim_deploy.families.vim_probes:find_probes",
)
