"""The environment of all tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from shared_files import FOLDER_VARIABLE

# Tests import onnxruntime themselves; vim_deploy turns off its telemetry when it is imported first.
import vim_deploy  # noqa: F401

# A background job of a shell ignores these signals, and so would the processes that tests start.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        if "VIM_DEPLOY_CACHE" not in os.environ:
            patch.setenv("VIM_DEPLOY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def files_of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The folder of shared_files.py, the same for all processes of pytest-xdist."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / "shared-files"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        yield


@pytest.fixture(scope="module")
def mamba_functions() -> Iterator[None]:
    """Networks of the tests can import mamba_ssm, whose functions are vim_deploy's."""
    from vim_deploy.integrations.mamba_ssm import install

    with install():
        yield
