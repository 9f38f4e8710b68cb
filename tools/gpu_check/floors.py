"""Lower bounds for the time of a selective scan: bytes, special functions and shared memory over their rates.

python tools/gpu_check/floors.py    prints the table of docs/cuda-kernel.md
"""

from __future__ import annotations

from typing import NamedTuple


class Gpu(NamedTuple):
    """A GPU's limits according to its data sheet; tools/gpu_check measures them."""

    name: str
    multiprocessors: int
    clock: float  # per second, the highest
    bandwidth: float  # bytes per second

    @property
    def special_rate(self) -> float:
        """Special functions per second: 16 per cycle and multiprocessor."""
        return 16 * self.multiprocessors * self.clock


# Cycles per element and multiprocessor on the shared-memory pipe, for a state of 16: counted by
# tools/machine_code in the tuned kernel. Unlike the other two, this bound depends on the kernel.
SHARED_CYCLES = 0.98

H200 = Gpu("H200", 132, 1.98e9, 4.8e12)


class Floors(NamedTuple):
    """Seconds for one direction."""

    memory: float
    special: float
    shared: float


def floors(gpu: Gpu, batch: int, length: int, channels: int, state: int, element_bytes: int) -> Floors:
    """u, delta, z in and y out, B and C in, each once; per element `state` decays, one power for softplus,
    and a power and a reciprocal for silu."""
    rows = batch * length
    moved = rows * (4 * channels + 2 * state) * element_bytes
    elements = rows * channels
    shared = elements * SHARED_CYCLES * state / 16 / (gpu.multiprocessors * gpu.clock)
    return Floors(moved / gpu.bandwidth, elements * (state + 3) / gpu.special_rate, shared)


def main() -> None:
    print("| batch | length | channels | bytes, fp16 | special functions | shared memory | bytes, fp32 |")
    print("|---|---|---|---|---|---|---|")
    for batch in (1, 8, 64):
        for length in (197, 730, 6085):
            for channels in (384, 768, 1536):
                half = floors(H200, batch, length, channels, 16, 2)
                full = floors(H200, batch, length, channels, 16, 4)
                times = (half.memory, half.special, half.shared, full.memory)
                cells = " | ".join(f"{time * 1e6:.1f} µs" for time in times)
                print(f"| {batch} | {length} | {channels} | {cells} |")


if __name__ == "__main__":
    main()
