"""Inputs to a list of sources: files, folders, globs, lists, s3:// and gs:// prefixes, http(s):// addresses.

Listing opens no video. A source that cannot even be listed (an unreadable folder, a blocked address) is a source with a
problem, so that it ends as a row and not as a surprise.
"""

from __future__ import annotations

import csv
import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from curate.errors import UsageError, VideoError
from curate.fetch import FetchConfig, head, object_store

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".parquet", ".jsonl")
"""Files of these kinds, named as an input, are lists of sources."""

_DOCUMENTS = """
    .aac .ass .cfg .css .csv .db .doc .docx .flac .gz .htm .html .ini .ipynb .js .json .jsonl .log .lrc .m4a .md .mp3
    .nfo .npy .npz .parquet .part .pdf .pkl .pt .py .pyc .safetensors .sh .srt .ssa .sub .svg .tar .tmp .toml .tsv
    .ttml .txt .url .vtt .wav .xml .yaml .yml .zip
"""
NOT_FOOTAGE = frozenset(_DOCUMENTS.split())
"""Files in folders whose names say that they are documents, sound or archives. All others are looked into."""

_URI_COLUMNS = ("uri", "url", "path", "file", "video", "video_path", "filename", "source")
_CARRIED = {
    "license": ("license", "licence"),
    "title": ("title",),
    "original_caption": ("original_caption", "caption", "text", "alt", "alt_text", "description"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One input, as it was found."""

    uri: str
    size_bytes: int | None = None
    modified: datetime | None = None
    etag: str | None = None
    license: str | None = None
    title: str | None = None
    original_caption: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    problem: VideoError | None = None
    """Why it could not be looked at, if so."""


@dataclass(slots=True)
class Listing:
    """The sources of some inputs in a fixed order, and how many files were passed over by name."""

    sources: list[Source]
    skipped: dict[str, int]
    """Files in folders that are not footage by their names: suffix to count."""


def list_sources(inputs: Sequence[str], config: FetchConfig | None = None) -> Listing:
    """All sources of the inputs, each uri once, in the order of the inputs and sorted within each.

    Raises UsageError for an input that names nothing: a mistyped folder must not look like an empty one.
    """
    config = config or FetchConfig()
    found: dict[str, Source] = {}
    skipped: dict[str, int] = {}
    for text in inputs:
        for source in _expand(text, config, skipped):
            known = found.get(source.uri)
            found[source.uri] = source if known is None else _merged(known, source)
    return Listing(list(found.values()), skipped)


def local_path(uri: str) -> Path | None:
    """The file of a local source, or None for a remote one."""
    if uri.startswith("file:"):
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))
    return None if "://" in uri else Path(uri)


def _expand(text: str, config: FetchConfig, skipped: dict[str, int]) -> Iterator[Source]:
    path = local_path(text)
    if path is None:
        yield from _remote(text, config)
    elif path.is_dir():
        yield from _folder(path, skipped)
    elif path.exists() or path.is_symlink():  # before globs: names may hold [ and ?
        yield from _read_list(path, config) if path.suffix.lower() in LIST_SUFFIXES else [_file(path)]
    elif matches := sorted(glob.glob(str(path.expanduser()), recursive=True)):
        for match in matches:
            yield from _expand(match, config, skipped)
    else:
        raise UsageError(f"{text}: no such file or folder, and no file matches it as a pattern")


def _file(path: Path) -> Source:
    uri = _uri(path)
    try:
        state = path.stat()
    except OSError as error:
        return Source(uri=uri, problem=_os_problem(uri, error))
    if not stat.S_ISREG(state.st_mode):
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
        return Source(uri=uri, problem=VideoError("not_a_file", f"{uri}: {kind}; name a video file"))
    modified = datetime.fromtimestamp(state.st_mtime_ns // 1000 / 1e6, tz=timezone.utc)
    return Source(uri=uri, size_bytes=state.st_size, modified=modified)


def _folder(top: Path, skipped: dict[str, int]) -> Iterator[Source]:
    problems: list[Source] = []
    visited: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        uri = _uri(Path(os.fspath(error.filename or top)))
        problems.append(Source(uri=uri, problem=_os_problem(uri, error)))

    for folder, folders, files in os.walk(top, onerror=unreadable, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in visited:  # a symlink that leads back up, or twice to the same place
            folders.clear()
            continue
        visited.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith(".") or suffix in NOT_FOOTAGE:
                skipped[suffix or name] = skipped.get(suffix or name, 0) + 1
            else:
                yield _file(Path(folder, name))
    yield from problems


def _remote(uri: str, config: FetchConfig) -> Iterator[Source]:
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        try:
            found = head(uri, config)
            yield Source(uri=uri, size_bytes=found.size_bytes, modified=found.modified, etag=found.etag)
        except VideoError as problem:
            yield Source(uri=uri, problem=problem)
        return
    if scheme not in ("s3", "gs", "gcs"):
        raise UsageError(f"{uri}: cannot read {scheme}:// addresses; use files, s3://, gs://, http:// or https://")
    import pyarrow.fs

    try:
        store, path = object_store(uri)
        info = store.get_file_info(path)
        if info.type == pyarrow.fs.FileType.File:
            infos = [info]
        else:
            selector = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=False)
            infos = [found for found in store.get_file_info(selector) if found.type == pyarrow.fs.FileType.File]
    except (OSError, ValueError) as error:
        raise UsageError(f"{uri}: cannot be listed: {error}") from None
    for info in sorted(infos, key=lambda found: found.path):
        if os.path.splitext(info.path)[1].lower() not in NOT_FOOTAGE:
            yield Source(uri=f"{scheme}://{info.path}", size_bytes=info.size, modified=info.mtime)


def _read_list(path: Path, config: FetchConfig) -> Iterator[Source]:
    for index, row in enumerate(_list_rows(path), start=1):
        lowered = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
        column = next((name for name in _URI_COLUMNS if name in lowered), None)
        if column is None:
            raise UsageError(
                f"{path}: no column names the video; call it one of {', '.join(_URI_COLUMNS)} "
                f"(columns: {', '.join(map(str, row))})"
            )
        where = lowered.pop(column)
        if where is None or not str(where).strip():
            raise UsageError(f"{path}: row {index} has an empty {column}")
        yield _with_columns(_listed(str(where).strip(), path, config), lowered)


def _listed(where: str, list_path: Path, config: FetchConfig) -> Source:
    path = local_path(where)
    if path is not None:
        return _file(list_path.parent / path.expanduser())
    try:
        return next(_remote(where, config), Source(uri=where, problem=VideoError("missing", f"{where}: not found")))
    except UsageError as error:  # one bad row of a long list is a row, not the end
        return Source(uri=where, problem=VideoError("missing", str(error)))


def _list_rows(path: Path) -> Iterator[Mapping[str, object]]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            import pyarrow.parquet

            for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
                yield from batch.to_pylist()
        elif suffix == ".jsonl":
            import json

            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.strip())
        elif suffix == ".txt":
            with path.open(encoding="utf-8") as lines:
                stripped = (line.strip() for line in lines)
                yield from ({"uri": line} for line in stripped if line and not line.startswith("#"))
        else:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield from csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a list of sources: {error}") from None


def _with_columns(source: Source, columns: Mapping[str, object]) -> Source:
    texts = {key: str(value) for key, value in columns.items() if value is not None and str(value) != ""}
    known = {name: next((texts.pop(a) for a in aliases if a in texts), None) for name, aliases in _CARRIED.items()}
    return replace(
        source,
        license=known["license"],
        title=known["title"],
        original_caption=known["original_caption"],
        extra=texts,
    )


def _merged(first: Source, second: Source) -> Source:
    """The same uri named twice: what the first lacks, the second may say."""
    return replace(
        first,
        license=first.license or second.license,
        title=first.title or second.title,
        original_caption=first.original_caption or second.original_caption,
        extra={**second.extra, **first.extra},
    )


def _uri(path: Path) -> str:
    text = os.path.abspath(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes that are no text, in a file name: only a percent-encoded address can hold them
        return "file://" + quote(os.fsencode(text))
    return text


def _os_problem(uri: str, error: OSError) -> VideoError:
    if isinstance(error, PermissionError):
        return VideoError("permission", f"{uri}: may not be read; check its permissions")
    return VideoError("missing", f"{uri}: {error.strerror or error}")
