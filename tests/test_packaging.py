"""The packages: what is declared, what the build refuses, and the checks of the release.

`make test-wheels` builds and installs the wheels, see tools/wheels.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import tomllib
from wheels import release

from vim_deploy.package import CUDA_PACKAGE, VERSION

ROOT = Path(__file__).resolve().parent.parent
MAIN = tomllib.loads((ROOT / "pyproject.toml").read_text())
CUDA = tomllib.loads((ROOT / release.CUDA_PACKAGE / "pyproject.toml").read_text())


def configure(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    command = ["cmake", "-S", str(ROOT), "-B", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_other_systems_are_refused_with_what_is_missing(tmp_path, system):
    done = configure(tmp_path, f"-DCMAKE_SYSTEM_NAME={system}", "-DCMAKE_CXX_COMPILER=/bin/false")
    message = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert f"vim_deploy: {system} is not supported, only Linux is" in message
    assert "vector extensions of GCC and Clang" in message and "not .dylib or .dll" in message
    assert "/bin/false" not in message  # no compiler was searched for


def test_the_tensorrt_plugin_without_cuda_is_refused(tmp_path):
    done = configure(
        tmp_path, "-DVIM_DEPLOY_TRT=ON", "-DVIM_DEPLOY_CUDA=OFF", "-DTENSORRT_ROOT=/no/such/folder"
    )
    assert done.returncode != 0
    assert "VIM_DEPLOY_TRT=ON" in done.stderr


def test_the_versions_of_both_packages_are_that_of_the_code():
    assert MAIN["project"]["version"] == CUDA["project"]["version"] == VERSION
    assert CUDA["project"]["dependencies"] == [f"vim-deploy=={VERSION}"]


def test_gpu_libraries_are_in_the_package_of_their_own_and_otherwise_only_with_a_switch():
    assert MAIN["tool"]["scikit-build"]["cmake"]["define"] == {
        "VIM_DEPLOY_CUDA": "OFF",
        "VIM_DEPLOY_TRT": "OFF",
    }
    settings = CUDA["tool"]["scikit-build"]
    assert settings["install"]["components"] == ["cuda"]
    assert settings["wheel"]["packages"] == [CUDA_PACKAGE]
    assert (
        settings["cmake"]["define"]["VIM_DEPLOY_CUDA"]
        == settings["cmake"]["define"]["VIM_DEPLOY_TRT"]
        == "ON"
    )
    assert settings["cmake"]["define"]["VIM_DEPLOY_CUDA_DESTINATION"] == f"{CUDA_PACKAGE}/lib"


def test_classifiers_are_the_versions_that_wheels_are_tested_with():
    names = [item.rpartition(" ")[2] for item in MAIN["project"]["classifiers"] if "Python :: 3." in item]
    assert names == [f"3.{minor}" for minor in release.PYTHON_MINORS]
    assert MAIN["project"]["requires-python"] == f">={names[0]}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a-1-py3-none-manylinux_2_35_x86_64.whl", "needs glibc 2.35, and at most 2.28 is allowed"),
        ("a-1-py3-none-linux_x86_64.whl", "has no manylinux tag"),
        ("a-1-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl", "is not for x86_64"),
    ],
)
def test_wheels_that_do_not_install_anywhere_are_refused(name, message):
    with pytest.raises(release.BuildError, match=message):
        release.check_wheel(Path(name), "x86_64")


def test_only_tracked_files_are_released_and_changes_are_noticed(tmp_path):
    root, copy = tmp_path / "checkout", tmp_path / "copy"
    root.mkdir()
    with pytest.raises(release.BuildError, match="is not a git checkout"):
        release.tracked_files(root)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    (root / "folder").mkdir()
    for name in ("folder/kept", "deleted", "changed"):
        (root / name).write_text("first")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (root / "untracked").touch()
    assert not release.has_changes(root)
    (root / "changed").write_text("second")
    (root / "deleted").unlink()
    assert release.has_changes(root)
    release.copy_tracked(root, copy)
    assert {path.name for path in copy.rglob("*") if path.is_file()} == {"kept", "changed"}
    assert (copy / "changed").read_text() == "second"


def test_wheels_for_older_systems_are_accepted():
    release.check_wheel(Path("a-1-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"), "x86_64")
    release.check_wheel(Path("a-1-py3-none-manylinux_2_28_aarch64.whl"), "aarch64")


def test_a_missing_cross_compiler_is_reported_with_its_package(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", "/nowhere")
    assert release.cross_settings("x86_64") == {}
    with pytest.raises(release.BuildError, match="Debian: g\\+\\+-aarch64-linux-gnu"):
        release.cross_settings("aarch64")


def test_gpu_libraries_need_nvcc_and_the_headers_of_tensorrt(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(release.BuildError, match="nvcc is not on PATH"):
        release.cuda_settings(tmp_path)
    (tmp_path / "nvcc").touch(mode=0o755)
    with pytest.raises(release.BuildError, match="--tensorrt-root"):
        release.cuda_settings(None)
    assert release.cuda_settings(tmp_path) == {"cmake.define.TENSORRT_ROOT": str(tmp_path)}


def test_variables_that_change_the_build_are_removed(monkeypatch):
    for name in ("CXXFLAGS", "TENSORRT_ROOT", "CMAKE_ARGS", "SKBUILD_CMAKE_DEFINE", "LDFLAGS"):
        monkeypatch.setenv(name, "changed")
    monkeypatch.setattr(release, "commit_time", lambda root: "1700000000")
    variables = release.environment(ROOT)
    assert "changed" not in variables.values()
    assert variables["SOURCE_DATE_EPOCH"] == "1700000000"
