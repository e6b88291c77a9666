"""Addresses on the web are fetched with care; objects come from a real S3 server on loopback."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curate.errors import VideoError
from curate.fetch import FetchConfig, head, local_copy
from curate.sources import list_sources

LOOSE = FetchConfig(allow_http=True, allow_private=True, timeout_s=5)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path != "/clip%20one.mp4":
            self.send_error(404)
            return
        cut = self.headers.get("User-Agent") == "reelwright" and self.server.cut
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.send_header("ETag", '"v1"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"01234" if cut else b"0123456789")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.cut = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def kind_of(url: str, config: FetchConfig) -> str:
    with pytest.raises(VideoError) as caught, local_copy(url, config):
        pass
    return caught.value.kind


def test_a_download_is_whole_and_removed_afterwards(server):
    with local_copy(f"{server.url}/clip one.mp4", LOOSE) as path:
        assert path.read_bytes() == b"0123456789"
        assert path.suffix == ".mp4"
    assert not path.parent.exists()


def test_size_time_and_etag_are_known_without_a_download(server):
    found = head(f"{server.url}/clip one.mp4", LOOSE)
    assert (found.size_bytes, found.etag) == (10, '"v1"')
    assert found.modified is not None
    assert found.modified.year == 2015


@pytest.mark.parametrize(
    ("path", "config", "kind"),
    [
        ("/clip one.mp4", FetchConfig(), "blocked"),  # the web was not allowed
        ("/clip one.mp4", FetchConfig(allow_http=True), "blocked"),  # loopback is private
        ("/nothing.mp4", LOOSE, "missing"),
        ("/to//to//to//to//to//to//x", LOOSE, "download"),  # too many redirects
        ("/to/file:///etc/passwd", LOOSE, "blocked"),  # to another scheme
        ("/clip one.mp4", FetchConfig(allow_http=True, allow_private=True, max_mib=0), "blocked"),
    ],
)
def test_what_may_not_or_cannot_be_fetched_says_so(server, path, config, kind):
    assert kind_of(server.url + path, config) == kind


def test_a_redirect_to_a_private_address_is_not_followed(server, monkeypatch):
    real = socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        # A public name that leads to the test server, so that only the redirect is private.
        return real("127.0.0.1" if host == "public.test" else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("curate.fetch._is_public", lambda address: resolve.public)
    resolve.public = True
    url = f"http://public.test:{server.server_port}"
    with local_copy(f"{url}/to/{url}/clip%20one.mp4", FetchConfig(allow_http=True)) as path:
        assert path.exists()
    answers = iter([True, False])
    monkeypatch.setattr("curate.fetch._is_public", lambda address: next(answers))
    assert kind_of(f"{url}/to/{server.url}/clip%20one.mp4", FetchConfig(allow_http=True)) == "blocked"


def test_a_connection_that_breaks_off_is_a_failed_download(server):
    server.cut = True
    assert kind_of(f"{server.url}/clip one.mp4", LOOSE) == "download"


def test_a_blocked_address_is_a_source_with_a_problem(server):
    (source,) = list_sources([f"{server.url}/clip one.mp4"]).sources
    assert source.problem is not None
    assert source.problem.kind == "blocked"
    assert "--allow-http" in str(source.problem)


@pytest.fixture(scope="module")
def bucket():
    # A process of its own: native clients hold the interpreter while they wait, and would starve a thread of this one.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            import pyarrow.fs

            store = pyarrow.fs.S3FileSystem(
                endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
            )
            store.create_dir("footage")
            yield store
    finally:
        server.kill()
        server.wait()


def test_objects_below_a_prefix_are_listed_and_fetched(bucket):
    for name in ("day/b.mp4", "day/a.mp4", "day/notes.txt", "night/c.mp4"):
        with bucket.open_output_stream(f"footage/{name}") as stream:
            stream.write(name.encode())
    found = list_sources(["s3://footage/day"]).sources
    assert [(source.uri, source.size_bytes) for source in found] == [
        ("s3://footage/day/a.mp4", 9),
        ("s3://footage/day/b.mp4", 9),
    ]
    with local_copy("s3://footage/night/c.mp4", FetchConfig()) as path:
        assert path.read_bytes() == b"night/c.mp4"
    assert kind_of("s3://footage/none.mp4", FetchConfig()) == "missing"


def test_a_dataset_lives_in_a_bucket(bucket):
    from fabricated import consistent

    from curate.check import check
    from curate.payload import read_note, read_payload, write_payload
    from curate.tables import Dataset

    dataset = consistent(Dataset("s3://footage/dataset"))
    assert check(dataset).holds
    assert dataset.read("clips", ["clip_id"]).num_rows == 4
    write_payload(dataset.uri, "payload/x.parquet", dataset.read("clips"), note={"a": 1})
    assert read_note(dataset.uri, "payload/x.parquet") == {"a": 1}
    assert read_payload(dataset.uri, "payload/x.parquet", ["clip_id"]).num_rows == 4
    assert read_note(dataset.uri, "payload/none.parquet") is None
