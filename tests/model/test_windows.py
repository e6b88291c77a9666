"""A window says exactly which frames and pixels of a clip are used, and reading does what it says."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import VideoError
from curate.video import open_video
from curate.video_write import Encoding, write_video
from model.pixels import to_frames, to_video
from model.windows import ClipFacts, WindowConfig, plan_windows, read_windows, window_id

STRIDE = (4, 8, 8)


def clip(**changes) -> ClipFacts:
    facts = {
        "clip_id": "c",
        "start_pts": 0,
        "end_pts": 30,
        "time_base": 1 / 30,
        "num_frames": 30,
        "fps": 30.0,
        "width_px": 64,
        "height_px": 48,
    }
    return ClipFacts(**{**facts, **changes})


def spans(windows) -> list[tuple[int, int]]:
    return [(window.first, window.num_frames) for window in windows]


@pytest.mark.parametrize(
    ("num_frames", "max_frames", "expected"),
    [
        (1, 17, [(0, 1)]),  # an image
        (4, 17, [(0, 1)]),  # too few for a second latent frame
        (17, 17, [(0, 17)]),
        (30, 81, [(0, 29)]),
        (30, 17, [(0, 17), (17, 13)]),
        (20, 17, [(0, 17)]),  # the rest of three frames is no still
        (40, 18, [(0, 17), (17, 17), (34, 5)]),
        (3, 1, [(0, 1), (1, 1), (2, 1)]),
    ],
)
def test_long_clips_become_windows_of_whole_latent_frames(num_frames, max_frames, expected):
    facts = clip(num_frames=num_frames, end_pts=num_frames)
    assert spans(plan_windows(facts, WindowConfig(max_frames=max_frames), STRIDE)) == expected


def test_fewer_frames_per_second_are_taken_on_a_time_grid_and_never_invented():
    assert spans(plan_windows(clip(), WindowConfig(fps=10), STRIDE)) == [(0, 9)]
    (window,) = plan_windows(clip(), WindowConfig(fps=60), STRIDE)
    assert (window.num_frames, window.fps, window.every_frame) == (29, 30.0, True)


@pytest.mark.parametrize(
    ("width", "height", "area", "size", "crop"),
    [
        (64, 48, 10_000, (64, 48), (0, 0, 64, 48)),  # fits: nothing changes
        (70, 50, 10_000, (64, 48), (3, 1, 64, 48)),  # cropped evenly, not resized
        (640, 480, 64 * 48, (64, 48), (0, 0, 640, 480)),
        (1920, 1080, 256 * 256, (336, 192), (15, 0, 1890, 1080)),
    ],
)
def test_pictures_are_reduced_to_the_area_and_cropped_to_whole_cells(width, height, area, size, crop):
    (window,) = plan_windows(clip(width_px=width, height_px=height), WindowConfig(max_area_px=area), STRIDE)
    assert (window.width_px, window.height_px) == size
    found = (window.crop_x_px, window.crop_y_px, window.crop_width_px, window.crop_height_px)
    assert found == pytest.approx(crop, abs=1)


@given(
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    area=st.integers(256, 10**6),
    multiple=st.sampled_from([1, 2]),
)
def test_every_plan_divides_fits_and_keeps_the_aspect(width, height, area, multiple):
    facts = clip(width_px=width, height_px=height)
    windows = plan_windows(facts, WindowConfig(max_area_px=area, multiple=multiple), STRIDE)
    if windows == "too small":
        scale = min(1, (area / (width * height)) ** 0.5)
        assert min(width, height) * scale < 8 * multiple
        return
    window = windows[0]
    assert window.width_px % (8 * multiple) == window.height_px % (8 * multiple) == 0
    assert window.width_px * window.height_px <= area * 1.001
    assert 0 <= window.crop_x_px <= width - window.crop_width_px
    assert 0 <= window.crop_y_px <= height - window.crop_height_px
    scales = window.width_px / window.crop_width_px, window.height_px / window.crop_height_px
    # One pixel of rounding at most.
    assert abs(scales[0] - scales[1]) * min(window.crop_width_px, window.crop_height_px) <= 1.01


def test_black_bars_are_left_out():
    (window,) = plan_windows(clip(content=(0, 8, 64, 32)), WindowConfig(), STRIDE)
    assert (window.crop_y_px, window.crop_height_px, window.height_px) == (8, 32, 32)


def test_clips_that_cannot_be_used_say_why():
    assert plan_windows(clip(height_px=7), WindowConfig(), STRIDE) == "too small"
    assert plan_windows(clip(num_frames=8), WindowConfig(min_frames=9), STRIDE) == "too short"


def test_any_change_of_clip_frames_crop_or_codec_is_another_key():
    base = plan_windows(clip(), WindowConfig(), STRIDE)[0]
    others = [
        plan_windows(facts, config, STRIDE)[0]
        for facts, config in [
            (clip(content=(0, 1, 64, 40)), WindowConfig()),
            (clip(), WindowConfig(fps=15)),
            (clip(), WindowConfig(max_frames=13)),
            (clip(), WindowConfig(max_area_px=1024)),
        ]
    ]
    keys = {window_id("c", window, "codec") for window in [base, *others]}
    keys |= {window_id("d", base, "codec"), window_id("c", base, "other codec")}
    assert len(keys) == 7
    assert window_id("c", base, "codec") == window_id("c", plan_windows(clip(), WindowConfig(), STRIDE)[0], "codec")


@pytest.fixture(scope="module")
def grey_steps(tmp_path_factory) -> str:
    """30 frames, frame i of level 8 i, at 30 frames per second, without loss."""
    path = tmp_path_factory.mktemp("video") / "steps.mkv"
    pictures = (np.full((48, 64, 3), 8 * index, np.uint8) for index in range(30))
    write_video(path, pictures, fps=30, encoding=Encoding(codec="ffv1", pixel_format="bgr0"))
    return str(path)


def facts_of(path: str) -> ClipFacts:
    with open_video(path) as video:
        pts = [pts for pts, _ in video.frames()]
        base = video.info.time_base
    step = pts[1] - pts[0]
    return clip(start_pts=pts[0], end_pts=pts[-1] + step, time_base=float(base), num_frames=len(pts))


def test_reading_gives_the_planned_frames_of_every_window(grey_steps):
    facts = facts_of(grey_steps)
    windows = plan_windows(facts, WindowConfig(max_frames=13, max_area_px=16 * 16), STRIDE)
    pieces = list(read_windows(grey_steps, facts, windows))
    assert [piece.shape for piece in pieces] == [(13, 8, 16, 3), (13, 8, 16, 3)]
    assert [[frame[0, 0, 0] // 8 for frame in piece] for piece in pieces] == [list(range(13)), list(range(13, 26))]
    assert np.array_equal(next(read_windows(grey_steps, facts, windows[1:])), pieces[1])


def test_a_time_grid_shows_the_frame_of_each_moment(grey_steps):
    facts = facts_of(grey_steps)
    windows = plan_windows(facts, WindowConfig(fps=10), STRIDE)
    (frames,) = read_windows(grey_steps, facts, windows)
    assert (frames[:, 0, 0, 0] // 8).tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24]


def test_missing_frames_are_an_error(grey_steps):
    facts = facts_of(grey_steps)
    longer = clip(start_pts=facts.start_pts, end_pts=facts.end_pts * 2, time_base=facts.time_base, num_frames=60)
    with pytest.raises(VideoError, match="30 of 57 frames"):
        list(read_windows(grey_steps, longer, plan_windows(longer, WindowConfig(), STRIDE)))


def test_pixels_survive_the_way_to_a_tensor_and_back():
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    assert to_video(frames).shape == (1, 3, 5, 8, 8)
    assert np.array_equal(to_frames(to_video(frames)), frames)
    assert np.array_equal(to_frames(to_video(frames[0]))[0], frames[0])


def test_variable_rates_are_read_by_time_not_by_index(tmp_path):
    path = tmp_path / "vfr.mkv"
    pts = [0, 1, 2, 3, 4, 5, 10, 15, 20, 25, 30]  # thirtieths: six fast frames, then five slow ones
    pictures = [np.full((16, 16, 3), 20 * index, np.uint8) for index in range(11)]
    encoding = Encoding(codec="ffv1", pixel_format="bgr0")
    write_video(path, pictures, fps=30, pts=pts, time_base=Fraction(1, 30), encoding=encoding)
    with open_video(path) as video:
        found = [pts for pts, _ in video.frames()]
        base = float(video.info.time_base)
    facts = clip(start_pts=found[0], end_pts=found[-1] + found[1], time_base=base, num_frames=11, fps=11.0)
    windows = plan_windows(facts, WindowConfig(fps=6, max_area_px=4096), (1, 8, 8))
    (frames,) = read_windows(str(path), facts, windows)
    assert (frames[:, 0, 0, 0] // 20).tolist() == [0, 5, 6, 7, 8, 9]
