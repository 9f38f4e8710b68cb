"""The types of the public names: a user's program passes mypy --strict, and every name is annotated."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import vim_deploy

pytest.importorskip("mypy", reason="checks with mypy (extra: dev)")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("user_script.py")


def checked(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """mypy on a program that uses the package in its installed layout."""
    package = folder / "packages" / "vim_deploy"
    package.mkdir(parents=True, exist_ok=True)
    for item in (*(ROOT / "vim_deploy").iterdir(), ROOT / "export", ROOT / "engines"):
        if not (package / item.name).exists():
            (package / item.name).symlink_to(item)
    cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "user")]
    # Errors inside of the package are those of tools/typecheck.py.
    options = ["--strict", "--follow-imports=silent", "--config-file=", *cache]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(script)],
        cwd=folder,
        env={"MYPYPATH": str(folder / "packages"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_program_passes_strict_type_checking(tmp_path):
    done = checked(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wrong_programs_are_found(tmp_path):
    """The check above can fail: types reach the caller."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import vim_deploy\n"
        'model = vim_deploy.load("x.engine", task="detect")\n'
        'model.predict("a.png")[0].top1\n'
        "model.predict(3)\n"
        'vim_deploy.export("vim_tiny")\n'
        'vim_deploy.load("x.engine", thread=2)[0]\n'
    )
    done = checked(wrong, tmp_path)
    lines = [line.split(":")[1] for line in done.stdout.splitlines() if "error:" in line]
    assert sorted(set(lines)) == ["3", "4", "5", "6"], done.stdout


def test_the_package_is_marked_as_typed():
    assert (ROOT / "vim_deploy" / "py.typed").is_file()
    assert set(vim_deploy.__all__) <= set(dir(vim_deploy))


@pytest.mark.parametrize("name", [name for name in vim_deploy.__all__ if name != "__version__"])
def test_public_names_are_documented_and_annotated(name):
    public = inspect.unwrap(getattr(vim_deploy, name))
    functions = [public]
    if inspect.isclass(public):
        members = [
            member
            for key, member in inspect.getmembers(public)
            if not key.startswith("_") or key == "__init__"
        ]
        functions = [member.fget if isinstance(member, property) else member for member in members]
        functions = [
            item
            for item in functions
            if inspect.isfunction(item) and item.__module__.startswith("vim_deploy")
        ]
    elif not inspect.isfunction(public):  # the package that can be called
        functions = []
    assert public.__doc__
    for function in functions:
        signature = inspect.signature(function)
        missing = [
            item.name
            for item in signature.parameters.values()
            if item.annotation is item.empty and item.name != "self"
        ]
        assert not missing, (name, function.__qualname__, missing)
        assert signature.return_annotation is not signature.empty, (name, function.__qualname__)
        assert function.__doc__ or function.__name__.startswith("__"), (name, function.__qualname__)
