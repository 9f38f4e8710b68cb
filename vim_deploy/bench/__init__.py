"""Measuring: one process per measurement, honest memory, ratios within one run. Linux only.

`worker.py` runs in the measured process, `process.py` is its other end; openers (see worker.py) say what is
measured. `vim-bench` and `benchmarks/` are built on these.
"""
