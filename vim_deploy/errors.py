"""Errors that are the user's to mend: commands print them and exit with 2.

Every message says what happened (with the value and the file), what was
expected, and what to do.
"""


class VimDeployError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(VimDeployError):
    """A model configuration that does not describe a Vision Mamba."""


class CheckpointError(VimDeployError):
    """A checkpoint that cannot be read, is unsafe, or does not fit the model."""


class OperatorLibraryError(VimDeployError):
    """The operator library is missing, does not load, or has another contract version."""


class OperatorLibraryMissingError(OperatorLibraryError):
    """The operator library is nowhere that it is looked for."""


class ExportError(VimDeployError):
    """A model that cannot be exported, or an exported file that disagrees with it."""


class EngineError(VimDeployError):
    """An engine that cannot be built, opened or run."""


class ImageError(VimDeployError):
    """An image that cannot be read; becomes a row in the result, never a crash."""


class OutputError(VimDeployError):
    """Results that cannot be written where or as asked."""


class MissingDependencyError(VimDeployError):
    """An optional package is needed; the message says which extra brings it."""
