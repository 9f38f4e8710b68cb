"""Predicts the latency of Vim-Ti on GPUs from bytes, matmul FLOPs, counted instructions and launches.

python tools/gpu_check/predict.py    prints the tables of docs/cuda-kernel.md

Nothing here is measured. Rates are from data sheets; efficiencies and the time of a launch are assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, CHANNELS, STATE, RANK, BLOCKS = 192, 384, 16, 12, 24  # Vim-Ti
COLUMNS = RANK + 2 * STATE
ELEMENT = 2  # bytes in float16
MEMORY_EFFICIENCY, MATMUL_EFFICIENCY = 0.8, 0.4
PEAK_CLOCK = 0.9  # part of the highest clock that is held
# Cycles per element and multiprocessor of one direction: counted by tools/machine_code, the slowest pipe.
SCAN, PAIR = 1.19, 1.17
# The variant for few rows: the same, and cycles for a token and for a tile of a block that is alone.
FEW_SCAN, FEW_PAIR = 2.72, 4.05
TILE_CYCLES = 400  # staging and barriers, which nothing hides
OTHER_LAUNCHES = 8  # patch embedding, class token, position embedding, head


@dataclass(frozen=True)
class Gpu:
    """Limits according to data sheets; `launch`: seconds of the shortest kernel in a CUDA graph, assumed."""

    name: str
    multiprocessors: int
    clock: float
    bandwidth: float
    matmul: float  # float16 FLOPs per second, dense
    launch: float


GPUS = (
    Gpu("H200", 132, 1.98e9, 4.8e12, 989e12, 2.5e-6),
    Gpu("Jetson AGX Orin 64 GB", 16, 1.3e9, 204.8e9, 42.5e12, 6e-6),
)


def tokens(size: int) -> int:
    """With the class token, for patches of 16 pixels."""
    return (size // 16) ** 2 + 1


def kernel(gpu: Gpu, read_written: float, flops: float = 0.0, cycles: float = 0.0) -> float:
    """Seconds of one kernel: its slowest limit. `cycles`: on one multiprocessor, if all share the work."""
    return max(
        gpu.launch,
        read_written / (gpu.bandwidth * MEMORY_EFFICIENCY),
        flops / (gpu.matmul * MATMUL_EFFICIENCY),
        cycles / (gpu.multiprocessors * gpu.clock * PEAK_CLOCK),
    )


def matmul(gpu: Gpu, rows: int, depth: int, columns: int) -> float:
    moved = ELEMENT * (rows * (depth + columns) + depth * columns)
    return kernel(gpu, moved, flops=2.0 * rows * depth * columns)


def scan(gpu: Gpu, batch: int, length: int, *, fused: bool) -> float:
    """Both directions, in one launch or in two that follow one another.

    Few rows take the variant with a lane for each state, or chunks with a second launch.
    """
    cycles, few_cycles, launches = (PAIR, FEW_PAIR, 1) if fused else (SCAN, FEW_SCAN, 2)
    rows = batch * length
    # Fused: u twice, z and y, and the sums in float32 written and read. Otherwise four tensors twice.
    moved = 8.0 * ELEMENT * rows * CHANNELS + 2.0 * ELEMENT * rows * COLUMNS
    elements, clock = 2.0 * rows * CHANNELS, gpu.clock * PEAK_CLOCK
    full = kernel(gpu, moved, cycles=elements * cycles)
    if batch * CHANNELS / 64 >= 2 * gpu.multiprocessors:
        return full
    # A block has 8 channels, or 4 in both directions: one token after the other, and tiles of 16 tokens.
    alone = length * (1.3 * 8 * few_cycles + 8) / clock + length / 16 * TILE_CYCLES / clock
    shared = elements / launches * few_cycles / (gpu.multiprocessors * clock)
    chain = launches * (gpu.launch + max(alone, shared))
    chunked = 1.75 * full + 2 * launches * gpu.launch + launches * 32 * TILE_CYCLES / clock
    return min(chain, chunked)


def block(gpu: Gpu, batch: int, length: int, *, fused: bool) -> tuple[float, int]:
    """Seconds of a block, and its number of launches."""
    rows = batch * length
    wide, narrow = ELEMENT * rows * CHANNELS, ELEMENT * rows * WIDTH  # bytes of a tensor
    times = [
        kernel(gpu, 5 * narrow),  # sum with the residual stream, in float32, and mean of the squares
        kernel(gpu, 3 * narrow),  # normalization
        matmul(gpu, rows, WIDTH, 2 * CHANNELS),
        *(matmul(gpu, rows, CHANNELS, COLUMNS) for _ in range(2)),
        matmul(gpu, rows, CHANNELS, WIDTH),
    ]
    projections = 2.0 * ELEMENT * rows * COLUMNS
    if fused:
        # The convolutions compute 4 special functions for each element.
        times.append(kernel(gpu, 3 * wide, cycles=rows * CHANNELS * 0.25))
        times.append(scan(gpu, batch, length, fused=True))
        return sum(times), len(times)
    times += [kernel(gpu, 2 * wide)] * 2  # padding
    times += [kernel(gpu, 3 * wide)] * 2  # convolution and SiLU, if TensorRT makes one kernel of them
    times += [matmul(gpu, rows, RANK, CHANNELS) for _ in range(2)]
    times += [kernel(gpu, 2 * wide), kernel(gpu, projections), kernel(gpu, projections)]  # copies of slices
    times.append(scan(gpu, batch, length, fused=False))
    times.append(kernel(gpu, 3 * wide))  # sum and half
    return sum(times), len(times) + 1


def main() -> None:
    print("| GPU | size | batch | launches | latency | launches, `--no-fusion` | latency, `--no-fusion` |")
    print("|---|---|---|---|---|---|---|")
    for gpu in GPUS:
        for size in (224, 1248):
            for batch in (1, 64):
                cells = []
                for fused in (True, False):
                    seconds, launches = block(gpu, batch, tokens(size), fused=fused)
                    # The patch embedding reads the image and writes the tokens.
                    pixels = 4.0 * batch * 3 * size**2 + 8.0 * batch * tokens(size) * WIDTH
                    others = (OTHER_LAUNCHES - 1) * gpu.launch + kernel(gpu, pixels)
                    cells.append(f"{BLOCKS * launches + OTHER_LAUNCHES}")
                    cells.append(f"{(BLOCKS * seconds + others) * 1e3:.2f} ms")
                print(f"| {gpu.name} | {size} | {batch} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
