"""Downloading checkpoints from a fake hub on the local machine."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vim_deploy.errors import CheckpointError
from vim_deploy.model.checkpoint_hub import download

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"weights"
REPOSITORIES = {
    "owner/one": ["README.md", "weights.pth"],
    "owner/both": ["old.pth", "older.pth", "model.safetensors"],
    "owner/many": ["vim_t_a.pth", "sub/vim_t_b.pth"],
    "owner/empty": ["README.md"],
}


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's protocol for listing and downloading files."""

    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def answer(self, with_body):
        path = self.path.split("?")[0].strip("/")
        repository = "/".join(path.removeprefix("api/models/").split("/")[:2])
        if repository == "owner/gated":
            self.reply(403, b"{}", with_body, {"X-Error-Code": "GatedRepo"})
        elif repository not in REPOSITORIES:
            self.reply(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("api/models/"):
            self.list_files(repository, path, with_body)
        else:
            self.send_file(repository, path, with_body)

    def list_files(self, repository, path, with_body):
        if "missing" in path:
            self.reply(404, b"{}", with_body, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": name} for name in REPOSITORIES[repository]]
        tree = [
            {"type": "file", "path": name, "size": len(CONTENT), "oid": COMMIT}
            for name in REPOSITORIES[repository]
        ]
        body = tree if "/tree/" in path else {"id": repository, "sha": COMMIT, "siblings": siblings}
        self.reply(200, json.dumps(body).encode(), with_body, {"Content-Type": "application/json"})

    def send_file(self, repository, path, with_body):
        name = path.split("/", 4)[4]
        if name not in REPOSITORIES[repository]:
            self.reply(404, b"", with_body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        self.reply(200, CONTENT, with_body, {"X-Repo-Commit": COMMIT, "ETag": '"tag"'})

    def reply(self, status, body, with_body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments):
        """Suppress the log of requests."""


@pytest.fixture(scope="module")
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# The hub's client waits 23 seconds in total between attempts.
PROGRAM = """
import sys
import time

time.sleep = lambda seconds: None
from vim_deploy.errors import CheckpointError
from vim_deploy.model.checkpoint_hub import download

for source in sys.argv[1:]:
    try:
        path, name = download(source)
    except CheckpointError as error:
        print("refused:", error)
    else:
        print(name, path.read_bytes())
"""


def fetch(*sources, endpoint, cache, **environment):
    """One line per source, from a new process, because the hub's address and cache are read on import."""
    inherited = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *sources],
        env={**inherited, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return result.stdout.splitlines()


FETCHED = {
    "hf://owner/one": f"hf://owner/one@{COMMIT}/weights.pth {CONTENT!r}",
    "hf://owner/one@main/weights.pth": f"hf://owner/one@{COMMIT}/weights.pth {CONTENT!r}",
    "hf://owner/many/sub/vim_t_b.pth": f"hf://owner/many@{COMMIT}/sub/vim_t_b.pth {CONTENT!r}",
    "hf://owner/both": f"hf://owner/both@{COMMIT}/model.safetensors {CONTENT!r}",
}
REFUSED = {
    "hf://owner/many": "several weight files: vim_t_a.pth, sub/vim_t_b.pth. Name one of them",
    "hf://owner/empty": "no weight file",
    "hf://owner/absent": "no repository owner/absent (404)",
    "hf://owner/gated": "access to owner/gated is restricted. Accept its terms",
    "hf://owner/gated/weights.pth": "access to owner/gated is restricted",
    "hf://owner/one/absent.pth": "owner/one has no such file (404)",
    "hf://owner/one@missing": "owner/one has no such revision (404)",
}


def test_files_are_downloaded_by_name_or_preference_and_then_found_offline(hub, tmp_path):
    assert fetch(*FETCHED, endpoint=hub, cache=tmp_path) == list(FETCHED.values())
    named = "hf://owner/one/weights.pth"
    assert fetch(named, endpoint=hub, cache=tmp_path, HF_HUB_OFFLINE="1") == [FETCHED["hf://owner/one"]]


def test_errors_of_the_hub_say_what_to_do(hub, tmp_path):
    answers = fetch(*REFUSED, endpoint=hub, cache=tmp_path)
    for answer, (source, expected) in zip(answers, REFUSED.items(), strict=True):
        assert answer.startswith(f"refused: {source}")
        assert expected in answer


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_no_connection(environment, tmp_path):
    sources = ["hf://owner/one", "hf://owner/one/weights.pth"]
    answers = fetch(*sources, endpoint="http://127.0.0.1:9", cache=tmp_path, **environment)
    for answer, source in zip(answers, sources, strict=True):
        assert answer.startswith(f"refused: {source}: the file cannot be downloaded")
        assert "give its path" in answer


@pytest.mark.parametrize("source", ["hf://", "hf://owner", "hf://owner/one/", "hf://a b/c", "hf:///one"])
def test_malformed_names(source):
    with pytest.raises(CheckpointError, match="not a valid hub name; expected hf://owner/repo"):
        download(source)
