"""Loading valid checkpoints: formats, keys, conversions, resizing, and outputs of the reference."""

import argparse
import hashlib
import json

import numpy as np
import pytest
import torch
from golden_data import golden_dir, load_json, load_tensors
from safetensors.torch import save_file

from vim_deploy.model.checkpoint import load_checkpoint, load_model, save_checkpoint
from vim_deploy.model.config import ClassToken, VimConfig
from vim_deploy.model.vim import VisionMamba

SMALL = VimConfig(image_size=(32, 32), embed_dim=16, depth=1, num_classes=5)


@pytest.fixture
def small_model():
    torch.manual_seed(0)
    return VisionMamba(SMALL).eval()


@pytest.fixture
def state(small_model):
    return dict(small_model.state_dict())


def test_training_checkpoint_gives_the_reference_logits_for_both_keys():
    path = golden_dir() / "checkpoint_reduced.pth"
    expected = load_tensors("checkpoint_reduced_expected")
    for entry in ("model", "model_ema"):
        model, loaded = load_model(path, checkpoint_key=entry)
        logits = model(torch.from_numpy(expected["image"])).detach().numpy()
        assert largest_relative(logits, expected[f"logits_{entry}"]) < 2e-5
        assert loaded.key == entry
        assert loaded.source == "checkpoint_reduced.pth"
        assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not np.allclose(expected["logits_model"], expected["logits_model_ema"])


def largest_relative(values, reference):
    return np.abs(values - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize("name", ["midcls_resized_96", "midcls_resized_48", "nocls_resized_80"])
def test_reference_rule_gives_the_reference_logits_at_another_size(name, tmp_path):
    cases = {case["name"]: case for case in load_json("models")["cases"]}
    trained, resized = cases[cases[name]["weights_from"]], load_tensors(f"model_{name}")
    weights = {
        key.removeprefix("weights."): torch.from_numpy(value)
        for key, value in load_tensors(f"model_{trained['name']}").items()
        if key.startswith("weights.")
    }
    save_file(weights, tmp_path / "trained.safetensors")
    config = VimConfig.from_reference(trained["flags"])
    model, loaded = load_model(
        tmp_path / "trained.safetensors",
        config=config,
        image_size=cases[name]["flags"]["img_size"],
        position_rule="reference",
    )
    logits = model(torch.from_numpy(resized["image"])).detach().numpy()
    assert largest_relative(logits, resized["logits_f64"]) < 2e-5
    assert any("position embedding resized from" in note and "'reference'" in note for note in loaded.notes)


def test_geometric_rule_keeps_the_row_of_the_class_token(state, tmp_path):
    torch.save(state, tmp_path / "bare.pth")
    loaded = load_checkpoint(tmp_path / "bare.pth", image_size=64)
    assert loaded.config.image_size == (64, 64)
    assert torch.equal(loaded.state_dict["pos_embed"][:, 8], state["pos_embed"][:, 2])
    assert any("from 2x2 to 4x4 patches with the rule 'geometric'" in note for note in loaded.notes)


def test_nothing_is_resized_if_the_grid_is_the_same(state, tmp_path):
    torch.save(state, tmp_path / "bare.pth")
    loaded = load_checkpoint(tmp_path / "bare.pth", image_size=(40, 33))
    assert torch.equal(loaded.state_dict["pos_embed"], state["pos_embed"])
    assert not any("resized" in note for note in loaded.notes)


def test_rotary_tables_follow_the_image_size(tmp_path):
    config = SMALL.replace(
        class_token=ClassToken.FRONT, rope=True, rope_residual=True, average_directions=False
    )
    torch.save(VisionMamba(config).state_dict(), tmp_path / "rope.pth")
    model, loaded = load_model(tmp_path / "rope.pth", image_size=64)
    assert loaded.config == config.replace(image_size=(64, 64))
    assert model.rope.freqs_cos.shape == (16, 16)
    assert any("rotary tables recomputed" in note for note in loaded.notes)


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_bare_and_wrapped_state_dicts_load_in_both_formats_of_torch(key, zipped, state, tmp_path):
    content = state if key is None else {key: state, "epoch": 3}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(tmp_path / "w.pth")
    assert loaded.key == key
    assert loaded.config == SMALL
    assert loaded.state_dict.keys() == state.keys()
    assert all(torch.equal(loaded.state_dict[name], state[name]) for name in state)


def test_configuration_of_safetensors_is_inferred_from_the_tensors(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_checkpoint(tmp_path / "w.safetensors")
    assert (loaded.config, loaded.key) == (SMALL, None)
    assert any("both directions are assumed to be averaged" in note for note in loaded.notes)


def test_saved_checkpoints_contain_the_complete_configuration(tmp_path):
    config = SMALL.replace(
        class_token=ClassToken.FRONT, average_directions=False, image_size=(32, 48), stride=8
    )
    model = VisionMamba(config)
    save_checkpoint(model, tmp_path / "w.safetensors")
    again, loaded = load_model(tmp_path / "w.safetensors", num_classes=5)
    assert loaded.config == config
    assert loaded.notes == ()
    assert not again.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_given_configuration_overrides_that_of_the_file_with_a_note(small_model, tmp_path):
    save_checkpoint(small_model, tmp_path / "w.safetensors")
    loaded = load_checkpoint(tmp_path / "w.safetensors", config=SMALL.replace(average_directions=False))
    assert loaded.config.average_directions is False
    assert any(
        "differs from the file's own in average_directions (False, not True)" in note for note in loaded.notes
    )


@pytest.mark.parametrize("prefix", ["module.", "module._orig_mod."])
def test_wrappers_prefixes_are_removed_with_a_note(prefix, state, tmp_path):
    torch.save({"model": {prefix + name: value for name, value in state.items()}}, tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth")
    assert loaded.state_dict.keys() == state.keys()
    assert any("'module.' removed" in note for note in loaded.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32_with_a_note(dtype, state, tmp_path):
    torch.save({name: value.to(dtype) for name, value in state.items()}, tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth")
    assert {value.dtype for value in loaded.state_dict.values()} == {torch.float32}
    name = str(dtype).removeprefix("torch.")
    assert any(f"{len(state)} of {len(state)} tensors converted from {name}" in note for note in loaded.notes)


def test_the_state_dict_is_independent_of_the_file(state, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(state, path)
    loaded = load_checkpoint(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded.state_dict["head.weight"], state["head.weight"])


def test_training_arguments_in_a_dict_or_namespace_are_used(state, tmp_path):
    for arguments in ({"input_size": 39}, argparse.Namespace(input_size=39, opt_betas=(0.9, 0.99))):
        torch.save({"model": state, "args": arguments}, tmp_path / "w.pth")
        assert load_checkpoint(tmp_path / "w.pth").config.image_size == (39, 39)


def test_the_metadata_is_plain_json(small_model, tmp_path):
    save_checkpoint(small_model, tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["vim_deploy.config"]) == SMALL.to_dict()
