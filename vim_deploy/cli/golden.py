"""Exported full-size models against reference values: `python -m vim_deploy.cli.golden FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vim_deploy.cli.common import command, echo


@command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--case",
    "cases",
    multiple=True,
    help="Run only this case of full_logits.json; repeatable.  [default: all]",
)
def main(folder: Path, cases: tuple[str, ...]) -> None:
    """Compare exported models with the reference values in FOLDER; prints a Markdown table.

    Exit codes: 0 all within the tolerance, 1 some beyond it.
    """
    from vim_deploy.validation.golden import HEADER, golden_rows

    passed = True
    echo("\n".join(HEADER))
    for row in golden_rows(folder, cases):
        echo(row.markdown())
        sys.stdout.flush()
        passed = passed and row.passed
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
