"""Benchmarks of Vim against DeiT in all installed runtimes; see README.md."""
