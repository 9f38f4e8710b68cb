"""Runs the checks that need a GPU; each step writes its results before the next one starts.

    python tools/gpu_check/run.py --out RESULTS --call kernels|pytorch|tensorrt|networks|onnxruntime
    python tools/gpu_check/run.py --out RESULTS --steps numerics,speed

README.md in this folder lists the calls in order, their requirements and durations. If a step fails or times
out, the others run nevertheless, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCAN, FUSED, TESTS = (ROOT / "plugins" / name for name in ("selective_scan", "fused", "tests"))
HERE = Path(__file__).resolve().parent
TYPES = ("float32", "float16", "bfloat16")
KERNELS = ("scan_cuda.cu", "scan_cuda_plan.cpp", *(f"scan_cuda_{name}.cu" for name in TYPES))
FUSED_KERNELS = ("pair_cuda.cu", "pair_cuda_plan.cpp", *(f"pair_cuda_{name}.cu" for name in TYPES))
BASELINE = HERE / "scan_baseline.cu"
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
TOLERANCES = {"fp32": "1e-3", "fp16": "2e-2"}  # of logits, relative to the largest one

Commands = list[list[str]]


@dataclass(frozen=True)
class Step:
    """The commands of a step, and its timeout in seconds."""

    commands: Callable[[argparse.Namespace], Commands]
    seconds: int


def compiled(options: argparse.Namespace, name: str, *flags: str) -> str:
    """Builds one of the programs for this machine's GPU if needed; returns the path of the binary."""
    binary = options.work / name
    if not binary.exists():
        source = HERE / f"{name.removesuffix('.so')}.cu"
        sources = [source, BASELINE, TESTS / "scan_oracle.cpp", *(SCAN / kernel for kernel in KERNELS)]
        sources += [FUSED / kernel for kernel in FUSED_KERNELS]
        target = ["-std=c++17", "-O3", "-lineinfo", f"-arch={options.arch}", "-t", "0", *flags]
        include = [f"-I{folder}" for folder in (SCAN, FUSED, TESTS, HERE)]
        subprocess.run(["nvcc", *target, *include, *map(str, sources), "-o", str(binary)], check=True)
    return str(binary)


def script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / f"{name}.py"), *map(str, arguments)]


def command(name: str, *arguments: object) -> list[str]:
    """One of the project's commands, from the checkout."""
    code = f"from vim_deploy.cli.{name.removeprefix('vim-')} import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def numerics(options: argparse.Namespace) -> Commands:
    return [[compiled(options, "scan_numerics")]]


def pairs(options: argparse.Namespace) -> Commands:
    return [[compiled(options, "pair_check")]]


def sanitizer(options: argparse.Namespace) -> Commands:
    programs = [compiled(options, name) for name in ("scan_numerics", "pair_check")]
    return [
        ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", program, "small"]
        for tool in SANITIZER_TOOLS
        for program in programs
    ]


def speed(options: argparse.Namespace) -> Commands:
    return [[compiled(options, "scan_speed")]]


def compare(options: argparse.Namespace) -> Commands:
    return [[compiled(options, "scan_compare")]]


def plans(options: argparse.Namespace) -> Commands:
    return [[compiled(options, "scan_speed"), "plans"]]


def eager(options: argparse.Namespace) -> Commands:
    return [script("eager", compiled(options, "gpu_library.so", "-shared", "-Xcompiler", "-fPIC"))]


def prepare(options: argparse.Namespace) -> Commands:
    images = ["--images", options.images] if options.images else []
    return [script("prepare", options.files, *images)]


def node(options: argparse.Namespace) -> Commands:
    return [script("one_node", options.plugin, options.out / "node.json")]


def engines(options: argparse.Namespace) -> Commands:
    return _engines(options, "tensorrt", "--layers")


def onnxruntime(options: argparse.Namespace) -> Commands:
    return [command("vim-doctor"), *_engines(options, "onnxruntime")]


def _engines(options: argparse.Namespace, backend: str, layers: str = "") -> Commands:
    """Builds and runs Vim-Ti in both precisions, and compares its logits with the eager model's."""
    commands = []
    for precision, tolerance in TOLERANCES.items():
        name = f"{backend}_{precision}"
        model, engine = options.files / f"vim_tiny_{precision}_224.onnx", options.work / f"{name}.engine"
        more = [layers, options.out / f"{name}.layers.json"] if layers else []
        commands.append(
            command("vim-build", model, "--backend", backend, "--device", "cuda", "-o", engine, *more)
        )
        if options.images:
            rows = options.out / f"{name}.csv"
            commands.append(command("vim-infer", engine, options.images, "-o", rows, "--restart"))
        commands.append(script("engine_parity", engine, options.files / "eager_224.npz", tolerance))
    return commands


def networks(options: argparse.Namespace) -> Commands:
    return [script("networks", options.files, "--sizes", options.sizes, "--builder-level", 2)]


STEPS = {
    "numerics": Step(numerics, 150),
    "pairs": Step(pairs, 100),
    "sanitizer": Step(sanitizer, 150),
    "compare": Step(compare, 60),
    "speed": Step(speed, 60),
    "plans": Step(plans, 60),
    "eager": Step(eager, 200),
    "prepare": Step(prepare, 380),
    "node": Step(node, 120),
    "engines": Step(engines, 420),
    "networks": Step(networks, 540),
    "onnxruntime": Step(onnxruntime, 300),
}
CALLS = {
    "kernels": ("numerics", "pairs", "compare", "speed", "sanitizer", "plans"),
    "pytorch": ("eager", "prepare"),
    "tensorrt": ("node", "engines"),
    "networks": ("networks",),
    "onnxruntime": ("onnxruntime",),
}


def run_step(name: str, options: argparse.Namespace) -> bool:
    """Runs a step's commands with output to `NAME.log`; false if one fails or times out."""
    log = options.out / f"{name}.log"
    started = time.monotonic()
    passed = True
    with log.open("w") as file:
        try:
            for arguments in STEPS[name].commands(options):
                print("+", *arguments, file=file, flush=True)
                left = max(1.0, started + STEPS[name].seconds - time.monotonic())
                done = subprocess.run(
                    arguments,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env=_environment(options),
                    timeout=left,
                )
                passed &= done.returncode == 0
                print(f"exit status {done.returncode}", file=file, flush=True)
        except (OSError, subprocess.SubprocessError) as problem:
            print(problem, file=file)
            passed = False
    seconds = round(time.monotonic() - started, 1)
    _collect(log, options.out / "results.jsonl")
    result = json.dumps({"step": name, "passed": passed, "seconds": seconds, "log": log.name})
    with (options.out / "results.jsonl").open("a") as file:
        print(result, file=file)
    print(result, flush=True)
    return passed


def _environment(options: argparse.Namespace) -> dict[str, str]:
    """The environment for the project's commands, with the selected plugin."""
    plugin = {"VIM_DEPLOY_TRT_LIBRARY": str(options.plugin)} if options.plugin.is_file() else {}
    return {**os.environ, **plugin}


def _collect(log: Path, results: Path) -> None:
    """Appends the results of a step, which are lines of JSON in its log, to results.jsonl."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith('{"step"')]
    with results.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for logs and results")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build/gpu_check", help="folder for build outputs"
    )
    parser.add_argument("--files", type=Path, help="folder of prepare's files  [default: --work]")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--call", choices=CALLS, help="group of steps to run")
    chosen.add_argument("--steps", help=f"single steps: {', '.join(STEPS)}")
    parser.add_argument("--plugin", type=Path, default=ROOT / "build/lib/libvim_deploy_trt.so")
    parser.add_argument("--images", type=Path, help="folder of images for the engines")
    parser.add_argument(
        "--sizes", default="224,1248,768,512,1024", help="image sides of `networks`, in this order"
    )
    parser.add_argument("--arch", default="native", help="nvcc's -arch")
    options = parser.parse_args(arguments)
    options.names = list(CALLS[options.call]) if options.call else options.steps.split(",")
    options.out, options.work = options.out.resolve(), options.work.resolve()
    options.files = (options.files or options.work).resolve()
    options.plugin = options.plugin.resolve()
    options.images = options.images and options.images.resolve()
    unknown = [name for name in options.names if name not in STEPS]
    if unknown:
        parser.error(f"unknown steps: {', '.join(unknown)}; expected some of {', '.join(STEPS)}")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.names != ["prepare"] and shutil.which("nvidia-smi") is None:
        print(
            "nvidia-smi is not on PATH, so there seems to be no NVIDIA GPU; nothing was run",
            file=sys.stderr,
        )
        return 2
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("nvidia-smi"):
        with (options.out / "machine.txt").open("w") as file:
            subprocess.run(["nvidia-smi"], stdout=file, stderr=subprocess.STDOUT, check=False)
    results = [run_step(name, options) for name in options.names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
