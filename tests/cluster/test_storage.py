"""vim-infer with inputs and outputs in storage, against a server of the S3 protocol."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet
import pytest
import s3_server
from infer_command import COMMAND, ROOT, json_rows, make_engine, make_images, run
from PIL import Image
from small_engines import save_and_build
from small_segmenter import color_segmenter, striped

from vim_deploy.data import shards
from vim_deploy.data.discover import Discovery
from vim_deploy.data.shards import read_from_shard
from vim_deploy.storage.path import CONNECTIONS, file_system
from vim_deploy.storage.url import has_credentials, without_credentials


@pytest.fixture(autouse=True)
def _needs(server):
    """All tests use the server."""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch, request) -> str:
    """The URL of a folder with 12 images, one damaged; the same images are in the folder `photos`."""
    monkeypatch.chdir(tmp_path)
    make_engine()
    make_images("photos/a", 6)
    make_images("photos/b", 5)
    Path("photos/b/zz.png").write_bytes(b"\x89PNG\r\n\x1a\nnot more")
    Path("photos/notes.txt").write_text("no image")
    Path("photos/.hidden.png").write_text("hidden")
    return s3_server.upload("photos", request.node.name.replace("[", "-").rstrip("]"))


def run_list(paths: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command on a list of paths; the results are in rows.jsonl."""
    command = [*COMMAND, "colors.engine", "-", "-o", "rows.jsonl", "--restart", "--force"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, input=paths.encode(), env=environment, capture_output=True)


def without_place(content: bytes, place: str) -> bytes:
    return content.replace(place.encode(), b"PLACE")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_results_in_storage_are_those_of_a_run_on_local_files(photos, suffix):
    assert run("colors.engine", "photos", "-o", f"rows.{suffix}").exit_code == 1
    url = f"{photos}/out/rows.{suffix}"
    result = run("colors.engine", photos, "-o", url)
    assert result.exit_code == 1, result.output
    assert f"results in {url}" in result.stderr and "1 file skipped" in result.stderr
    found = s3_server.content(url)
    if suffix == "parquet":
        rows, local = (
            pyarrow.parquet.read_table(file).to_pylist() for file in (io.BytesIO(found), "rows.parquet")
        )
        assert [row.pop("path").removeprefix(photos) for row in rows] == [
            row.pop("path").removeprefix("photos") for row in local
        ]
        assert rows == local and len(rows) == 12
    else:
        local = Path(f"rows.{suffix}").read_bytes()
        assert without_place(found, photos) == without_place(local, "photos")
    # Neither parts nor a record remain.
    assert [name for name in s3_server.names(photos.split("/")[-1]) if "/out/" in name] == [
        url.removeprefix(f"s3://{s3_server.BUCKET}/")
    ]


def test_files_and_globs(photos):
    result = run("colors.engine", f"{photos}/b/00001.png", f"{photos}/*/0000[5].png", "-o", "rows.jsonl")
    assert result.exit_code == 0, result.output
    names = [row["path"].removeprefix(photos) for row in json_rows("rows.jsonl")]
    assert names == ["/b/00001.png", "/a/00005.png"]


def test_missing_inputs(photos):
    result = run("colors.engine", f"{photos}/none.png")
    assert result.exit_code == 2 and "does not exist" in result.stderr
    assert run_list(f"{photos}/none.png\n").returncode == 1
    assert json_rows("rows.jsonl")[0]["reason"] == "cannot be read: no such file"


def test_overlays_and_report_in_storage(photos):
    folder = f"{photos}-overlays"
    result = run(
        *("colors.engine", photos, "-o", f"{folder}/rows.csv", "--overlays", f"{folder}/pictures"),
        *("--report", f"{folder}/report.html"),
    )
    assert result.exit_code == 1, result.output
    Image.open(io.BytesIO(s3_server.content(f"{folder}/pictures/a/00002.jpg"))).verify()
    page = s3_server.content(f"{folder}/report.html")
    assert b'name="generator" content="vim-infer"' in page and b"data:image/jpeg" in page
    again = run("colors.engine", photos, "-o", f"{folder}/new.csv", "--overlays", f"{folder}/pictures")
    assert again.exit_code == 2 and "exists; give another folder" in again.stderr


def test_label_maps_and_areas_in_storage(photos):
    save_and_build(color_segmenter(), "segmenter.onnx", "segmenter.engine")
    striped(Path("scenes/wide.png"), 70, 30)
    folder = s3_server.upload("scenes", "scenes")
    given = ("--scale", "none", "--maps", f"{folder}-maps", "--areas", f"{folder}-areas.csv")
    result = run("segmenter.engine", folder, "-o", f"{folder}.csv", *given)
    assert result.exit_code == 0, result.output
    local = ("--scale", "none", "--maps", "maps", "--areas", "areas.csv")
    assert run("segmenter.engine", "scenes", "-o", "rows.csv", *local).exit_code == 0
    assert s3_server.content(f"{folder}-maps/wide.png") == Path("maps/wide.png").read_bytes()
    assert s3_server.content(f"{folder}-areas.csv") == Path("areas.csv").read_bytes()


def test_tar_and_parquet_files_in_storage(photos):
    Path("shards").mkdir()
    with tarfile.open("shards/a.tar", "w") as archive:
        for path in sorted(Path("photos").rglob("0*.png")):
            archive.add(path)
    images = [path.read_bytes() for path in sorted(Path("photos/a").iterdir())]
    pyarrow.parquet.write_table(pyarrow.table({"image": images}), "shards/b.parquet")
    folder = s3_server.upload("shards", "shards")
    result = run("colors.engine", folder, "-o", "rows.jsonl")
    assert result.exit_code == 0, result.output
    found = [row["path"].removeprefix(folder) for row in json_rows("rows.jsonl")]
    assert len(found) == 11 + 6
    assert found[0] == "/a.tar/photos/a/00000.png" and found[-1] == "/b.parquet/5"


def test_only_the_needed_parts_of_shards_are_read(photos, monkeypatch):
    """An image in a tar file is one request for its bytes; of a Parquet file the footer and the column."""
    images = {path.name: path.read_bytes() for path in sorted(Path("photos/a").iterdir())}
    Path("shards").mkdir()
    with tarfile.open("shards/a.tar", "w") as archive:
        for name in images:
            archive.add(f"photos/a/{name}", name)
    other = [os.urandom(1 << 20) for _ in images]
    table = pyarrow.table({"image": list(images.values()), "other": other})
    pyarrow.parquet.write_table(table, "shards/b.parquet", row_group_size=3)
    folder = s3_server.upload("shards", "parts")
    S3File = pytest.importorskip("s3fs").core.S3File
    ranges = []
    fetch = S3File._fetch_range

    def counted_range(self, start, end):
        ranges.append(end - start)
        return fetch(self, start, end)

    monkeypatch.setattr(S3File, "_fetch_range", counted_range)
    items = list(Discovery([folder]))
    assert [item.span is not None for item in items] == [True] * 6 + [False] * 6
    sizes = []

    def recorded(url):
        system = file_system(url)

        def cat_file(path, start, end):
            sizes.append(end - start)
            return system.cat_file(path, start=start, end=end)

        return SimpleNamespace(cat_file=cat_file, open=system.open)

    monkeypatch.setattr(shards, "file_system", recorded)
    monkeypatch.setattr(shards, "_read_tar_index", None)
    assert [read_from_shard(item.path, item.span) for item in items[:6]] == list(images.values())
    assert sizes == [len(content) for content in images.values()]
    assert [read_from_shard(item.path) for item in items[6:]] == list(images.values())
    assert 0 < sum(ranges) < 1 << 18


def test_output_rule(photos):
    other = f"{photos}/notes.txt"
    refused = run("colors.engine", photos, "-o", other, "--format", "csv")
    assert refused.exit_code == 2 and "is not a results file of vim-infer" in refused.stderr
    assert s3_server.content(other) == b"no image"
    itself = run("colors.engine", f"{photos}/a/00000.png", "-o", f"{photos}/a/00000.png", "--format", "csv")
    assert itself.exit_code == 2 and "is an input of this run" in itself.stderr


def test_an_interrupted_run_resumes_from_its_parts(photos, monkeypatch):
    from vim_deploy.results import parts

    url = f"{photos}-resumed/rows.jsonl"
    assert run("colors.engine", photos, "-o", "all.jsonl").exit_code == 1
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    original, written = parts.PartsStore.write, []

    def fail(self, row):
        original(self, row)
        written.append(row)
        if len(written) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(parts.PartsStore, "write", fail)
    stopped = run("colors.engine", photos, "-o", url)
    assert stopped.exit_code == 3 and "continue with --resume" in stopped.stderr
    record = json.loads(s3_server.content(f"{url}.run.json"))
    assert record["identity"]["inputs"] == [photos]
    refused = run("colors.engine", photos, "-o", url)
    assert refused.exit_code == 2 and "--resume" in refused.stderr
    resumed = run("colors.engine", photos, "-o", url, "--resume", "--json")
    assert resumed.exit_code == 1 and json.loads(resumed.stdout)["resumed"] == 7
    assert s3_server.content(url) == Path("all.jsonl").read_bytes()
    assert s3_server.names(f"{photos.split('/')[-1]}-resumed") == [
        f"{photos.split('/')[-1]}-resumed/rows.jsonl"
    ]


def test_credentials_appear_nowhere(photos, tmp_path):
    result = run(
        *("colors.engine", photos, f"s3://{s3_server.BUCKET}-none/x.png", "-o", f"{photos}-c/rows.csv"),
        *("--report", f"{photos}-c/report.html", "--verbose"),
    )
    listed = "s3://KEYKEYKEY:PASSPASS@bucket/x.png\nhttps://127.0.0.1:1/x.png?X-Amz-Signature=PASSPASS\n"
    rows = run_list(listed)
    assert rows.returncode == 1
    assert all("credentials" in row["reason"] for row in json_rows("rows.jsonl"))
    given = run("colors.engine", "s3://KEYKEYKEY:PASSPASS@bucket/x.png")
    output = run("colors.engine", photos, "-o", "s3://KEYKEYKEY:PASSPASS@bucket/rows.csv")
    assert given.exit_code == output.exit_code == 2 and "credentials" in given.stderr
    local = b"".join(path.read_bytes() for path in tmp_path.glob("rows*"))
    texts = [rows.stderr, *(part.output.encode() for part in (result, given, output))]
    for text in (*texts, local, s3_server.all_bytes()):
        for secret in (s3_server.SECRET, s3_server.ACCESS, "PASSPASS", "KEYKEYKEY"):
            assert secret.encode() not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:secret@bucket/a b.png", "s3://***@bucket/a b.png"),
        ("https://x.org/a?X-Amz-Credential=k&X-Amz-Signature=s", "https://x.org/a?token=***"),
        ("https://x.org/a?sig=s", "https://x.org/a?token=***"),
    ],
)
def test_urls_with_credentials(url, shown):
    assert has_credentials(url) and without_credentials(url) == shown and has_credentials(shown)


def test_urls_without_credentials():
    for url in ("s3://bucket/a@b.png", "https://x.org/a?size=3", "https://x.org:80/a"):
        assert without_credentials(url) == url


def test_number_of_connections(monkeypatch):
    """botocore allows 10 by itself; settings of the user are kept."""
    from fsspec.config import conf

    assert file_system("s3://bucket/x").config_kwargs == {"max_pool_connections": CONNECTIONS}
    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"max_pool_connections": 7}})
    assert file_system("s3://bucket/x").config_kwargs == {"max_pool_connections": 7}
