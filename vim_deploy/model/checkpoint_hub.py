"""Weights on the Hugging Face Hub: `hf://owner/repo[@revision][/file]` to a local file."""

from __future__ import annotations

import re
from pathlib import Path

from vim_deploy.errors import CheckpointError, MissingDependencyError

PREFIX = "hf://"
_FORM = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/\s]+))?(?:/(?P<file>[^\s]+))?", flags=re.ASCII
)
WEIGHT_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")


def download(source: str) -> tuple[Path, str]:
    """Download the file unless it is cached; returns its path and full name `hf://owner/repo@commit/file`.

    Without a file name, the repository's only weight file is used, preferring safetensors. Raises
    CheckpointError for an invalid or unknown name, no or several weight files, and if the hub cannot be
    accessed; MissingDependencyError without huggingface_hub.
    """
    found = _FORM.fullmatch(source)
    if found is None:
        raise CheckpointError(
            f"{source!r} is not a valid hub name; expected hf://owner/repo or hf://owner/repo/file."
        )
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
    except ImportError:
        raise MissingDependencyError(
            f"{source} needs huggingface_hub; install it with `pip install vim-deploy[export]`, or download "
            "the file and give its path."
        ) from None
    repo, revision = found["repo"], found["revision"]
    try:
        file = found["file"] or _only_weights(
            huggingface_hub.list_repo_files(repo, revision=revision), source
        )
        path = Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
    except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(f"{source}: {_explain(error, repo)}") from None
    except Exception as error:  # connection errors of the HTTP client, which depends on the hub's version
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise CheckpointError(f"{source}: {_explain(error, repo)}") from None
    # Cached files are in .../snapshots/<commit>/<file>.
    commit = path.parents[file.count("/")].name
    return path, f"{PREFIX}{repo}@{commit}/{file}"


def _only_weights(files: list[str], source: str) -> str:
    weights = [file for file in files if file.endswith(WEIGHT_ENDINGS)]
    for found in ([file for file in weights if file.endswith(".safetensors")], weights):
        if len(found) == 1:
            return found[0]
    if not weights:
        raise CheckpointError(
            f"{source} has no weight file ({', '.join(WEIGHT_ENDINGS)}); it contains "
            f"{', '.join(files[:10]) or 'nothing'}. Check the repository's name."
        )
    raise CheckpointError(
        f"{source} has several weight files: {', '.join(weights[:10])}. Name one of them: "
        f"{source}/{weights[0]}"
    )


def _explain(error: Exception, repo: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"access to {repo} is restricted. Accept its terms on the hub and log in with `hf auth login`."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"no repository {repo} (404), or it is private. Check the name; for private ones `hf auth login`."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no such revision (404). Check the name after '@', or omit it."
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{repo} has no such file (404). Omit the file to use the only one, or check its name."
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} is not a valid repository name ({error}). Expected owner/repo."
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"the file cannot be downloaded and is not in the local cache ({reason[:200]}). Check the "
        "connection, or download the file elsewhere and give its path."
    )
