"""Directories and object stores by the same operations, and what an object store's errors mean."""

import http.server
import json
import os
import pickle
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from dnuc.errors import StoreError
from dnuc.location import ObjectPath, filled, free_bytes, journal, locate, remove_tree, replace_file, subdirectories
from dnuc.location import bucket as client
from dnuc.location.bucket import explained
from tests.buckets import environment, make_bucket


@pytest.fixture(params=["directory", "objects"])
def place(request, tmp_path):
    """An empty directory, and an empty prefix of a bucket."""
    return tmp_path if request.param == "directory" else locate(request.getfixturevalue("bucket")) / "runs/x"


# --- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["s3://bucket/runs/x", "s3://bucket/runs/x/", Path("s3://bucket/runs/x")])
def test_urls(given):
    path = locate(given)
    assert path == ObjectPath("s3", "bucket", "runs/x")
    assert str(path) == "s3://bucket/runs/x"
    assert (path.name, str(path.parent), str(path / "a" / "b.json")) == (
        *("x", "s3://bucket/runs"),
        "s3://bucket/runs/x/a/b.json",
    )
    assert pickle.loads(pickle.dumps(path)) == locate(str(path)) == locate(path) == path.resolve() == path.absolute()


def test_a_whole_bucket_is_a_place_too():
    path = locate("gs://bucket")
    assert (str(path), path.name, str(path / "job.toml")) == ("gs://bucket", "bucket", "gs://bucket/job.toml")


def test_anything_else_is_a_directory(tmp_path):
    assert locate("runs/x") == Path("runs/x")
    assert locate(tmp_path) is not None
    assert isinstance(locate(tmp_path / "s3:" / "x"), Path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ftp://host/x", r"'ftp://host/x': a run directory is a path, s3://\.\.\. or gs://"),
        ("s3://", "give s3://BUCKET/PLACE/OF/THE/RUN"),
        ("s3://bucket/a//b", "give s3://BUCKET/PLACE/OF/THE/RUN"),
        ("gs://bucket/../b", "give gs://BUCKET/PLACE/OF/THE/RUN"),
    ],
)
def test_urls_of_nothing(given, message):
    with pytest.raises(StoreError, match=message):
        locate(given)


# --- the same operations ------------------------------------------------------------------------------------------


def test_files(place):
    file = place / "a" / "note.txt"
    assert not file.is_file()
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_text()
    if isinstance(place, Path):
        file.parent.mkdir()
    file.write_text("é", encoding="utf-8")
    assert (file.read_text(encoding="utf-8"), file.read_bytes()) == ("é", "é".encode())
    assert (file.is_file(), file.exists(), (place / "a").is_file(), (place / "a").is_dir()) == (True, True, False, True)
    assert not (place / "a" / "no").exists()  # a part of a name is no directory
    file.unlink()
    assert not file.exists()
    file.unlink(missing_ok=True)


def test_files_are_replaced(place):
    for text in ("one", "two"):
        replace_file(place / "progress.json", text)
        assert (place / "progress.json").read_text(encoding="utf-8") == text


def test_trees_are_removed(place, tmp_path):
    for name in ("group/zarr.json", "group/array/zarr.json", "group/array/c/0", "grouped"):
        file = place / name
        if isinstance(place, Path):
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
    assert sorted(str(d) for d in subdirectories(place)) == [str(place / "group")]
    assert [d.name for d in subdirectories(place / "group")] == ["array"]
    remove_tree(place / "group")
    assert not (place / "group").exists()
    assert (place / "grouped").is_file()
    remove_tree(place / "group", strict=False)


def test_a_tree_loses_its_description_first(bucket, monkeypatch):
    place = locate(bucket) / "x"
    for name in ("a/c/0", "a/zarr.json", "zarr.json", "b/zarr.json"):
        (place / name).write_text("content")
    steps, remove = [], ObjectPath.remove
    monkeypatch.setattr(
        ObjectPath, "remove", lambda path, paths: (steps.append([str(p) for p in paths]), remove(path, paths))
    )
    remove_tree(place)
    assert steps == [
        [f"{place}/zarr.json"],
        [f"{place}/a/zarr.json", f"{place}/b/zarr.json"],
        [f"{place}/a/c/0"],
    ]
    assert place.below() == []


def test_a_journal_goes_on(place):
    for words in (("one", "two"), ("three",)):
        log = journal(place / "log.txt")
        for word in words:
            log.add(word)
        log.flush()
        log.flush()
    assert (place / "log.txt").read_text() == "one\ntwo\nthree\n"


def test_a_directory_is_filled_elsewhere_and_replaces_what_was_there(place):
    report = place / "report"
    if isinstance(place, Path):
        report.mkdir()
    for name in ("a.txt", "b.txt"):
        with filled(report) as directory:
            (directory / "figures").mkdir(exist_ok=True)
            (directory / "figures" / name).write_text(name)
            (directory / "index.html").write_text(name)
    assert (report / "index.html").read_text() == "b.txt"
    assert (report / "figures" / "b.txt").read_text() == "b.txt"
    if isinstance(report, ObjectPath):
        assert [str(p) for p in report.below()] == [f"{report}/figures/b.txt", f"{report}/index.html"]


def test_what_fails_replaces_nothing(bucket):
    report = locate(bucket) / "report"
    (report / "index.html").write_text("before")
    with pytest.raises(FileNotFoundError), filled(report) as directory:
        (directory / "index.html").rename(directory / "nowhere" / "index.html")
    assert (report / "index.html").read_text() == "before"


def test_room(tmp_path, bucket):
    assert free_bytes(tmp_path) > 0
    assert free_bytes(locate(bucket)) is None


def test_conditional_writes(bucket):
    path = locate(bucket) / "run.lock"
    first = path.create(b"1")
    assert first is not None
    assert path.create(b"2") is None
    second = path.exchange(b"3", first)
    assert path.exchange(b"4", first) is None
    assert path.read_bytes() == b"3"
    assert path.version()[0] == second


# --- errors -------------------------------------------------------------------------------------------------------


def test_a_missing_bucket(bucket):
    for path in (locate("s3://no-such-bucket/runs/x"), locate("s3://no-such-bucket")):
        for act in (path.check, path.is_dir, lambda path=path: (path / "a").write_text("")):
            with pytest.raises(
                StoreError, match=r"no-such-bucket.*has no bucket 'no-such-bucket': make it, or correct"
            ):
                act()


@contextmanager
def answering(*answers):
    """A server that gives these (status, body), the last one again and again; and what it was asked."""
    asked, left = [], list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Thu, 26 Nov 2026 22:00:00 GMT")
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def reach(monkeypatch):
    """Make this process look for S3 at an address."""

    def reach(address):
        for name, value in environment(address).items():
            monkeypatch.setenv(name, value)

    return reach


def test_throttled_requests_are_tried_again(reach):
    with answering((503, b"<Error><Code>SlowDown</Code></Error>"), (503, b""), (200, b"content")) as (address, asked):
        reach(address)
        assert locate("s3://bucket/x").read_bytes() == b"content"
    assert len(asked) == 3


def test_refused_access(reach):
    with answering((403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")) as (address, _):
        reach(address)
        with pytest.raises(
            StoreError, match=r"s3://bucket/x: http://127.* refuses access \(.*AccessDenied.*must allow"
        ):
            locate("s3://bucket/x").read_bytes()


def test_no_server(reach):
    with answering((200, b"")) as (address, _):
        pass
    reach(address)
    with pytest.raises(StoreError, match=r"s3://bucket/x: http://127.* cannot be reached .*AWS_ENDPOINT_URL") as told:
        locate("s3://bucket/x").check()
    assert "Debug source" not in str(told.value)


def test_what_is_not_encrypted_is_refused_off_the_loopback_address(reach, monkeypatch):
    reach("http://192.0.2.1:9000")
    with pytest.raises(StoreError, match=r"http://192\.0\.2\.1:9000 is not encrypted.*AWS_ALLOW_HTTP"):
        locate("s3://bucket/x").check()
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert locate("s3://bucket/x").store() is not None


def test_without_the_package(monkeypatch):
    client._opened.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StoreError, match=r"s3://bucket: object stores need the package obstore.*dnuc\[object-stores\]"):
        client.opened("s3", "bucket")
    client._opened.cache_clear()


def test_other_errors_are_not_explained_away():
    with pytest.raises(ZeroDivisionError), explained("s3", "bucket"):
        raise ZeroDivisionError


# --- credentials --------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """An environment without credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable, file in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        monkeypatch.setenv(variable, str(tmp_path / file))
    client._opened.cache_clear()
    yield tmp_path
    client._opened.cache_clear()


def test_no_credentials(nobody):
    with pytest.raises(StoreError, match=r"s3://bucket: no credentials for S3 are found here: set AWS_ACCESS_KEY_ID"):
        locate("s3://bucket/x").check()


def test_a_profile_of_the_aws_command_is_used_and_never_sent(nobody, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"])
    (nobody / "credentials").write_text("[lab]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    path = locate(make_bucket(s3["AWS_ENDPOINT_URL"])) / "x"
    path.write_text("content")
    assert path.read_text() == "content"
    sent = pickle.dumps((path, path.store()))
    assert b"SECRET" not in sent
    assert pickle.loads(sent)[1] is not None


def test_credentials_of_the_environment_are_never_sent(bucket, s3):
    sent = pickle.dumps(locate(bucket).store())
    assert s3["AWS_SECRET_ACCESS_KEY"].encode() not in sent
    assert json.dumps(str(pickle.loads(sent))) != ""
