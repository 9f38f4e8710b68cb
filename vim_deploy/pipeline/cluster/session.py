"""The connection to a Ray cluster, or a local cluster for one run."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from vim_deploy.errors import ConfigError, needs_extra
from vim_deploy.machine import usable_cpus
from vim_deploy.pipeline.options import ClusterOptions

_OBJECT_STORE = 512 << 20  # bytes; blocks are small
_CONNECT_SECONDS = 10.0
# Ray replaces 127.0.0.1 with the address of the machine in its network.
_LOOPBACK = "127.0.0.2"


@contextlib.contextmanager
def ray_session(options: ClusterOptions) -> Iterator[Any]:
    """The module `ray`, connected. A local cluster uses the loopback interface only and ends with the block.

    Raises MissingDependencyError, and ConfigError if there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters raises an exception
    # A signal must not end Ray before the rows are saved, and Ray replaces handlers when it starts.
    with needs_extra("ray"), _own_signals():
        import ray
        import ray.data

        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        connected = ray.is_initialized()
        if not connected:
            _connect(ray, options)
    try:
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def _connect(ray: Any, options: ClusterOptions) -> None:
    if options.address is not None:
        _check_server(options.address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if options.address is None:
        settings |= {
            "num_cpus": usable_cpus(),
            "object_store_memory": _OBJECT_STORE,
            "include_dashboard": False,
            "_node_ip_address": _LOOPBACK,
        }
    elif options.address.startswith("127."):
        settings["_node_ip_address"] = options.address.partition(":")[0]
    try:
        ray.init(options.address or "local", **settings)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "a local Ray cluster cannot be started"
        if options.address is not None:
            where = f"the Ray cluster at {options.address} cannot be reached"
        raise ConfigError(f"{where}: {_first_line(error)}. Check `ray status`.") from None


def _check_server(address: str) -> None:
    """Ray itself tries for minutes. Raises ConfigError if nothing listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        return  # another form, such as auto
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"the Ray cluster at {address} cannot be reached: {error}. Check `ray status`."
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps the handlers of signals as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
