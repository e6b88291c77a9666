"""Reading: frames as displayed, exact times, small planes in one geometry, and what is decoded before damage."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from curate.drawn.footage import set_rotation
from curate.errors import ConfigError, VideoError
from curate.video import open_video, read_span, to_bgr, to_preview, work_size
from curate.video_write import Encoding, write_video

LOSSLESS = Encoding(codec="ffv1", pixel_format="yuv444p")


def quadrants(width: int, height: int) -> np.ndarray:
    """Red, green, blue and white quarters, clockwise from the top left."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, width // 2 :] = (0, 0, 255)
    return picture


def counting(count: int, width: int = 64, height: int = 48):
    """Frames whose brightness is their number."""
    return (np.full((height, width, 3), 2 * index, np.uint8) for index in range(count))


def corner_colours(picture: np.ndarray) -> str:
    height, width = picture.shape[:2]
    names = {(255, 0, 0): "r", (0, 255, 0): "g", (0, 0, 255): "b", (255, 255, 255): "w"}
    corners = [(y, x) for y, x in ((1, 1), (1, 3), (3, 3), (3, 1))]
    found = ""
    for y, x in corners:
        colour = picture[y * height // 4, x * width // 4].astype(int)
        found += min(names.items(), key=lambda entry: abs(np.array(entry[0]) - colour).sum())[1]
    return found


@pytest.mark.parametrize(("degrees", "expected"), [(0, "rgbw"), (90, "wrgb"), (180, "bwrg"), (270, "gbwr")])
def test_rotation_is_applied_to_sizes_pictures_and_reduced_planes(tmp_path, degrees, expected):
    path = tmp_path / "turned.mp4"
    write_video(path, [quadrants(320, 180)] * 3, fps=10)
    if degrees:
        set_rotation(path, degrees)
    with open_video(path) as video:
        assert video.info.rotation_deg == degrees
        upright = degrees % 180 == 0
        assert (video.info.width_px, video.info.height_px) == ((320, 180) if upright else (180, 320))
        frame = next(video.reduced_frames())
    assert frame.y.shape == ((144, 256) if upright else (256, 144))
    assert corner_colours(cv2.cvtColor(to_bgr(frame), cv2.COLOR_BGR2RGB)) == expected
    assert corner_colours(cv2.cvtColor(to_preview(frame, "bt601"), cv2.COLOR_BGR2RGB)) == expected
    (_, picture), *_ = read_span(path, 0, 10**9)
    assert picture.shape[:2] == ((180, 320) if upright else (320, 180))
    assert corner_colours(picture) == expected


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 160, 200)])
def test_previews_show_true_colours(tmp_path, colour):
    picture = np.full((48, 64, 3), colour, np.uint8)
    write_video(tmp_path / "c.mkv", [picture] * 2, fps=10, encoding=LOSSLESS)
    with open_video(tmp_path / "c.mkv") as video:
        preview = to_preview(next(video.reduced_frames()), video.info.color_matrix)
    assert np.abs(preview[..., ::-1].astype(int) - colour).max() <= 3


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p10le"])
def test_every_pixel_format_gives_the_same_reduced_luma(tmp_path, pixel_format):
    ramp = np.broadcast_to(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], (144, 256, 3))
    codec = "h264" if pixel_format == "yuvj420p" else "ffv1"
    encoding = Encoding(codec=codec, quality="0" if codec == "h264" else None, pixel_format=pixel_format)
    write_video(tmp_path / "r.mkv", [ramp] * 2, fps=10, encoding=encoding)
    with open_video(tmp_path / "r.mkv") as video:
        luma = next(video.reduced_frames()).y[0].astype(float)
    assert video.info.bit_depth == (10 if "10" in pixel_format else 8)
    assert np.abs(luma - np.linspace(16, 235, 256)).max() <= 2


def test_sample_aspect_is_applied(tmp_path):
    import av

    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(quadrants(160, 120), format="rgb24")))
        container.mux(stream.encode())
    with open_video(path) as video:
        assert (video.info.width_px, video.info.height_px) == (213, 120)
        assert next(video.reduced_frames()).y.shape == (120, 212)  # even
    (_, picture), *_ = read_span(path, 0, 10**9)
    assert picture.shape == (120, 213, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1920, 1080), (256, 144)),
        ((1080, 1920), (144, 256)),
        ((320, 241), (256, 192)),
        ((10, 6), (10, 6)),  # small frames stay as they are
        ((1, 1), (2, 2)),
        ((10_000, 10), (256, 2)),
    ],
)
def test_reduced_frames_have_even_sides_of_at_most_256(size, expected):
    assert work_size(*size) == expected


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (33, 17), (321, 241), (1000, 6)])
def test_odd_and_tiny_frames_are_read(tmp_path, size):
    pictures = counting(5, *size)
    write_video(tmp_path / "odd.mkv", pictures, fps=10, encoding=LOSSLESS)
    with open_video(tmp_path / "odd.mkv") as video:
        assert (video.info.width_px, video.info.height_px) == size
        assert len(list(video.reduced_frames())) == 5


def test_times_are_exact_with_a_varying_rate(tmp_path):
    times = [0, 40, 41, 100, 1000, 1001]
    write_video(tmp_path / "vfr.mkv", counting(6), fps=25, pts=times, time_base=Fraction(1, 1000))
    with open_video(tmp_path / "vfr.mkv") as video:
        base = video.info.time_base
        assert [float(pts * base) for pts, _ in video.frames()] == pytest.approx([time / 1000 for time in times])


@pytest.mark.parametrize("codec", ["h264", "ffv1", "mpeg4", "vp9"])
@pytest.mark.parametrize(("start", "end"), [(0, 5), (37, 61), (58, 60), (99, 100), (0, 100)])
def test_a_span_holds_exactly_its_frames(tmp_path, codec, start, end):
    path = tmp_path / f"{codec}.{'mkv' if codec in ('ffv1', 'vp9') else 'mp4'}"
    options = {} if codec == "ffv1" else {"g": "24"}
    write_video(path, counting(100), fps=10, encoding=Encoding(codec=codec, options=options))
    with open_video(path) as video:
        times = [pts for pts, _ in video.frames()]
    limit = times[end] if end < len(times) else times[-1] + 1
    found = list(read_span(path, times[start], limit))
    assert [pts for pts, _ in found] == times[start:end]
    brightness = [picture.mean() / 2 for _, picture in found]
    assert brightness == pytest.approx(range(start, end), abs=2.0 if codec != "ffv1" else 0.6)


def test_a_span_beyond_the_damage_is_an_error_and_one_before_it_is_not(tmp_path):
    path = tmp_path / "corrupt.mp4"
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(60))
    write_video(path, noise, fps=10, encoding=Encoding(options={"g": "12"}))
    with open_video(path) as video:
        times = [pts for pts, _ in video.frames()]
    content = bytearray(path.read_bytes())
    middle = (content.index(b"mdat") + content.rindex(b"moov")) // 2
    content[middle : middle + 4000] = rng.bytes(4000)
    path.write_bytes(content)
    with open_video(path) as video:
        decoded = len(list(video.frames()))
    assert video.error is not None
    assert video.error.kind == "corrupt"
    assert 12 < decoded < 60
    assert len(list(read_span(path, times[0], times[12]))) == 12
    with pytest.raises(VideoError, match=f"decoding failed after {decoded} of 60 declared frames"):
        list(read_span(path, times[0], times[-1]))


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    def breaks():
        yield quadrants(64, 48)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_video(tmp_path / "x.mp4", breaks(), fps=10)
    with pytest.raises(VideoError, match="no frames to write"):
        write_video(tmp_path / "x.mp4", [], fps=10)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_codec_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no codec 'h256'; did you mean h264"):
        Encoding(codec="h256")
