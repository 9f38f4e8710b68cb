"""The environment of all tests."""

import signal

# Tests import onnxruntime themselves; vim_deploy turns off its telemetry when it is imported first.
import vim_deploy  # noqa: F401

# A background job of a shell ignores these signals, and so would the processes that tests start.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
