"""`python -m vim_deploy`."""

from __future__ import annotations

from vim_deploy.cli.group import main

if __name__ == "__main__":
    main(prog_name="python -m vim_deploy")
