"""How the outputs of an earlier run of vim-validate are recognized."""

from __future__ import annotations

from vim_deploy.output_files import FileKind, containing

GENERATOR = "vim-validate"  # in the metadata of the page and of plots
PAGE_FILE = FileKind(
    "a report of vim-validate", containing(f'<meta name="generator" content="{GENERATOR}">'.encode())
)
PLOT_FILE = FileKind("a plot of vim-validate", containing(GENERATOR.encode()))
