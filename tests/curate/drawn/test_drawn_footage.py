"""Drawn footage: files that are what their truth says, and broken ones that are refused for the right reason."""

import csv
from pathlib import Path

import numpy as np
import pytest

from curate.drawn.broken import _CASES, damage
from curate.drawn.film import film_truth
from curate.drawn.footage import FileTruth, Truth, _film, _thinned, draw_footage, read_truth, set_rotation
from curate.drawn.reels import REELS, TAKE_DEFECTS
from curate.drawn.render import draw_frames
from curate.errors import ERROR_KINDS, VideoError
from curate.video import open_video, to_rgb
from curate.video_write import write_video

SECONDS = 16.0


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("footage")
    return folder, draw_footage(folder, seconds=SECONDS, seed=3)


def named(truth: Truth, path: str) -> FileTruth:
    return next(file for file in truth.files if file.path == path)


def decode(path: Path) -> tuple[np.ndarray, list[float]]:
    with open_video(path) as video:
        frames = [(float(pts * video.info.time_base), to_rgb(frame, video.info)) for pts, frame in video.frames()]
        assert video.error is None
    return np.stack([picture for _, picture in frames]), [time_s for time_s, _ in frames]


def test_good_files_decode_as_the_truth_says(footage):
    folder, truth = footage
    seconds = 0.0
    for file in (file for file in truth.files if file.film):
        pictures, times = decode(folder / file.path)
        with open_video(folder / file.path) as video:
            info = video.info
        assert len(pictures) == file.num_frames == file.film.num_frames, file.path
        assert pictures.shape[1:3] == (file.height, file.width) == (info.height_px, info.width_px)
        assert (info.codec, info.rotation_deg, info.has_audio) == (file.codec, file.rotation_deg, file.has_sound)
        gaps = np.diff(times)
        assert (gaps.max() > 1.5 * gaps.min()) == file.is_vfr, file.path
        seconds += 0 if file.same_as else times[-1]
    assert 0.9 * SECONDS < seconds < 1.6 * SECONDS  # short reels are not shorter than a second and a half
    assert {file.codec for file in truth.files} >= {"h264", "hevc", "vp9", "av1", "mpeg4", "ffv1"}
    sizes = [file.width / file.height for file in truth.files if file.width]
    assert min(sizes) < 0.7 < 1.5 < max(sizes)


def test_pictures_and_boundaries_survive_the_codecs(footage):
    folder, truth = footage
    for file in (file for file in truth.files if file.film and file.same_as is None):
        pictures, _ = decode(folder / file.path)
        jumps = np.abs(np.diff(pictures.astype(float), axis=0)).mean(axis=(1, 2, 3))
        for boundary in file.film.boundaries:
            if boundary.kind == "cut":
                assert jumps[boundary.frame - 1] > 4 * np.median(jumps) + 2, (file.path, boundary)
        for scene in file.film.scenes:
            if not scene.defects:
                assert np.median(jumps[scene.start : scene.end - 1]) < 10


def test_a_turned_file_is_displayed_upright(footage):
    folder, truth = footage
    file = named(truth, "phone/IMG 0042 (portrait).mp4")
    pictures, _ = decode(folder / file.path)

    (expected,) = draw_frames(file.film.scenes[0].shot, file.width, file.height, np.zeros(1))
    assert np.abs(pictures[0].astype(int) - expected).mean() < 4


@pytest.mark.parametrize("rotation_deg", [90, 180, 270])
def test_rotations_are_clockwise(tmp_path, rotation_deg):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = 250  # bright in the corner at the top left
    write_video(tmp_path / "turned.mp4", [np.rot90(picture, rotation_deg // 90)] * 3, fps=5)
    set_rotation(tmp_path / "turned.mp4", rotation_deg)
    pictures, _ = decode(tmp_path / "turned.mp4")
    assert pictures.shape[1:3] == (48, 64)
    assert pictures[1, 4:12, 4:12].mean() > 230
    assert pictures[1, 24:].mean() < 20


def test_copies_are_copies(footage):
    folder, truth = footage
    copy = next(file for file in truth.files if file.same_as)
    assert (folder / copy.path).read_bytes() == (folder / copy.same_as).read_bytes()
    alike = named(truth, "web/trailer small.mp4")
    assert alike.film.boundaries == named(truth, alike.like).film.boundaries


def test_truth_and_list_can_be_read_back(footage):
    folder, truth = footage
    assert read_truth(folder) == truth
    with (folder / "footage.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["uri"] for row in rows] == [file.path for file in truth.files]
    assert all(set(row) == {"uri", "license", "title", "caption"} for row in rows)
    assert any(file.kind == "missing" for file in truth.files)


def test_the_same_seed_draws_the_same_truth(footage, tmp_path):
    _, truth = footage
    again = draw_footage(tmp_path, seconds=SECONDS, seed=3, broken=False)
    assert again.files == truth.files[: len(again.files)]
    assert draw_footage(tmp_path, seconds=1, seed=4, broken=False) != again


def test_every_take_defect_is_among_the_rushes(tmp_path):

    reel = next(reel for reel in REELS if reel.path == "rushes.mp4")
    truth = film_truth(_film(reel, 120.0, 0, reel.path))
    assert {defect.kind for scene in truth.scenes for defect in scene.defects} >= set(TAKE_DEFECTS) - {"whip"}


def broken_files() -> list[str]:

    return [case.name for case in _CASES]


@pytest.fixture(scope="module")
def ruins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("broken")
    noise = np.random.default_rng(0).integers(0, 255, (30, 90, 160, 3), np.uint8)
    write_video(folder / "good.mp4", noise, fps=10)
    return {"folder": folder, **{case.name: case for case in damage(folder, folder / "good.mp4")}}


@pytest.mark.parametrize("name", broken_files())
def test_a_broken_file_is_refused_for_the_right_reason(ruins, name):
    case, path = ruins[name], ruins["folder"] / name
    assert case.kind is None or case.kind in ERROR_KINDS
    if not case.is_usable:
        with pytest.raises(VideoError) as raised, open_video(path):
            pass
        assert raised.value.kind == case.kind
        return
    with open_video(path) as video:
        num_frames = sum(1 for _ in video.frames())
        whole = {"single frame.mp4": 1, "one pixel.mkv": 10}.get(name, 30)
        if case.kind is None:
            assert num_frames == whole
            assert video.error is None
        else:
            assert 5 < num_frames < whole
            # A file that merely stops is found out by its declared length, which the scan compares.
            assert (video.error.kind if video.error else "truncated") == case.kind
            assert video.info.declared_duration_s == pytest.approx(3.0, abs=0.2)


def test_dropped_frames_are_dropped_from_the_truth():
    film = _film(next(reel for reel in REELS if reel.is_vfr), 600.0, 0, "dropped")
    truth = film_truth(film)
    kept = np.random.default_rng(0).random(truth.num_frames) < 0.6
    thinned = _thinned(truth, kept)
    numbers = np.nonzero(kept)[0]  # in the whole film, of each frame that is left
    assert thinned.num_frames == len(numbers)
    assert len(truth.boundaries) > 1
    for before, after in zip(truth.boundaries, thinned.boundaries, strict=True):
        assert numbers[after.frame - 1] < before.frame <= numbers[after.frame]
    for before, after in zip(truth.scenes, thinned.scenes, strict=True):
        assert all(before.start <= number < before.end for number in numbers[after.start : after.end])
