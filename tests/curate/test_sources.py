"""Inputs of every kind become sources, each once, in order; what cannot be listed is a source with a problem."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import UsageError
from curate.sources import list_sources, local_path


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(*inputs, relative_to: Path) -> list[str]:
    found = list_sources([str(text) for text in inputs]).sources
    return [os.path.relpath(source.uri, relative_to) for source in found]


def test_a_folder_is_walked_in_order_and_documents_are_passed_over_but_counted(tmp_path):
    for name in ("b.mp4", "a/z.mkv", "a/no_suffix", "a/notes.txt", "a/.hidden.mp4", ".cache/x.mp4", "photo.jpg"):
        touch(tmp_path / name)
    listing = list_sources([str(tmp_path)])
    assert [os.path.relpath(source.uri, tmp_path) for source in listing.sources] == [
        "b.mp4",
        "photo.jpg",
        "a/no_suffix",
        "a/z.mkv",
    ]
    assert listing.skipped == {".txt": 1, ".mp4": 1}


def test_a_file_named_on_its_own_is_taken_whatever_it_is_called(tmp_path):
    path = touch(tmp_path / "talk.wav", b"12345")
    (source,) = list_sources([str(path)]).sources
    assert (source.uri, source.size_bytes, source.problem) == (str(path), 5, None)
    assert source.modified is not None


def test_symlink_loops_end_and_every_file_is_there_once(tmp_path):
    touch(tmp_path / "a/b/c.mp4")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    assert names(tmp_path, relative_to=tmp_path) == ["a/b/c.mp4"]


def test_a_dangling_link_is_a_source_with_a_problem(tmp_path):
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (source,) = list_sources([str(tmp_path)]).sources
    assert source.problem is not None
    assert source.problem.kind == "missing"


def test_an_unreadable_folder_is_a_source_with_a_problem(tmp_path, monkeypatch):
    touch(tmp_path / "open/a.mp4")
    touch(tmp_path / "closed/b.mp4")
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    problems = {os.path.basename(s.uri): s.problem for s in list_sources([str(tmp_path)]).sources}
    assert problems["a.mp4"] is None
    assert problems["closed"].kind == "permission"


def test_patterns_match_files_but_a_real_name_with_a_question_mark_comes_first(tmp_path):
    for name in ("a1.mp4", "a2.mp4", "a?.mp4"):
        touch(tmp_path / name)
    assert names(tmp_path / "a?.mp4", relative_to=tmp_path) == ["a?.mp4"]
    assert names(tmp_path / "a[12].mp4", relative_to=tmp_path) == ["a1.mp4", "a2.mp4"]


def test_the_same_file_named_twice_is_one_source_that_knows_all_that_was_said(tmp_path):
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "one.csv", b"path,license\na.mp4,CC0\n")
    touch(tmp_path / "two.csv", b"path,caption,camera\na.mp4,a dog,left\n")
    (source,) = list_sources([str(tmp_path / name) for name in ("a.mp4", "one.csv", "two.csv")]).sources
    assert (source.license, source.original_caption, source.extra) == ("CC0", "a dog", {"camera": "left"})


def test_file_addresses_are_paths_with_percent_signs_resolved(tmp_path):
    touch(tmp_path / "a b.mp4")
    assert names(f"file://{tmp_path}/a%20b.mp4", relative_to=tmp_path) == ["a b.mp4"]


def test_a_name_that_is_no_text_survives(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    with open(raw, "wb") as file:
        file.write(b"x")
    (source,) = list_sources([str(tmp_path)]).sources
    assert source.uri.endswith("caf%E9.mp4")
    source.uri.encode("utf-8")
    assert local_path(source.uri).read_bytes() == b"x"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_lists_carry_their_columns(tmp_path, suffix):
    touch(tmp_path / "clips/a.mp4")
    path = tmp_path / f"list{suffix}"
    row = {"Video": "clips/a.mp4", "licence": "CC BY", "title": "Dogs, running", "text": "a dog", "year": "1999"}
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif suffix == ".jsonl":
        import json

        path.write_text(json.dumps(row) + "\n\n")
    else:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, row, delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerow(row)
    (source,) = list_sources([str(path)]).sources
    assert source.uri == str(tmp_path / "clips/a.mp4")
    assert (source.license, source.title, source.original_caption) == ("CC BY", "Dogs, running", "a dog")
    assert source.extra == {"year": "1999"}


def test_a_text_list_has_a_source_a_line_and_comments(tmp_path):
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "list.txt", b"# mine\n\na.mp4\nlost.mp4\n.\n")
    found = list_sources([str(tmp_path / "list.txt")]).sources
    kinds = [source.problem.kind if source.problem else None for source in found]
    assert kinds == [None, "missing", "not_a_file"]  # a bad row of a list is a row


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"name,license\na,b\n",
            r"no column names the video; call it one of uri, url, path.*\(columns: name, license\)",
        ),
        (b"path,license\n,b\n", "row 1 has an empty path"),
        (b"\xff\xfe\x00", "cannot be read as a list of sources"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(tmp_path, content, message):
    path = touch(tmp_path / "list.csv", content)
    with pytest.raises(UsageError, match=message):
        list_sources([str(path)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/no/such/folder", "no such file or folder, and no file matches it as a pattern"),
        ("ftp://host/a.mp4", "cannot read ftp:// addresses; use files, s3://"),
    ],
)
def test_an_input_that_names_nothing_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        list_sources([text])
