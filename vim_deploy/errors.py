"""User errors. Commands print the message and exit with code 2; everything else is a bug with a traceback.

A message says what happened (with the value and the file), what was expected, and how to fix it.
"""


class VimDeployError(Exception):
    """Base class of all errors that the user can fix."""


class ConfigError(VimDeployError):
    """An invalid configuration of a model or a command."""


class CheckpointError(VimDeployError):
    """A checkpoint that cannot be read, is unsafe, or does not match the model."""


class OperatorLibraryError(VimDeployError):
    """The operator library is missing, does not load, or implements another version of the contract."""


class OperatorLibraryMissingError(OperatorLibraryError):
    """The operator library was not found."""


class ExportError(VimDeployError):
    """A model that cannot be exported, or an exported file that differs from it."""


class EngineError(VimDeployError):
    """An engine that cannot be built, opened or run."""


class ImageError(VimDeployError):
    """An image that cannot be read. In a run it becomes a row with the reason."""


class OutputError(VimDeployError):
    """Results that cannot be written."""


class MissingDependencyError(VimDeployError):
    """A missing optional package; the message names the extra that installs it."""
