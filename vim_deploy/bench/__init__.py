"""Benchmarking: latency and memory, each measurement in its own process. Linux only.

`worker.py` runs in the measured process, `process.py` in its parent; openers (see worker.py) define what is
measured. `vim-bench` and `benchmarks/` use these modules.
"""
