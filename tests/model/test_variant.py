"""Recognition of the model from the names and shapes of its tensors."""

import pytest
from golden_data import load_json

from vim_deploy.errors import CheckpointError
from vim_deploy.model.config import PRESETS, REGISTERED_NAMES, ClassToken, Directions, VimConfig
from vim_deploy.model.fields import differing_fields
from vim_deploy.model.variant import find_config

# Fields that cannot be inferred from the tensors, for each golden case; all others must be inferred.
UNTRACEABLE = {
    "midcls_nodiv": {"average_directions": False},
    "headcls": {"class_token": ClassToken.FRONT},
    "nocls_max": {"pooling": "max"},
    "nocls_all": {"pooling": "all"},
    "nocls_none": {"pooling": "last"},
    "rope_hidden_only_headcls": {"rope_residual": False, "average_directions": True},
    "bimamba_v1": {"average_directions": False},
    "unidirectional": {"average_directions": False},
    "paired_bidirectional": {"average_directions": False, "paired": True},
}


def golden_models():
    return load_json("models")["cases"]


def shapes_of(case):
    return {name: tuple(shape) for name, shape in case["keys"].items()}


@pytest.mark.parametrize("case", golden_models(), ids=lambda case: case["name"])
def test_golden_models_are_recognized_from_their_tensors(case):
    true = VimConfig.from_reference(case["flags"])
    found, notes = find_config(shapes_of(case), "file", image_size=true.image_size)
    expected = UNTRACEABLE.get(case["name"], {})
    assert found.replace(**expected) == true, differing_fields(found, true)
    assert notes


@pytest.mark.parametrize(
    "entry", load_json("full_state_dicts").values(), ids=lambda entry: entry["registered_name"]
)
def test_published_models_are_recognized_without_their_names(entry):
    found, notes = find_config(shapes_of(entry), "file")
    assert found == PRESETS[REGISTERED_NAMES[entry["registered_name"]]]
    assert any("class token is assumed to be in the middle" in note for note in notes)
    assert any("both directions are assumed to be averaged" in note for note in notes)


def test_registered_name_confirms_what_tensors_do_not_show():
    entry = load_json("full_state_dicts")["vim_tiny_patch16_stride8_224"]
    found, notes = find_config(shapes_of(entry), "file", model_name=entry["registered_name"])
    assert found == PRESETS["vim_tiny_plus"]
    assert any("which agree with the tensors" in note for note in notes)
    assert not any("assumed to be" in note for note in notes)


def small_shapes(rows=17, **changes):
    """A reduced published model: embed 16, one block, image 64."""
    inner = 32
    shapes = {
        "cls_token": (1, 1, 16),
        "pos_embed": (1, rows, 16),
        "patch_embed.proj.weight": (16, 3, 16, 16),
        "head.weight": (5, 16),
        "layers.0.mixer.A_log": (inner, 16),
        "layers.0.mixer.conv1d.weight": (inner, 1, 4),
        "layers.0.mixer.conv1d_b.weight": (inner, 1, 4),
        "norm_f.weight": (16,),
    }
    shapes.update(changes)
    return {name: shape for name, shape in shapes.items() if shape is not None}


def test_rotary_models_have_the_class_token_in_front_and_no_averaging():
    shapes = small_shapes(rows=197) | {"rope.freqs_cos": (196, 16), "rope.freqs_sin": (196, 16)}
    found, notes = find_config(shapes, "file")
    assert (found.class_token, found.average_directions) == (ClassToken.FRONT, False)
    assert found.rope and found.rope_residual
    assert any("January 2024" in note for note in notes)


def test_training_arguments_determine_stride_and_size():
    # 7 x 7 patches result from 112 pixels with stride 16, or 64 with stride 8.
    assert find_config(small_shapes(rows=50), "file")[0].image_size == (112, 112)
    found, notes = find_config(small_shapes(rows=50), "file", input_size=64)
    assert (found.image_size, found.stride) == ((64, 64), 8)
    assert any("training arguments" in note for note in notes)


def test_a_training_size_that_does_not_match_the_tensors_is_not_used():
    found, _ = find_config(small_shapes(rows=17), "file", input_size=448)
    assert (found.image_size, found.stride) == ((64, 64), 16)


def test_rectangular_grid_requires_the_image_size():
    with pytest.raises(CheckpointError, match=r"24 patch tokens .*not a square grid.*image size"):
        find_config(small_shapes(rows=25), "file")
    assert find_config(small_shapes(rows=25), "file", image_size=(64, 96))[0].grid == (4, 6)


def test_registered_name_is_ignored_if_the_tensors_disagree():
    name = next(iter(REGISTERED_NAMES))
    _, notes = find_config(small_shapes(), "file", model_name=name)
    assert any(f"say {name}, but the tensors differ in" in note and "embed_dim" in note for note in notes)
    assert any("assumed to be in the middle" in note for note in notes)


def test_unknown_name_is_mentioned():
    _, notes = find_config(small_shapes(), "file", model_name="my_model")
    assert any("'my_model'" in note for note in notes)


def test_without_position_embedding_the_assumed_size_is_noted():
    found, notes = find_config(small_shapes(pos_embed=None), "file")
    assert not found.position_embedding and found.image_size == (224, 224)
    assert any("no position embedding" in note for note in notes)


def test_forward_only_and_shared_directions():
    shapes = small_shapes() | {"layers.0.mixer.conv1d_b.weight": None}
    shapes = {name: shape for name, shape in shapes.items() if shape}
    assert find_config(shapes, "file")[0].directions is Directions.FORWARD
    assert (
        find_config(shapes | {"layers.0.mixer.A_b_log": (32, 16)}, "file")[0].directions is Directions.SHARED
    )


@pytest.mark.parametrize(
    "missing", ["patch_embed.proj.weight", "layers.0.mixer.A_log", "layers.0.mixer.conv1d.weight"]
)
def test_other_networks_are_refused_with_the_missing_tensor(missing):
    with pytest.raises(CheckpointError, match=f"not a Vision Mamba: the tensor {missing} is missing"):
        find_config(small_shapes(**{missing: None}), "file")


@pytest.mark.parametrize("shape", [(16, 3, 16), (0, 3, 16, 16)])
def test_invalid_shapes_are_refused(shape):
    with pytest.raises(CheckpointError, match=r"patch_embed\.proj\.weight has shape"):
        find_config(small_shapes(**{"patch_embed.proj.weight": shape}), "file")
