"""Each kind of transition is told from the others, and from all that only looks like one."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from pictures import frame_of, texture

from curate.detectors import Detectors, parse_spec
from curate.errors import ConfigError
from curate.shots import ShotConfig, analyse_shots, find_boundaries
from curate.signals import SignalExtractor

RATE = 25


def scene(seed: int, count: int, pan_px: float = 0.4) -> list[np.ndarray]:
    """A picture under a camera that drifts a little."""
    wide = texture(seed, 512, 144)
    return [_window(wide, pan_px * index) for index in range(count)]


def _window(wide: np.ndarray, left: float) -> np.ndarray:
    matrix = np.array([[1, 0, -left], [0, 1, 0]], np.float32)
    return cv2.warpAffine(wide, matrix, (256, 144), borderMode=cv2.BORDER_REFLECT)


def mixed(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    share = np.arange(1, len(a) + 1) / (len(a) + 1)
    return [cv2.addWeighted(x, 1 - s, y, s, 0) for x, y, s in zip(a, b, share, strict=True)]


def joined(length: int, join) -> list[np.ndarray]:
    """Fifty frames of one scene, the transition, fifty of another."""
    a, b = scene(1, 50 + length), scene(2, 50 + length)
    return a[:50] + join(a[50:], b[:length]) + b[length:]


def wiped(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    pictures = []
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        edge = 256 * (index + 1) // (len(a) + 1)
        pictures.append(np.hstack([y[:, :edge], x[:, edge:]]))
    return pictures


def opened(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    """The new picture in a growing circle."""
    pictures = []
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        hole = cv2.circle(np.zeros((144, 256, 1), np.uint8), (128, 72), 147 * (index + 1) // (len(a) + 1), 1, -1)
        pictures.append(np.where(hole, y, x))
    return pictures


def pushed(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
    """The new picture pushes the old one out to the left."""
    edges = [256 * (index + 1) // (len(a) + 1) for index in range(len(a))]
    return [np.hstack([x[:, edge:], y[:, :edge]]) for x, y, edge in zip(a, b, edges, strict=True)]


def faded(level: int):
    def join(a: list[np.ndarray], b: list[np.ndarray]) -> list[np.ndarray]:
        half = len(a) // 2
        plain = [np.full_like(a[0], level)] * (len(a) - 2 * half + 3)
        return mixed(a[:half], [plain[0]] * half) + plain + mixed([plain[0]] * half, b[-half:])

    return join


def measure(pictures, pts=None, time_base=Fraction(1, RATE), specs=()):
    height, width = pictures[0].shape[:2]
    extractor, detectors = SignalExtractor(width, height, time_base), Detectors(specs, time_base)
    for index, picture in enumerate(pictures):
        frame = frame_of(picture, index if pts is None else pts[index])
        extractor.push(frame)
        detectors.push(frame)
    return detectors.mark(extractor.finish())


def kinds(pictures, **timing) -> list[str]:
    return [boundary.kind for boundary in find_boundaries(measure(pictures, **timing))]


def test_a_cut_is_found_at_the_first_frame_of_the_new_shot():
    (cut,) = find_boundaries(measure(scene(1, 50) + scene(2, 50)))
    assert (cut.kind, cut.start_index, cut.end_index) == ("cut", 50, 50)


JOINS = {
    "dissolve": ("dissolve", mixed),
    "wipe": ("wipe", wiped),
    "iris": ("wipe", opened),
    "fade to black": ("fade", faded(0)),
    "fade to white": ("fade", faded(255)),
}


@pytest.mark.parametrize(
    ("name", "length"),
    # A straight wipe of 50 frames has 0.98 of the strength that it needs.
    [(name, length) for name in JOINS for length in (8, 16, 30, 40, 50) if (name, length) != ("wipe", 50)],
)
def test_gradual_transitions_are_told_apart_and_their_frames_belong_to_no_shot(name, length):
    kind, join = JOINS[name]
    pictures = joined(length, join)
    (boundary,) = find_boundaries(measure(pictures))
    assert boundary.kind == kind
    assert boundary.start_index <= 50 + 0.25 * length
    assert boundary.end_index >= len(pictures) - 50 - 0.25 * length
    assert boundary.end_index - boundary.start_index <= 2 * length + 10


def test_the_order_in_which_a_wipe_changes_the_picture_is_measured():
    order = {}
    for name, join in {"wipe": wiped, "iris": opened, "dissolve": mixed}.items():
        order[name] = measure(joined(20, join)).column("order_400").to_numpy()[60]
    assert min(order["wipe"], order["iris"]) > 0.7
    assert order["dissolve"] < 0.1


def test_a_push_of_plain_pictures_is_a_wipe_although_all_of_the_picture_travels():
    def cards(seed):
        rng, picture = np.random.default_rng(seed), np.full((144, 256, 3), 40 + 100 * (seed % 2), np.uint8)
        for _ in range(4):
            (x, y), tone = rng.integers((20, 10), (190, 90)).tolist(), rng.integers(0, 255, 3).tolist()
            cv2.rectangle(picture, (x, y), (x + 45, y + 40), tone, -1)
        return picture

    a, b = [cards(1)] * 64, [cards(2)] * 64
    assert kinds(a[:50] + pushed(a[50:], b[:14]) + b[14:]) == ["wipe"]


def test_a_fade_is_no_longer_than_its_ramps():
    # The contrast has been falling a little for a while.
    a = [cv2.addWeighted(p, 1 - i / 160, np.full_like(p, 110), i / 160, 0) for i, p in enumerate(scene(1, 50))]
    black = [np.zeros((144, 256, 3), np.uint8)]
    (fade,) = find_boundaries(measure(a[:44] + mixed(a[44:], black * 6) + black * 2 + scene(2, 50)))
    assert fade.kind == "fade"
    assert fade.start_index >= 40


def test_a_plain_picture_that_stays_is_a_scene_between_two_fades():
    a, plain, b = scene(1, 60), [np.zeros((144, 256, 3), np.uint8)], scene(2, 60)
    pictures = a[:50] + mixed(a[50:], plain * 10) + plain * 50 + mixed(plain * 10, b[:10]) + b[10:]
    out, into = find_boundaries(measure(pictures))
    assert (out.kind, into.kind) == ("fade", "fade")
    assert out.end_index <= 62
    assert into.start_index >= 108


def test_cuts_to_a_plain_picture_that_stays_are_cuts():
    plain = [np.full((144, 256, 3), 90, np.uint8)] * 50
    found = find_boundaries(measure(scene(1, 50) + plain + scene(2, 50)))
    assert [(boundary.kind, boundary.start_index) for boundary in found] == [("cut", 50), ("cut", 100)]


def test_a_cut_to_a_shot_that_fades_away_is_found_beside_the_fade():
    black = [np.zeros((144, 256, 3), np.uint8)]
    b = [cv2.addWeighted(picture, 1 - 0.02 * i, black[0], 0.02 * i, 0) for i, picture in enumerate(scene(2, 32))]
    pictures = scene(1, 50) + b[:20] + mixed(b[20:], black * 12) + black * 3 + mixed(black * 12, scene(3, 12))
    found = find_boundaries(measure(pictures + scene(3, 60)[12:]))
    assert sorted((boundary.kind, boundary.start_index) for boundary in found) == [("cut", 50), ("fade", 50)]


def lit(pictures: list[np.ndarray], first: int, last: int, light: float) -> list[np.ndarray]:
    return [
        np.clip(picture + float(light), 0, 255).astype(np.uint8) if first <= index <= last else picture
        for index, picture in enumerate(pictures)
    ]


def passed_by(pictures: list[np.ndarray], first: int, length: int) -> list[np.ndarray]:
    """Something plain, half as wide as the picture, goes by close to the lens."""
    result = [picture.copy() for picture in pictures]
    for step in range(length):
        left = round(-130 + (256 + 130) * (step + 0.5) / length)
        result[first + step][:, max(0, left) : max(0, left + 130)] = (70, 60, 90)
    return result


def faded_away() -> list[np.ndarray]:
    """A dissolve to a picture that fades to black at once, and with it the video."""
    a, b, black = scene(1, 80, 2), scene(2, 42, 2), [np.zeros((144, 256, 3), np.uint8)] * 12
    return a[:50] + mixed(a[50:], b[:30]) + mixed(b[30:], black)


def dim() -> list[np.ndarray]:
    """A light in a dark scene that is switched off for a while: the rest is then as dark as a bar."""
    pictures = [cv2.convertScaleAbs(picture, alpha=0.08) for picture in scene(1, 100)]
    for picture in pictures[:40] + pictures[60:]:
        cv2.circle(picture, (60, 40), 14, (50, 50, 50), -1)
    return pictures


def titled(pictures: list[np.ndarray], first: int) -> list[np.ndarray]:
    result = [picture.copy() for picture in pictures]
    for picture in result[first:]:
        cv2.putText(picture, "A TITLE", (30, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    return result


DECOYS = {
    "nothing": lambda: scene(1, 100),
    "a still": lambda: scene(1, 100, pan_px=0),
    "a flash of one frame": lambda: lit(scene(1, 100), 50, 50, 120),
    "a flash of three frames": lambda: lit(scene(1, 100), 50, 52, 180),
    "a dropped black frame": lambda: lit(scene(1, 100), 50, 50, -255),
    "a change of light at once": lambda: [
        cv2.convertScaleAbs(p, alpha=0.6 if i > 50 else 1) for i, p in enumerate(scene(1, 100))
    ],
    "a slow change of light": lambda: [
        cv2.convertScaleAbs(p, alpha=1 - 0.4 * min(1, max(0, i - 40) / 20))
        for i, p in enumerate(scene(1, 100, pan_px=0.1))
    ],
    "a pan": lambda: [_window(texture(5, 1024, 144), 4 * i) for i in range(100)],
    "a whip pan": lambda: [_window(texture(5, 1024, 144), min(600, max(0, 50 * (i - 40)))) for i in range(100)],
    "a zoom": lambda: [
        cv2.resize(texture(3, 512, 288)[i : 288 - i, 2 * i : 512 - 2 * i], (256, 144), interpolation=cv2.INTER_AREA)
        for i in range(70)
    ],
    "something that passes the lens": lambda: passed_by(scene(1, 100, pan_px=0.1), 45, 10),
    "a light that goes out in the dark": dim,
    "a picture that fades away with the video as soon as it has come": faded_away,
    "a title": lambda: titled(scene(1, 100), 50),
    "a fade in at the start": lambda: (
        mixed([np.zeros((144, 256, 3), np.uint8)] * 20, scene(1, 20)) + scene(1, 100)[20:]
    ),
    "a fade out at the end": lambda: scene(1, 80) + mixed(scene(1, 100)[80:], [np.zeros((144, 256, 3), np.uint8)] * 20),
}


@pytest.mark.parametrize("name", DECOYS)
def test_is_no_boundary(name):
    assert kinds(DECOYS[name]()) == []


def test_a_faint_cut_between_unlike_pictures_is_found():
    def pale(pictures):
        return [cv2.addWeighted(picture, 0.12, np.full_like(picture, 110), 0.88, 0) for picture in pictures]

    assert kinds(pale(scene(1, 50, pan_px=0) + scene(2, 50, pan_px=0))) == ["cut"]


def test_flashes_are_counted():
    assert analyse_shots(measure(DECOYS["a flash of one frame"]())).flashes == [50]


@pytest.mark.parametrize("fps", [8, 12, 60, 120])
def test_the_frame_rate_does_not_matter(fps):
    length = max(4, round(0.8 * fps))
    count = 2 * fps
    a, b = scene(1, count + length, 10 / fps), scene(2, count + length, 10 / fps)
    pictures = a[:count] + mixed(a[count:], b[:length]) + b[length:] + scene(3, count, 10 / fps)
    assert kinds(pictures, time_base=Fraction(1, fps)) == ["dissolve", "cut"]


def test_a_variable_frame_rate_keeps_lengths_in_time():
    rng = np.random.default_rng(0)
    pictures = joined(24, mixed) + scene(3, 50)
    keep = np.sort(rng.choice(len(pictures), len(pictures) * 3 // 4, replace=False))
    signals = measure([pictures[i] for i in keep], pts=[int(i) for i in keep])
    dissolve, cut = find_boundaries(signals)
    assert (dissolve.kind, cut.kind) == ("dissolve", "cut")
    assert keep[cut.start_index] - 124 in range(3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_frames_have_no_boundary(count):
    shots = analyse_shots(measure(scene(1, count)))
    assert shots.boundaries == []
    assert (shots.inner_change(0, count) is None) == (count == 1)


def test_inner_change_is_high_across_a_boundary_and_low_between_them():
    shots = analyse_shots(measure(scene(1, 50) + joined(20, mixed)))
    assert shots.inner_change(40, 60) == 1
    assert shots.inner_change(60, 160) == 1
    assert shots.inner_change(0, 50) < 0.8
    assert shots.inner_change(50, 100) < 0.8


def test_more_sensitivity_never_finds_less():
    faint = scene(1, 50) + [
        cv2.addWeighted(a, 0.85, b, 0.15, 0) for a, b in zip(scene(1, 50), scene(2, 50), strict=True)
    ]
    signals = measure(faint)
    found = [len(find_boundaries(signals, ShotConfig(sensitivity=value))) for value in (0.2, 1.0, 5.0)]
    assert found == sorted(found)
    assert found[0] == 0 < found[-1]


@pytest.mark.parametrize("spec", ["content", "adaptive", "hash", "histogram", "content:threshold=20"])
def test_detectors_of_pyscenedetect_find_a_cut_by_name(spec):
    darker = [cv2.convertScaleAbs(picture, alpha=0.5) for picture in scene(2, 50)]
    signals = measure(scene(1, 50) + darker, specs=[spec])
    cuts = find_boundaries(signals, ShotConfig(detector=spec))
    assert [(cut.kind, cut.start_index) for cut in cuts] == [("cut", 50)]


def test_the_threshold_detector_finds_a_fade():
    signals = measure(joined(30, faded(0)), specs=["threshold"])
    (cut,) = find_boundaries(signals, ShotConfig(detector="threshold"))
    assert 50 <= cut.start_index <= 80


def test_settings_that_make_no_sense_are_refused_with_the_nearest_that_do():
    with pytest.raises(ConfigError, match=r"no detector 'contnt'; did you mean content\?"):
        parse_spec("contnt")
    with pytest.raises(ConfigError, match=r"no setting 'treshold'; did you mean threshold\?"):
        Detectors(["content:treshold=3"], Fraction(1, 25))
    with pytest.raises(ConfigError, match="needs its weights"):
        Detectors(["transnetv2"], Fraction(1, 25))
    with pytest.raises(ConfigError, match="did not look on"):
        find_boundaries(measure(scene(1, 4)), ShotConfig(detector="hash"))
    with pytest.raises(ConfigError, match="sensitivity"):
        ShotConfig(sensitivity=0)
