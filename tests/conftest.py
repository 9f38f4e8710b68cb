# Tests import onnxruntime themselves; vim_deploy turns off its telemetry when it is imported first.
import vim_deploy  # noqa: F401
