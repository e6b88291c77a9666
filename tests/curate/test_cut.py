"""A cut clip has exactly the planned frames, whichever way it is cut, or it is a failure with a reason."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from curate.cut import CutConfig, cut_clip
from curate.errors import ConfigError
from curate.video import open_video, read_span
from curate.video_write import Encoding, write_video


def film(path: Path, count: int = 120, size=(160, 96), **settings) -> Path:
    pictures = (np.full((size[1], size[0], 3), 2 * index, np.uint8) for index in range(count))
    write_video(path, pictures, fps=24, **settings)
    return path


def clip_of(path: Path, start: int, end: int, **changes) -> dict:
    with open_video(path) as video:
        times = [pts for pts, _ in video.frames()]
        base = video.info.time_base
    times.append(2 * times[-1] - times[-2])
    span = {"start_pts": times[start], "end_pts": times[end], "num_frames": end - start}
    known = {"clip_id": f"clip{start}", "video_id": "v", "uri": str(path), "codec": "h264"}
    facts = {"time_base_num": base.numerator, "time_base_den": base.denominator, "fps": 24.0}
    box = {"content_x_px": 0, "content_y_px": 8, "content_width_px": 160, "content_height_px": 80}
    return {**known, **span, **facts, "width_px": 160, "height_px": 96, **box, **changes}


def brightness(root: Path, row: dict) -> list[int]:
    found = read_span(root / row["uri"], row["start_pts"], row["end_pts"])
    return [round(picture.mean() / 2) for _, picture in found]


@pytest.mark.parametrize("mode", ["virtual", "copy", "reencode"])
@pytest.mark.parametrize(("start", "end"), [(0, 30), (37, 80), (100, 120)])
def test_each_mode_gives_the_planned_frames(tmp_path, mode, start, end):
    path = film(tmp_path / "film.mp4", encoding=Encoding(options={"g": "24", "bf": "2"}))
    row = cut_clip(clip_of(path, start, end), str(tmp_path), CutConfig(mode=mode))
    assert (row["status"], row.get("error")) == ("ok", None)
    assert row["num_frames"] == end - start
    assert brightness(tmp_path, row) == pytest.approx(list(range(start, end)), abs=1)


def test_a_varying_rate_survives_reencoding_exactly(tmp_path):
    times = np.cumsum([0, *([10, 35, 120] * 20)])
    path = film(tmp_path / "film.mkv", 61, pts=times.tolist(), time_base=Fraction(1, 1000))
    clip = clip_of(path, 7, 40)
    row = cut_clip(clip, str(tmp_path), CutConfig(mode="reencode"))
    tick = row["time_base_num"] / row["time_base_den"]
    written = [pts * tick for pts, _ in read_span(tmp_path / row["uri"], row["start_pts"], row["end_pts"])]
    assert np.diff(written) == pytest.approx(np.diff(times[7:40]) / 1000, abs=1e-3)


def test_reencoding_reduces_and_crops_when_asked(tmp_path):
    path = film(tmp_path / "film.mp4")
    config = CutConfig(mode="reencode", max_side_px=80, crop_bars=True)
    row = cut_clip(clip_of(path, 0, 10), str(tmp_path), config)
    assert (row["width_px"], row["height_px"]) == (80, 40)
    assert config.fingerprint != CutConfig(mode="reencode").fingerprint


def test_a_clip_that_is_not_there_is_a_failure_and_leaves_no_file(tmp_path):
    path = film(tmp_path / "film.mp4")
    too_long = clip_of(path, 100, 120, num_frames=25)
    for mode in ("copy", "reencode"):
        row = cut_clip(too_long, str(tmp_path), CutConfig(mode=mode))
        assert (row["status"], row["error_kind"]) == ("failed", "encode")
        assert "has 20 of 25 frames" in row["error"]
    assert not list(tmp_path.rglob("payload/**/*.m*"))
    gone = cut_clip(clip_of(path, 0, 9, uri=str(tmp_path / "gone.mp4")), str(tmp_path), CutConfig(mode="reencode"))
    assert (gone["status"], gone["error_kind"]) == ("failed", "missing")


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match=r"need cut\.mode = reencode, not copy"):
        CutConfig(mode="copy", crop_bars=True)
    with pytest.raises(ConfigError, match="must be at least 16, got 8"):
        CutConfig(mode="reencode", max_side_px=8)
