"""Feature maps of the dense backbone, compared with the reference. test_segmenter.py tests the neck."""

from __future__ import annotations

import pytest
import torch
from dense.golden_detector import golden_input
from golden_data import assert_close, load_json, load_tensors

from vim_deploy.dense.backbone import DenseBackbone
from vim_deploy.dense.config import BackboneConfig, FeatureType
from vim_deploy.errors import ConfigError
from vim_deploy.model import VimConfig
from vim_deploy.ops import use_scan

TOLERANCE = 5e-5  # float32; largest error of upstream for the detector 7.0e-6
VIM = VimConfig(image_size=(32, 32), depth=3, embed_dim=16, class_token="none", num_classes=0)


def backbone(**changes: object) -> BackboneConfig:
    return BackboneConfig(**{"vim": VIM, "out_indices": (0, 2), **changes})


@pytest.mark.parametrize("scan", ["auto", "reference"])
@torch.no_grad()
def test_feature_map_of_the_detector_equals_the_reference(scan):
    case, tensors = load_json("detector"), load_tensors("detector")
    model = DenseBackbone(BackboneConfig.from_reference(case["backbone"]["net"])).eval()
    prefix = "weights.backbone.net."
    weights = {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    model.load_state_dict(weights, strict=True)
    with use_scan(scan):
        (found,) = model(golden_input())
    assert_close(found, tensors["last_feat"], TOLERANCE)


@torch.no_grad()
def test_rectangular_images_result_in_rectangular_maps():
    model = DenseBackbone(backbone(vim=VIM.replace(image_size=(32, 64)))).eval()
    assert [tuple(found.shape) for found in model(torch.zeros(2, 3, 32, 64))] == [(2, 16, 2, 4)] * 2


def test_configuration_round_trip_through_json():
    given = backbone(intermediate=FeatureType.STREAM, last=FeatureType.NORMALIZED)
    assert BackboneConfig.from_dict(given.to_dict()) == given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_indices": ()}, "out_indices"),
        ({"out_indices": (0, 3)}, "0 to 2"),
        ({"out_indices": (-1, 2)}, "0 to 2"),
        ({"out_indices": (1, 0)}, "ascending"),
        ({"vim": VIM.replace(class_token="middle")}, "class_token=middle"),
        ({"intermediate": "normalized"}, "last block"),
        ({"last": "normalized", "final_norm": False}, "final norm"),
    ],
)
def test_invalid_backbones_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        backbone(**changes)


def test_unknown_last_layer_process_is_refused():
    with pytest.raises(ConfigError, match="last_layer_process='sum'"):
        BackboneConfig.from_reference({"last_layer_process": "sum"})
