"""Makes an arm64 root file system with Python and ONNX Runtime: `python tools/arm/root.py FOLDER`.

FOLDER gets `root` (packages of Debian 12, not configured), `site` (wheels for aarch64) and the command
`python`, which runs the root's Python in qemu, as do the processes that it starts with `sys.executable`.
The environment variable QEMU_CPU selects the CPU. debootstrap must be run as the user root.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE, PYTHON = "bookworm", "3.11"
PROGRAMS = {
    "debootstrap": "debootstrap",
    "dpkg": "dpkg",
    "qemu-aarch64-static": "qemu-user-static",
}
# 1.31.1 ends with a segmentation fault when it is imported in qemu 7.2.
ONNXRUNTIME = "onnxruntime==1.27.0"
PACKAGES = ("numpy", "onnx", "pillow", "click", "rich", "safetensors", "pytest")
WHEEL_TAGS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64")

WRAPPER = """#!/bin/sh
# Processes that Python starts run this file natively, which starts the emulator again.
export QEMU_LD_PREFIX='{root}'
export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{site}"
exec qemu-aarch64-static -0 "$0" '{root}/usr/bin/python{version}' "$@"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if missing:
        print(f"missing: {', '.join(missing)}; run `apt-get install {' '.join(missing)}`", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    root, site = folder / "root", folder / "site"
    for old in (root, site):
        shutil.rmtree(old, ignore_errors=True)
    unpack_debian(root)
    install_wheels(site)
    wrapper = root / "usr" / "bin" / "emulated-python"  # in the root, where Python finds its library
    wrapper.write_text(WRAPPER.format(root=root, site=site, version=PYTHON))
    wrapper.chmod(0o755)
    link = folder / "python"
    link.unlink(missing_ok=True)
    link.symlink_to(wrapper)
    return subprocess.run([wrapper, "-c", "import onnxruntime"], check=False).returncode


def unpack_debian(root: Path) -> None:
    """Download and unpack packages; their scripts would need the emulator in the kernel (binfmt_misc)."""
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", "--foreign", "--include=python3"]
    subprocess.run([*command, SUITE, root], check=True)
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, root], check=True)


def install_wheels(site: Path) -> None:
    pinned = (REPOSITORY / "constraints.txt").read_text()
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)", pinned, re.MULTILINE))
    wanted = [f"{name}=={versions[name]}" if name in versions else name for name in PACKAGES]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        site,
    ]
    command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON]
    command += [part for tag in WHEEL_TAGS for part in ("--platform", tag)]
    subprocess.run([*command, ONNXRUNTIME, *wanted], check=True)


if __name__ == "__main__":
    sys.exit(main())
