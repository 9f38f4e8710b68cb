"""Any other network, built by a function that the user names."""

from __future__ import annotations

from typing import Any, NoReturn

from vim_deploy.errors import ConfigError
from vim_deploy.families.family import FACTORY, Family


def _no_file(values: dict[str, Any]) -> NoReturn:
    raise ConfigError(
        "a network from a factory has no configuration file; give its options in --factory-args."
    )


FAMILY = Family(
    name=FACTORY,
    kind="classifier",
    model="vim_deploy.families.factory_network:ImageNetwork",
    load="vim_deploy.families.factory_network:open_factory",
    open="vim_deploy.families.factory_network:open_factory",
    parse_config=_no_file,
    presets={},
    name_of=lambda config: config.name,
)
