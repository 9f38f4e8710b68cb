"""The configuration: conversion from the reference's options, derived sizes, invalid values."""

from __future__ import annotations

import json

import pytest
from golden_data import load_json

from vim_deploy.errors import ConfigError
from vim_deploy.model import PRESETS, ClassToken, Directions, Pooling, VimConfig, preset, variant_name

CASES = load_json("models")["cases"]
PUBLISHED = load_json("full_state_dicts").values()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_options_result_in_the_sizes_of_the_reference(case):
    config = VimConfig.from_reference(case["flags"])
    assert list(config.grid) == case["grid"]
    assert config.num_tokens == case["tokens"]
    assert VimConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case["registered_name"])
def test_published_architectures(case):
    config = preset(case["registered_name"])
    assert (config.embed_dim, config.depth, config.state) == (
        case["embed_dim"],
        case["depth"],
        case["d_state"],
    )
    assert (config.inner, config.dt_rank, config.stride) == (case["d_inner"], case["dt_rank"], case["stride"])
    assert config.averages_directions is case["if_divide_out"]
    assert config == PRESETS[variant_name(config)]
    assert variant_name(config.replace(image_size=448, num_classes=5)) == variant_name(config)
    assert variant_name(config.replace(depth=12)) == "custom"


def test_defaults_equal_the_reference():
    config = VimConfig.from_reference({})
    assert config.class_token is ClassToken.NONE
    assert config.pooling is Pooling.LAST
    assert config.directions is Directions.FORWARD
    assert not config.position_embedding
    assert not config.rms_norm


def test_only_separate_directions_are_averaged():
    assert VimConfig().averages_directions
    assert not VimConfig(directions="shared").averages_directions
    assert not VimConfig(directions="forward").averages_directions
    assert not VimConfig(average_directions=False).averages_directions


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"if_random_cls_token_position": True}, "is for training only"),
        ({"flip_img_sequences_ratio": 0.5}, "is for training only"),
        ({"if_abs_pos_embd": True}, "unknown reference options"),
        ({"bimamba_type": "v3"}, "expected one of"),
        ({"final_pool_type": "sum"}, "expected one of"),
    ],
)
def test_unsupported_reference_options(flags, message):
    with pytest.raises(ConfigError, match=message):
        VimConfig.from_reference(flags)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"image_size": 8}, "smaller than patch_size"),
        ({"image_size": (1, 2, 3)}, r"expected one number or \(height, width\)"),
        ({"paired": True, "depth": 3}, "even depth"),
        ({"depth": 10**12}, "depth is 1000000000000; expected 1 to 256"),
        ({"depth": True}, "depth is True; expected an integer"),
        ({"depth": "24"}, "depth is '24'; expected an integer"),
        ({"rope": 1}, "rope is 1; expected true or false"),
        ({"norm_eps": float("nan")}, "norm_eps is nan"),
        ({"image_size": [224.5, 224]}, "expected one number or"),
        ({"image_size": "224"}, "expected one number or"),
        ({"image_size": 1 << 20}, "each 1 to 16384"),
        ({"rope": True}, "class_token=middle"),
        ({"rope": True, "class_token": "none", "stride": 8}, "stride equal to the patch size"),
        ({"rope": True, "class_token": "none", "image_size": 240}, "even square grid"),
    ],
)
def test_invalid_structures(fields, message):
    with pytest.raises(ConfigError, match=message):
        VimConfig(**fields)
