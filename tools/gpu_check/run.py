"""The GPU proof, most valuable step first, each leaving its result in a file before the next begins.

    python tools/gpu_check/run.py --out RESULTS [--steps numerics,sanitizer,...] [--plugin LIBRARY]

numerics, sanitizer, speed, plans: need nvcc and a GPU. node: TensorRT's Python package and the plugin.
engines: the commands vim-export, vim-build and vim-infer as well, and a folder of images (--images).
A step that fails does not stop the others; the exit status is 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCAN, TESTS, HERE = ROOT / "plugins/selective_scan", ROOT / "plugins/tests", Path(__file__).resolve().parent
TYPES = ("float32", "float16", "bfloat16")
KERNELS = ("scan_cuda.cu", "scan_cuda_plan.cpp", *(f"scan_cuda_{name}.cu" for name in TYPES))
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")

Step = Callable[[argparse.Namespace], list[list[str]]]


def program(options: argparse.Namespace, name: str) -> str:
    """Builds one of the programs for this machine's GPU, once; the path of its binary."""
    binary = options.out / name
    if not binary.exists():
        sources = [HERE / f"{name}.cu", TESTS / "scan_oracle.cpp", *(SCAN / source for source in KERNELS)]
        flags = ["-std=c++17", "-O3", "-lineinfo", f"-arch={options.arch}", "-t", "0"]
        include = [f"-I{SCAN}", f"-I{TESTS}"]
        subprocess.run(["nvcc", *flags, *include, *map(str, sources), "-o", str(binary)], check=True)
    return str(binary)


def numerics(options: argparse.Namespace) -> list[list[str]]:
    return [[program(options, "scan_numerics")]]


def sanitizer(options: argparse.Namespace) -> list[list[str]]:
    checked = program(options, "scan_numerics")
    return [
        ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", checked, "small"]
        for tool in SANITIZER_TOOLS
    ]


def speed(options: argparse.Namespace) -> list[list[str]]:
    return [[program(options, "scan_speed")]]


def plans(options: argparse.Namespace) -> list[list[str]]:
    return [[program(options, "scan_speed"), "plans"]]


def node(options: argparse.Namespace) -> list[list[str]]:
    result = str(options.out / "node.json")
    return [[sys.executable, str(HERE / "one_node.py"), str(options.plugin), result]]


def engines(options: argparse.Namespace) -> list[list[str]]:
    """Vim-Ti in both precisions, from generated weights to predictions; logits against the fp32 ONNX file."""
    commands = []
    reference = str(options.out / "vim_tiny_fp32.onnx")
    for precision, tolerance in (("fp32", "1e-3"), ("fp16", "2e-2")):
        stem = options.out / f"vim_tiny_{precision}"
        model, engine, rows = f"{stem}.onnx", f"{stem}.engine", f"{stem}.csv"
        commands += [
            ["vim-export", "vim_tiny", "--image-size", "224", "--precision", precision, "-o", model],
            ["vim-build", model, "--backend", "tensorrt", "-o", engine],
            ["vim-infer", engine, str(options.images), "-o", rows],
            [sys.executable, str(HERE / "engine_parity.py"), engine, reference, tolerance],
        ]
    return commands


STEPS: dict[str, Step] = {
    "numerics": numerics,
    "sanitizer": sanitizer,
    "speed": speed,
    "plans": plans,
    "node": node,
    "engines": engines,
}


def run_step(name: str, options: argparse.Namespace) -> bool:
    """Runs a step's commands into `NAME.log`; false where one fails or cannot be started."""
    log = options.out / f"{name}.log"
    begin = time.monotonic()
    passed = True
    with log.open("w") as file:
        try:
            for command in STEPS[name](options):
                print("+", *command, file=file, flush=True)
                done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
                passed &= done.returncode == 0
                print(f"exit status {done.returncode}", file=file, flush=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            print(problem, file=file)
            passed = False
    seconds = round(time.monotonic() - begin, 1)
    print(json.dumps({"step": name, "passed": passed, "seconds": seconds, "log": str(log)}), flush=True)
    return passed


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for programs, logs and results")
    parser.add_argument("--steps", default=",".join(STEPS), help="which, in which order")
    parser.add_argument("--plugin", type=Path, default=ROOT / "build/lib/libvim_deploy_trt.so")
    parser.add_argument("--images", type=Path, help="folder of images for the step `engines`")
    parser.add_argument("--arch", default="native", help="nvcc's -arch")
    options = parser.parse_args(arguments)
    options.names = options.steps.split(",")
    unknown = [name for name in options.names if name not in STEPS]
    if unknown:
        parser.error(f"unknown steps: {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if "engines" in options.names and options.images is None:
        parser.error("the step `engines` needs --images")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if shutil.which("nvidia-smi") is None:
        print(
            "no nvidia-smi on PATH: this machine seems to have no NVIDIA GPU; nothing was run",
            file=sys.stderr,
        )
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "machine.txt").open("w") as file:
        subprocess.run(["nvidia-smi"], stdout=file, stderr=subprocess.STDOUT, check=False)
    results = [run_step(name, options) for name in options.names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
