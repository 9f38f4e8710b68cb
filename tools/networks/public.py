"""The public networks, with seeded weights: factories for vim-export --factory."""

from __future__ import annotations

import warnings

import torch
import torchvision_stub
from torch import nn

from vim_deploy.integrations.mamba_ssm import install
from vim_deploy.ops.mamba import selective_scan_fn


def mambavision(variant: str = "mamba_vision_T", seed: int = 0) -> nn.Module:
    """A MambaVision classifier for images of 224 x 224."""
    torchvision_stub.install()
    install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mambavision.models import mamba_vision

    torch.manual_seed(seed)
    network: nn.Module = getattr(mamba_vision, variant)()
    return network.eval()


def mamba_language_model(seed: int = 0) -> nn.Module:
    """The prefill of a small Mamba of transformers, whose scan is our function: tokens to logits."""
    from transformers import MambaConfig, MambaForCausalLM
    from transformers.models.mamba import modeling_mamba

    def scan(*arguments, use_mambapy=False, use_associative_scan=False, **keywords):  # type: ignore[no-untyped-def]
        return selective_scan_fn(*arguments, **keywords)

    modeling_mamba.mamba_selective_scan = scan
    torch.manual_seed(seed)
    config = MambaConfig(
        vocab_size=200, hidden_size=64, state_size=16, num_hidden_layers=3, use_cache=False, return_dict=False
    )
    return _Prefill(MambaForCausalLM(config)).eval()


class _Prefill(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=tokens, use_cache=False, return_dict=False)[0]
        return logits
