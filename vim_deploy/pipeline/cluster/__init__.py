"""Runs of vim-infer on a Ray cluster; docs/cluster.md describes them."""
