"""Run by test_fake_driver.py: a driver without a device."""

from __future__ import annotations

import pytest

from vim_deploy.engines.tensorrt.driver import gpu
from vim_deploy.errors import EngineError


def test_a_driver_that_does_not_start_is_reported():
    with pytest.raises(EngineError, match=r"no GPU: the NVIDIA driver does not start \(error 100\)"):
        gpu()
