"""Creates the handler of an engine's task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vim_deploy.errors import EngineError
from vim_deploy.registry import load_object
from vim_deploy.tasks.base import Network, TaskHandler
from vim_deploy.tasks.options import task_options
from vim_deploy.tasks.registry import TASKS
from vim_deploy.text import plural

_IMAGE_CHANNELS = (1, 3)


def open_task(network: Network, given: Mapping[str, Any], inputs: Sequence[str] = ()) -> TaskHandler:
    """The handler for `network` with the `given` task options.

    `inputs` are the files and folders of the run; the files written for an image are named relative to them.
    Raises EngineError, ConfigError or OutputError for options that do not fit the network.
    """
    spec = TASKS.get(network.metadata.task)
    options = task_options(spec, given, network.path)
    if not spec.arrays and (channels := network.metadata.preprocessing.channels) not in _IMAGE_CHANNELS:
        raise EngineError(
            f"the model takes {plural(channels, 'channel')}, but images have 1 or 3; prepare the pixels "
            "yourself and call Model.run(pixels)."
        )
    handler: TaskHandler = load_object(spec.handler)(network, options, inputs)
    return handler
