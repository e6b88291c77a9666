"""Bytes from elsewhere: object stores through pyarrow, http(s) with care, as a local file while it is needed.

Addresses on the web are fetched only when allowed, and never from a private, loopback or link-local address, not even
after a redirect or a change of what the name resolves to: the address is checked on the connection that is used.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from curate.errors import ErrorKind, VideoError

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchConfig:
    """Where inputs may be fetched from."""

    allow_http: bool = False
    """Whether http:// and https:// inputs may be fetched at all."""
    allow_private: bool = False
    """Whether private, loopback and link-local addresses may be reached."""
    timeout_s: float = 30.0
    """Seconds without an answer from a server."""
    max_mib: int = 64 * 1024
    """Larger inputs are refused."""


@dataclass(frozen=True, slots=True)
class Remote:
    """What a server says about an address."""

    size_bytes: int | None
    modified: datetime | None
    etag: str | None


def head(url: str, config: FetchConfig) -> Remote:
    """Ask a server about an address. Raises VideoError with kind blocked or download."""
    with _request("HEAD", url, config) as response:
        length = response.headers.get("Content-Length")
        modified = None
        with suppress(TypeError, ValueError):
            modified = parsedate_to_datetime(str(response.headers.get("Last-Modified")))
        return Remote(int(length) if length else None, modified, response.headers.get("ETag"))


@contextmanager
def local_copy(uri: str, config: FetchConfig) -> Iterator[Path]:
    """A local file with the content of a remote source, removed afterwards.

    Raises VideoError with kind blocked, missing or download.
    """
    suffix = os.path.splitext(urlsplit(uri).path)[1]
    folder = tempfile.mkdtemp(prefix="reelwright-")
    try:
        path = Path(folder, f"source{suffix}")
        with path.open("wb") as target:
            if urlsplit(uri).scheme in ("http", "https"):
                _download(uri, target, config)
            else:
                _copy_object(uri, target, config)
        yield path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def object_store(uri: str) -> tuple[Any, str]:
    """The pyarrow file system and path of an s3:// or gs:// address.

    AWS_ENDPOINT_URL, AWS_REGION and the usual credentials in the environment are honoured.
    """
    import pyarrow.fs

    parts = urlsplit(uri)
    path = f"{parts.netloc}{parts.path}".rstrip("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if parts.scheme == "s3" and endpoint:
        store = urlsplit(endpoint)
        return pyarrow.fs.S3FileSystem(endpoint_override=store.netloc, scheme=store.scheme, region="us-east-1"), path
    if parts.scheme == "s3":
        return pyarrow.fs.S3FileSystem(), path
    return pyarrow.fs.GcsFileSystem(), path


def _copy_object(uri: str, target: BinaryIO, config: FetchConfig) -> None:
    try:
        store, path = object_store(uri)
        with store.open_input_stream(path) as stream:
            _copy(stream, target, uri, config)
    except FileNotFoundError:
        raise VideoError("missing", f"{uri}: no such object") from None
    except OSError as error:
        raise VideoError("download", f"{uri}: could not be fetched: {error}") from None


def _download(url: str, target: BinaryIO, config: FetchConfig) -> None:
    with _request("GET", url, config) as response:
        expected = response.headers.get("Content-Length")
        try:
            received = _copy(response, target, url, config)
        except (OSError, http.client.HTTPException) as error:
            raise VideoError("download", f"{url}: broke off: {error}") from None
        if expected is not None and received != int(expected):
            raise VideoError("download", f"{url}: broke off after {received} of {expected} bytes")


def _copy(stream: Any, target: BinaryIO, uri: str, config: FetchConfig) -> int:
    received = 0
    while chunk := stream.read(_CHUNK_BYTES):
        received += len(chunk)
        if received > config.max_mib << 20:
            raise VideoError("blocked", f"{uri}: larger than {config.max_mib} MiB (scan.fetch.max_mib)")
        target.write(chunk)
    return received


@contextmanager
def _request(method: str, url: str, config: FetchConfig) -> Iterator[http.client.HTTPResponse]:
    if not config.allow_http:
        raise VideoError("blocked", f"{url}: addresses on the web are fetched only with --allow-http")
    address = url
    for _ in range(_MAX_REDIRECTS + 1):
        with closing(_connection(address, config)) as connection, _answer(method, address, connection) as response:
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                address = urljoin(address, location)
                continue
            if response.status >= 400:
                kind: ErrorKind = "missing" if response.status in (404, 410) else "download"
                raise VideoError(kind, f"{url}: the server answered {response.status} {response.reason}")
            yield response
            return
    raise VideoError("download", f"{url}: more than {_MAX_REDIRECTS} redirects")


def _answer(method: str, url: str, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, headers={"User-Agent": "reelwright", "Accept-Encoding": "identity"})
        return connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise VideoError("download", f"{url}: could not be fetched: {error}") from None


def _connection(url: str, config: FetchConfig) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise VideoError("blocked", f"{url}: not an http or https address")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise VideoError("download", f"{url}: {parts.hostname} cannot be found: {error}") from None
    address = str(found[0][4][0])
    if not config.allow_private and not _is_public(address):
        raise VideoError("blocked", f"{url}: {parts.hostname} is a private address ({address}), which is not fetched")
    connection = http.client.HTTPConnection(address, port, timeout=config.timeout_s)
    try:  # connected here, to the address that was checked
        connection.connect()
        if secure:
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=parts.hostname)
    except OSError as error:
        raise VideoError("download", f"{url}: no connection: {error}") from None
    connection.host = parts.hostname  # for the Host header
    return connection


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global
