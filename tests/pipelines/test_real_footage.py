"""Broken and odd files from the world are handled as their manifest expects, each a row, none in the way of another."""

import os
from pathlib import Path

import pytest
from curated import curate

from curate.check import check
from curate.tables import Dataset

MEDIA = Path(os.environ.get("REELWRIGHT_MEDIA") or Path(__file__).parents[3] / "shared" / "media")

EXPECTED = {  # file: status and kind of its source, frames decoded and damage, states of its clips
    "zero_byte.mp4": ("failed", "empty", None, "empty", set()),
    "lfs_pointer.mp4": ("failed", "not_video", None, "not_video", set()),
    "header_only_48_bytes.mp4": ("failed", "not_video", None, "not_video", set()),
    "chunk_out_of_range.mp4": ("failed", "not_video", None, "not_video", set()),
    "fuzzed.mov": ("failed", "not_video", None, "not_video", set()),
    "audio_only.mp4": ("failed", "no_video_stream", None, "no_video_stream", set()),
    "init_segment_only.mp4": ("failed", "no_frames", None, "no_frames", set()),
    "encrypted_cenc.mp4": ("failed", "undecodable", None, "undecodable", set()),
    "undecodable_threads_hang.mp4": ("failed", "undecodable", None, "undecodable", set()),
    "corrupt_middle.mp4": ("ok", None, 28, "corrupt", {"kept"}),
    "invalid_nalu.mp4": ("ok", None, 26, "corrupt", set()),  # shorter than a second
    "theora_empty_packets.ogv": ("ok", None, 451, None, {"filtered", "kept"}),  # all 15 s of it
    "first_keyframe_discarded.mp4": ("ok", None, 25, None, {"filtered"}),
    "tiny_10x6.mp4": ("ok", None, 1549, None, {"filtered"}),
    "single_frame.mp4": ("ok", None, 1, None, set()),
    "wrong_extension_ogg.mkv": ("ok", None, 150, None, {"filtered"}),
    "no_duration.webm": ("ok", None, 74, None, {"filtered"}),
    "awkward+name with data&streams=works?.mp4": ("ok", None, 309, None, {"kept"}),
}


@pytest.mark.media
@pytest.mark.skipif(not MEDIA.is_dir(), reason="no real footage: name its folder in REELWRIGHT_MEDIA")
def test_broken_and_odd_files_end_as_their_manifest_expects(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{MEDIA / 'bad' / name}\n" for name in EXPECTED))
    reports = curate(listed, tmp_path / "d")
    dataset = Dataset(tmp_path / "d")
    videos = {row["video_id"]: row for row in dataset.read("videos").to_pylist()}
    decisions = dataset.read("decisions").to_pylist()
    found = {}
    for source in dataset.read("sources").to_pylist():
        video = videos.get(source["video_id"], {})
        states = {row["state"] for row in decisions if row["video_id"] == source["video_id"]}
        found[Path(source["uri"]).name] = (
            *(source["status"], source["error_kind"], video.get("num_frames"), video.get("error_kind")),
            states,
        )
        assert source["status"] == "ok" or source["error"].startswith(source["uri"])
    assert found == EXPECTED
    assert check(dataset).holds
    assert reports["scan"]["total"] == len(EXPECTED)
    again = curate(listed, tmp_path / "d")
    assert (again["scan"]["total"], again["split"]["total"]) == (0, 0)
