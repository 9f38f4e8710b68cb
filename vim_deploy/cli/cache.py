"""vim-cache: list and prune the cache."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import click

from vim_deploy.cli.common import command, echo, log_to_stderr
from vim_deploy.text import plural

if TYPE_CHECKING:
    from vim_deploy.engines.cache_entries import CacheEntry


@command(
    examples=(
        "vim-cache",
        "vim-cache prune",
        "vim-cache prune --unused-days 30",
    )
)
@click.argument("action", type=click.Choice(("list", "prune")), default="list")
@click.option(
    "--unused-days",
    type=click.FloatRange(min=0),
    help="prune: also remove entries that were not used for this many days.",
)
@click.option("--all", "everything", is_flag=True, help="prune: remove everything.")
@click.option("--dry-run", is_flag=True, help="prune: print what would be removed, and remove nothing.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the entries as JSON, with their paths and problems."
)
def main(action: str, unused_days: float | None, everything: bool, dry_run: bool, as_json: bool) -> None:
    """List the cache, or remove what cannot be opened here any more, and what killed processes left.

    The cache has the engines that are built when vim-infer, vim-bench or Python opens an ONNX file, the ONNX
    files that Python exports from checkpoints, and the weights of opened engines, which processes share. It
    is in the folder of the environment variable VIM_DEPLOY_CACHE, by default in ~/.cache/vim_deploy. Each
    line shows when an entry was last used, its size and what it was made from. Removed entries are rebuilt
    when they are needed.

    Exit codes: 0 success, 2 user error; the message says how to fix it.
    """
    from vim_deploy.engines.cache_entries import cache_entries, remove_entry
    from vim_deploy.engines.cache_folder import cache_folder

    log_to_stderr()
    if action == "list" and (unused_days is not None or everything or dry_run):
        raise click.UsageError("--unused-days, --all and --dry-run need the action prune; add prune.")
    entries = cache_entries()
    if action == "prune":
        entries = [entry for entry in entries if _removable(entry, unused_days, everything)]
        for entry in () if dry_run else entries:
            remove_entry(entry)
    if as_json:
        echo(json.dumps([entry.to_dict() for entry in entries], indent=2))
        return
    for entry in entries:
        _show(entry)
    verb = {"list": "in", "prune": "would be removed from" if dry_run else "removed from"}[action]
    size = sum(entry.bytes for entry in entries) / 1e6
    echo(f"{plural(len(entries), 'entry', 'entries')} ({size:.1f} MB) {verb} {cache_folder()}")


def _removable(entry: CacheEntry, unused_days: float | None, everything: bool) -> bool:
    if everything or entry.problem is not None:
        return True
    age = datetime.now(timezone.utc) - entry.used
    return unused_days is not None and age >= timedelta(days=unused_days)


def _show(entry: CacheEntry) -> None:
    note = "" if entry.problem is None else ", cannot be opened here"
    echo(f"{entry.used:%Y-%m-%d %H:%M} {entry.bytes / 1e6:8.1f} MB  {entry.content}{note}")
