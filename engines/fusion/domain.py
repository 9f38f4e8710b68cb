"""The fused operators that CPUs and GPUs have; see plugins/fused/README.md."""

from __future__ import annotations

from dataclasses import dataclass

FUSED_DOMAIN = "vim_deploy.fused"
FUSED_VERSION = 6

SCAN_PAIR, CONV_PAIR = "ScanPair", "CausalConvPair"
# The indices of the inputs in the file's precision; the others are float32.
TYPED_INPUTS = {SCAN_PAIR: (0, 1, 2, 7, 8), CONV_PAIR: (0,)}
INPUT_COUNTS = {SCAN_PAIR: 13, CONV_PAIR: 5}
ATTRIBUTES = {SCAN_PAIR: ("delta_softplus", "average_directions"), CONV_PAIR: ()}


@dataclass(frozen=True)
class Limits:
    """The largest sizes of a mixer that is fused."""

    state: int
    rank: int
    width: int


# kPairMaxState, kPairMaxRank and kConvMaxWidth in pair_cuda.h.
GPU_LIMITS = Limits(state=16, rank=48, width=16)
