"""A scan stores what is true of a video, keeps what comes before damage, and fails with a kind and a message."""

import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from curate import scan as scan_module
from curate.errors import ConfigError, VideoError
from curate.isolate import Killed, Limits
from curate.payload import read_payload
from curate.scan import ScanConfig, content_id, previews, scan_file, scan_source
from curate.video_write import Encoding, write_video

CONFIG = ScanConfig()


def drawn(path: Path, count: int = 48, fps: int = 24, **settings) -> Path:
    pictures = (np.full((90, 160, 3), 2 * index, np.uint8) for index in range(count))
    write_video(path, pictures, fps=fps, **settings)
    return path


def scanned(path: Path, root: Path, config: ScanConfig = CONFIG):
    return scan_file(str(path), str(path), str(root), config)


def test_the_row_says_what_was_decoded(tmp_path):
    path = drawn(tmp_path / "a.mp4")
    row = scanned(path, tmp_path).video
    assert row["video_id"] == content_id(path)
    facts = {key: row[key] for key in ("width_px", "height_px", "num_frames", "codec", "is_vfr", "status", "error")}
    assert facts == {
        "width_px": 160,
        "height_px": 90,
        "num_frames": 48,
        "codec": "h264",
        "is_vfr": False,
        "status": "ok",
        "error": None,
    }
    assert (row["fps"], row["duration_s"]) == (pytest.approx(24), pytest.approx(2.0))
    assert (row["end_pts"] - row["start_pts"]) * row["time_base_num"] / row["time_base_den"] == pytest.approx(2.0)
    signals = read_payload(str(tmp_path), row["signals_path"])
    assert signals.num_rows == 48
    assert signals.column("pts")[0].as_py() == row["start_pts"]


@pytest.mark.parametrize(
    ("rate", "fps", "count", "expected"), [(2, 24, 48, 4), (2, 24, 49, 5), (8, 24, 48, 16), (24, 12, 12, 12)]
)
def test_previews_lie_on_a_fixed_grid(tmp_path, rate, fps, count, expected):
    path = drawn(tmp_path / "a.mkv", count, fps, encoding=Encoding(codec="ffv1"))
    row = scanned(path, tmp_path, ScanConfig(preview_fps=rate)).video
    found = list(previews(str(tmp_path), row["previews_path"]))
    assert len(found) == row["num_previews"] == expected
    tick = row["time_base_num"] / row["time_base_den"]
    seconds = [pts * tick for pts, _ in found]
    assert seconds == pytest.approx([index / min(rate, fps) for index in range(expected)], abs=1 / fps + 1e-3)
    picture = cv2.imdecode(np.frombuffer(found[-1][1], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (90, 160, 3)
    assert picture.mean() == pytest.approx(2 * round(seconds[-1] * fps), abs=4)


def test_a_varying_rate_is_noticed_and_rounding_is_not(tmp_path):
    steady = drawn(tmp_path / "a.mkv", fps=30)  # Matroska rounds to milliseconds: 33, 33, 34
    assert scanned(steady, tmp_path).video["is_vfr"] is False
    times = np.cumsum([33 + 30 * (index % 3 == 0) for index in range(48)])
    varying = drawn(tmp_path / "b.mkv", pts=times.tolist(), time_base=Fraction(1, 1000))
    assert scanned(varying, tmp_path).video["is_vfr"] is True


def test_a_second_scan_finds_the_stored_result(tmp_path):
    path = drawn(tmp_path / "a.mp4")
    first, second = scanned(path, tmp_path), scanned(path, tmp_path)
    assert (first.decoded, second.decoded) == (True, False)
    assert second.video == first.video
    assert scanned(path, tmp_path, ScanConfig(preview_fps=1)).decoded


def test_limits_and_permissions_do_not_change_the_fingerprint():
    assert ScanConfig(limits=Limits(wall_s=1)).fingerprint == CONFIG.fingerprint
    assert ScanConfig(preview_fps=1).fingerprint != CONFIG.fingerprint
    assert ScanConfig(detectors=("content",)).fingerprint != CONFIG.fingerprint


def test_a_file_that_may_not_be_read_is_a_failure_with_that_kind(tmp_path, monkeypatch):
    path = drawn(tmp_path / "a.mp4")
    real = open

    def refuse(file, *args, **kwargs):
        if os.fspath(file) == str(path):
            raise PermissionError(13, "Permission denied")
        return real(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    found = scanned(path, tmp_path)
    assert (found.video, found.error.kind) == (None, "permission")


class _Child:
    """Stands in for the child process: killed at the first call, as if in the middle of a video."""

    def __init__(self, kind: str, progress) -> None:
        self.calls = []
        self._killed = Killed(kind, "killed")
        self._killed.progress = progress

    def call(self, function, *args, limits):
        self.calls.append(args)
        if len(self.calls) == 1:
            raise self._killed
        return scan_file(*args)


def test_what_was_decoded_before_a_hang_is_kept(tmp_path, monkeypatch):
    path = drawn(tmp_path / "a.mp4")
    child = _Child("timeout", (content_id(path), 30, 0))
    monkeypatch.setattr(scan_module, "_child", child)
    found = scan_source(str(path), str(tmp_path), CONFIG)
    assert len(child.calls) == 2
    assert found.video["num_frames"] == 30
    assert (found.video["status"], found.video["error_kind"]) == ("ok", "timeout")
    assert found.error.kind == "timeout"


@pytest.mark.parametrize("progress", [None, ("a" * 32, 0, 0), (None, 0, 1 << 20)])
def test_a_death_before_the_first_frame_is_a_failure(tmp_path, monkeypatch, progress):
    path = drawn(tmp_path / "a.mp4")
    monkeypatch.setattr(scan_module, "_child", _Child("crashed", progress))
    found = scan_source(str(path), str(tmp_path), CONFIG)
    assert found.error.kind == "crashed"
    assert (found.video is None) == (progress is None or progress[0] is None)
    if found.video is not None:
        assert found.video["status"] == "failed"


def test_a_real_hang_of_the_decoder_costs_that_file_alone(tmp_path):
    fifo = tmp_path / "endless.mp4"
    os.mkfifo(fifo)
    good = drawn(tmp_path / "good.mp4")
    hung = scan_source(str(fifo), str(tmp_path), ScanConfig(limits=Limits(stall_s=2)))
    assert (hung.video, hung.error.kind) == (None, "timeout")
    assert scan_source(str(good), str(tmp_path), CONFIG).video["status"] == "ok"


def test_detectors_by_name_look_on_and_can_be_chosen_by_a_split(tmp_path):
    from curate.shots import ShotConfig
    from curate.split import SplitConfig, split_video

    pictures = [np.full((90, 160, 3), value, np.uint8) for value in (40, 200) for _ in range(48)]
    write_video(tmp_path / "a.mkv", pictures, fps=24, encoding=Encoding(codec="ffv1"))
    row = scanned(tmp_path / "a.mkv", tmp_path, ScanConfig(detectors=("content",))).video
    split = split_video(row, str(tmp_path), SplitConfig(shots=ShotConfig(detector="content")))
    assert [(scene["num_frames"], scene["end_kind"]) for scene in split.scenes] == [(48, "cut"), (48, "end")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preview_fps": 0}, "preview_fps must be above 0"),
        ({"preview_quality": 101}, "preview_quality must be from 1 to 100"),
        ({"detectors": ("contnet",)}, "no detector 'contnet'; did you mean content"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises((ConfigError, VideoError), match=message):
        ScanConfig(**settings)
