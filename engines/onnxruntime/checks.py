"""The checks of this backend for vim-doctor. Importing this module imports no other package."""

from __future__ import annotations

import os

from vim_deploy.errors import VimDeployError
from vim_deploy.finding import Check, Finding, not_found


def _onnxruntime() -> list[Finding]:
    from vim_deploy.engines.onnxruntime.providers import probe_provider
    from vim_deploy.engines.onnxruntime.session import CPU, CUDA, runtime

    try:
        onnxruntime = runtime()
    except VimDeployError as error:
        return [not_found("onnxruntime", str(error), 'pip install "vim-deploy[cpu]"', True)]
    version, built = onnxruntime.__version__, onnxruntime.get_available_providers()
    detail = f"{version}, built with {', '.join(built)}"
    findings = [Finding("onnxruntime", "ok", detail, required=True)]
    for provider in (CPU, CUDA):
        cpu = provider == CPU
        name = f"onnxruntime {provider}"
        if provider not in built:
            advice = 'for NVIDIA GPUs: uninstall onnxruntime, then `pip install "vim-deploy[gpu]"`'
            findings.append(not_found(name, "not included in this build", advice, cpu))
        elif reason := probe_provider(provider):
            advice = "install the CUDA and cuDNN libraries that this onnxruntime was built for"
            findings.append(Finding(name, "broken", reason, advice, cpu))
        else:
            findings.append(Finding(name, "ok", "runs a test graph", required=cpu))
    return findings


def _operator_library() -> list[Finding]:
    from vim_deploy.engines.onnxruntime.scan_check import scan_runs
    from vim_deploy.ops.library import load_library, ort_library

    name = "operator library"
    advice = "build it in a checkout: `cmake -S . -B build && cmake --build build`, or install the package"
    try:
        path = ort_library()
        load_library()
        if reason := scan_runs(path):
            return [Finding(name, "broken", reason, advice, True)]
    except VimDeployError as error:
        return [not_found(name, str(error), advice, True)]
    chosen = os.environ.get("VIM_DEPLOY_ISA")
    note = f", VIM_DEPLOY_ISA={chosen}" if chosen else ""
    return [Finding(name, "ok", f"{path}: registered, test scan is correct{note}", required=True)]


def _cuda_operator_library() -> list[Finding]:
    from vim_deploy.engines.onnxruntime.providers import probe_provider
    from vim_deploy.engines.onnxruntime.scan_check import scan_runs
    from vim_deploy.engines.onnxruntime.session import CPU, CUDA
    from vim_deploy.ops.library import ort_cuda_library

    name = "operator library for CUDA"
    advice = "only required for --backend onnxruntime --device cuda: install vim-deploy-cuda13"
    try:
        path = ort_cuda_library()
    except VimDeployError as error:
        return [not_found(name, str(error), advice)]
    if reason := probe_provider(CPU, path):
        return [Finding(name, "broken", reason, advice)]
    if probe_provider(CUDA):
        return [Finding(name, "ok", f"{path}: registered; not run, because {CUDA} does not work here")]
    if reason := scan_runs(path, CUDA):
        return [Finding(name, "broken", reason, advice)]
    return [Finding(name, "ok", f"{path}: registered, test scan is correct")]


CHECKS = {
    "onnxruntime": Check(_onnxruntime, "reinstall it: `pip install --force-reinstall onnxruntime`", True),
    "operator library": Check(_operator_library, "rebuild the library on this machine", True),
    "operator library for CUDA": Check(
        _cuda_operator_library, "rebuild the library, or remove it; only --device cuda needs it"
    ),
}
