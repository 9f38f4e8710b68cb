"""Properties of the model: errors, precision, training, export, imports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from golden_data import assert_close
from torch import Tensor

from vim_deploy.errors import ConfigError
from vim_deploy.model import VisionMamba, create_model, fill_synthetic
from vim_deploy.ops import use_scan

SMALL = {"image_size": (32, 48), "depth": 2, "embed_dim": 32, "num_classes": 7}
FORMS = {
    "middle": {},
    "double": {"class_token": "double"},
    "maximum": {"class_token": "none", "pooling": "max"},
    "paired": {"directions": "forward", "paired": True, "rms_norm": False},
    "shared": {"directions": "shared", "layer_scale": True},
    "rotary": {"class_token": "none", "rope": True, "rope_residual": True, "image_size": 64},
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def small_model(**changes: Any) -> VisionMamba:
    model = create_model("vim_tiny", **{**SMALL, **changes}).eval()
    fill_synthetic(model)
    return model


def pixels_for(model: VisionMamba, batch: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(batch, model.config.channels, *model.config.image_size, generator=random)


@pytest.mark.parametrize("shape", [(1, 3, 48, 32), (1, 3, 33, 48), (1, 1, 32, 48), (3, 32, 48)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ConfigError, match=r"expected \(batch, channels, height, width\) with \(3, 32, 48\)"):
        small_model()(torch.zeros(shape))


def test_unknown_names_and_fields_are_refused():
    with pytest.raises(ConfigError, match="unknown model 'vim_huge'; expected one of vim_tiny"):
        create_model("vim_huge")
    with pytest.raises(ConfigError, match="unknown configuration fields"):
        create_model("vim_tiny", embed=32)


@torch.no_grad()
def test_without_classes_the_output_is_the_features():
    model = small_model(num_classes=0)
    pixels = pixels_for(model)
    assert not [name for name in model.state_dict() if name.startswith("head")]
    assert torch.equal(model(pixels), model.pool(model.forward_features(pixels)))


@torch.no_grad()
def test_images_of_a_batch_are_independent():
    model = small_model()
    pixels = pixels_for(model, batch=3)
    single = torch.cat([model(pixels[i : i + 1]) for i in range(3)])
    assert_close(model(pixels), single, 1e-5)


@torch.no_grad()
def test_empty_batch():
    assert small_model()(torch.zeros(0, 3, 32, 48)).shape == (0, 7)


# Rounding to 11 and 8 bits of precision in two blocks; the largest errors are 1.7e-3 and 1.9e-2.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
@each_form
@torch.no_grad()
def test_half_precision_keeps_the_residual_stream_in_float32(form, dtype, tolerance):
    model = small_model(**form)
    pixels = pixels_for(model)
    expected = model(pixels)
    half = small_model(**form).to(dtype)
    for hidden, residual in half.trace(pixels.to(dtype)):
        assert hidden.dtype == dtype
        assert residual.dtype == torch.float32
    logits = half(pixels.to(dtype))
    assert logits.dtype == dtype
    assert_close(logits.float(), expected, tolerance)


# As above with fewer rounded values; the largest errors are 1.0e-3 and 1.2e-2.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 3e-3), (torch.bfloat16, 3e-2)])
@each_form
@torch.no_grad()
def test_mixers_in_half_precision(form, dtype, tolerance):
    model = small_model(**form)
    pixels = pixels_for(model)
    expected = model(pixels)
    model.cast_weights(dtype)
    converted = {name for name, parameter in model.named_parameters() if parameter.dtype == dtype}
    assert "layers.0.mixer.in_proj.weight" in converted
    assert all(".mixer." in name for name in converted)
    assert not [
        name for name in converted if name.endswith(("A_log", "A_b_log", ".D", ".D_b", "dt_proj.bias"))
    ]
    logits = model(pixels)
    assert logits.dtype == torch.float32
    assert_close(logits, expected, tolerance)


@each_form
def test_gradients_of_all_parameters_equal_the_reference(form):
    model = small_model(**form).train()
    pixels = pixels_for(model)

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels), torch.tensor([1, 4])).backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    found = gradients()
    with use_scan("reference"):
        expected = gradients()
    for name, value in found.items():
        assert value.abs().max() > 0, name
        assert_close(value, expected[name], 1e-4)


@each_form
def test_outputs_of_initialized_models_are_finite_and_small(form):
    torch.manual_seed(0)
    model = create_model("vim_tiny", **{**SMALL, **form})
    logits = model(pixels_for(model))
    assert logits.isfinite().all()
    assert logits.std() < 1


@each_form
@torch.no_grad()
def test_torch_export_with_any_batch_size(form):
    model = small_model(**form)
    program = torch.export.export(
        model, (pixels_for(model),), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
    )
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    scans = {"forward": 1}.get(model.config.directions.value, 2) * model.config.depth
    assert targets.count("vim_deploy.selective_scan.default") == scans
    for batch in (1, 5):
        pixels = pixels_for(model, batch)
        torch.testing.assert_close(program.module()(pixels), model(pixels))


def test_configuration_and_names_do_not_import_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from vim_deploy.model import VimConfig, preset, variant_name\n"
        "import vim_deploy.ops\n"
        "from vim_deploy.ops.signature import CONTRACT_VERSION, OP_NAME\n"
        "assert variant_name(preset('vim_tiny')) == 'vim_tiny'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
