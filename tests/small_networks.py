"""Small networks in the forms of public ones that use a selective scan, with seeded weights.

They import mamba_ssm like public code: call `vim_deploy.integrations.mamba_ssm.install` first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

STATE, RANK = 4, 3


def _decay(channels: int) -> nn.Parameter:
    return nn.Parameter(torch.arange(1.0, STATE + 1).log().repeat(channels, 1))


class HybridMixer(nn.Module):
    """Half of the channels are scanned without a gate, the others only convolved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        self.scan = selective_scan_fn
        self.in_proj = nn.Linear(width, width)
        half = width // 2
        self.conv_x, self.conv_z = (nn.Conv1d(half, half, 3, padding=1, groups=half) for _ in range(2))
        self.x_proj = nn.Linear(half, RANK + 2 * STATE, bias=False)
        self.dt_proj = nn.Linear(RANK, half)
        self.A_log, self.D = _decay(half), nn.Parameter(torch.ones(half))
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        x, z = self.in_proj(tokens).transpose(1, 2).chunk(2, dim=1)
        x, z = F.silu(self.conv_x(x)), F.silu(self.conv_z(z))
        dt, B, C = self.x_proj(x.transpose(1, 2)).split([RANK, STATE, STATE], dim=-1)
        delta = (dt @ self.dt_proj.weight.T).transpose(1, 2)
        y = self.scan(
            x, delta, -self.A_log.exp(), B.transpose(1, 2), C.transpose(1, 2), self.D.float(), z=None,
            delta_bias=self.dt_proj.bias.float(), delta_softplus=True, return_last_state=None,
        )  # fmt: skip
        return self.out_proj(torch.cat([y, z], dim=1).transpose(1, 2))


class CrossScan(nn.Module):
    """Four directions over a feature map in one scan with four groups."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        self.scan = selective_scan_fn
        self.x_proj = nn.Parameter(torch.randn(4, RANK + 2 * STATE, width) * width**-0.5)
        self.dt_proj = nn.Parameter(torch.randn(4, width, RANK) * RANK**-0.5)
        self.dt_bias = nn.Parameter(torch.randn(4, width) - 3)
        self.A_log, self.D = _decay(4 * width), nn.Parameter(torch.ones(4 * width))
        self.norm = nn.LayerNorm(width)

    def forward(self, feature_map: Tensor) -> Tensor:
        width, height, columns = feature_map.shape[1:]
        rows = feature_map.flatten(2)
        both = torch.stack([rows, feature_map.transpose(2, 3).flatten(2)], dim=1)
        x = torch.cat([both, both.flip(-1)], dim=1)
        projected = torch.einsum("bkdl,kcd->bkcl", x, self.x_proj)
        dt, B, C = projected.split([RANK, STATE, STATE], dim=2)
        delta = torch.einsum("bkrl,kdr->bkdl", dt, self.dt_proj)
        y = self.scan(
            x.flatten(1, 2), delta.flatten(1, 2), -self.A_log.float().exp(), B, C, self.D,
            delta_bias=self.dt_bias.flatten(), delta_softplus=True,
        ).unflatten(1, (4, width))  # fmt: skip
        ahead = y[:, :2] + y[:, 2:].flip(-1)
        turned = ahead[:, 1].unflatten(-1, (columns, height)).transpose(2, 3).flatten(2)
        merged = self.norm((ahead[:, 0] + turned).transpose(1, 2))
        return merged.transpose(1, 2).unflatten(2, (height, columns))


class Classifier(nn.Module):
    """A patch embedding, a cross scan on the map and a hybrid mixer on the tokens."""

    default_cfg = {  # noqa: RUF012
        "input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "crop_pct": 1.0
    }  # fmt: skip

    def __init__(self, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, stride=8)
        self.cross = CrossScan(width)
        self.mixer = HybridMixer(width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, classes)

    def forward_features(self, pixels: Tensor) -> Tensor:
        features = self.patch(pixels)
        tokens = (features + self.cross(features)).flatten(2).transpose(1, 2)
        return self.norm((tokens + self.mixer(tokens)).mean(1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.forward_features(pixels))


def classifier(classes: int = 5, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(classes).eval()


class DeepClassifier(nn.Module):
    """A list of blocks with a residual each, and a module that is called twice."""

    default_cfg = Classifier.default_cfg

    def __init__(self, depth: int = 3, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, stride=8)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(HybridMixer(width) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.norm(self.norm(self.patch(pixels).flatten(2).transpose(1, 2)))
        for block in self.blocks:
            tokens = tokens + block(tokens)
        return self.head(tokens.mean(1))


def deep_classifier(seed: int = 0) -> DeepClassifier:
    torch.manual_seed(seed)
    return DeepClassifier().eval()


class LanguageModel(nn.Module):
    """The prefill of a causal language model: gated mixers, tokens and a mask in, logits and a vector out."""

    def __init__(self, words: int = 11, width: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.layers = nn.ModuleList(_GatedMixer(width) for _ in range(layers))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embedding(tokens) * mask[..., None]
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x), x.mean(1)


class _GatedMixer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn
        from mamba_ssm.ops.triton.layer_norm import RMSNorm

        self.inner, channels = mamba_inner_fn, 2 * width
        self.norm = RMSNorm(width)
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv = nn.Conv1d(channels, channels, 4, groups=channels)
        self.x_proj = nn.Linear(channels, RANK + 2 * STATE, bias=False)
        self.dt_proj = nn.Linear(RANK, channels)
        self.out_proj = nn.Linear(channels, width, bias=False)
        self.A_log, self.D = _decay(channels), nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        xz = self.in_proj(self.norm(x)).transpose(1, 2)
        return self.inner(
            xz, self.conv.weight, self.conv.bias, self.x_proj.weight, self.dt_proj.weight,
            self.out_proj.weight, None,
            -self.A_log.exp(), None, None, self.D, delta_bias=self.dt_proj.bias, delta_softplus=True,
        )  # fmt: skip


def language_model(seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel().eval()
