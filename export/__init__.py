"""Models to ONNX files. The package can also be called: `vim_deploy.export(...)`.

Importing any module of this package replaces the function `vim_deploy.export` by the package, as Python does
with every package that has the name of an attribute; so the package calls that function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from vim_deploy.registry import load_object


class _CallablePackage(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `vim_deploy.interface.convert.export`."""
        return load_object("vim_deploy.interface.convert:export")(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
