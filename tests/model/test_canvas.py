from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_ins import make_model, tiny_config

from curate.errors import UsageError
from model import edit
from model.canvas import Box, Canvas, Layout, Pin, make_job, to_pictures
from model.codec.pca import fit_pca
from model.long import Panel, RollConfig, roll
from model.pixels import to_frames, to_video
from model.sample import SampleConfig, draw_samples
from model.studio import Studio
from model.tokens import patchify, unpatchify

STRIDE = (4, 8, 8)
CHANNELS = 16


def make_video(seed, frames=17, height=32, width=24):
    """A smooth gradient that drifts, so that a small linear codec keeps most of it."""
    random = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    phase = random.uniform(0, 6, 3)
    waves = [np.sin(0.13 * x + 0.09 * y + 0.1 * t * (1 + c) + phase[c]) for c in range(3)]
    return np.round(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture(scope="module")
def studio():
    codec = fit_pca([to_video(make_video(seed)) for seed in range(12)], stride=STRIDE, z_dim=CHANNELS)
    model = make_model(latent_channels=CHANNELS)
    return Studio(model=model, codec=codec, config=SampleConfig(steps=4, guidance=1.0), provenance={})


def canvas(**changes):
    settings = {"frames": 9, "height": 32, "width": 24, "fps": 8.0, "prompt": "a blue box", "seed": 3}
    return Canvas(**{**settings, **changes})


def held_slots(job):
    return job.held.unflatten(0, (job.grid.shape[0], -1)).all(dim=1).tolist()


@pytest.mark.parametrize(
    ("at", "length", "slots"),
    [
        (0, 1, [True, False, False]),
        (0, 4, [True, False, False]),
        (0, 5, [True, True, False]),
        (1, 4, [False, True, False]),
        (0, 9, [True, True, True]),
        (4, 5, [False, False, True]),
        (6, 1, [False, False, True]),  # a single picture is held for its slot
    ],
)
def test_slots_are_pinned_when_all_of_their_pictures_are_given(studio, at, length, slots):
    pin = Pin(frames=make_video(0, length), at=at)
    assert held_slots(make_job(canvas(pins=(pin,)), studio.codec, (1, 1, 1))) == slots


def test_pinned_latents_come_back_to_the_bit_and_pinned_frames_within_codec_error(studio):
    video = make_video(1, 9)
    request = canvas(pins=(Pin(frames=video[:5]),))
    job = make_job(request, studio.codec, studio.patch)
    (tokens,) = draw_samples(studio.model, [job], studio.config)
    expected = patchify(studio.codec.encode(to_video(video[:5]))[0], (1, 1, 1))
    assert torch.equal(tokens[: len(expected)], expected)
    frames = to_pictures(tokens, request, studio.codec, studio.patch)
    through_codec = to_frames(studio.codec.decode(studio.codec.encode(to_video(video[:5]))))
    assert np.array_equal(frames[:5], through_codec)
    assert np.abs(frames[:5].astype(int) - video[:5]).mean() < 8


def test_a_pin_is_encoded_without_what_lies_around_it(studio):
    video = make_video(2, 9)
    alone = make_job(canvas(pins=(Pin(frames=video[4:9], at=4),)), studio.codec, studio.patch)
    latent = studio.codec.encode(to_video(video[4:9]))[0]  # frame 4 stands alone, 5 to 8 are slot 1 of the pin
    assert torch.equal(unpatchify(alone.given, alone.grid.shape, (1, 1, 1))[:, 2], latent[:, 1])


def test_any_size_and_length_comes_back_as_asked_for(studio):
    sizes = [(1, 8, 8), (2, 17, 31), (7, 30, 50), (10, 50, 9)]
    made = studio.draw([canvas(frames=t, height=h, width=w) for t, h, w in sizes])
    assert [video.shape for video in made] == [(t, h, w, 3) for t, h, w in sizes]
    assert all(video.dtype == np.uint8 for video in made)


def test_a_pin_reaches_to_the_edge_of_a_canvas_that_no_cell_ends_at(studio):
    video = make_video(3, 7, 30, 20)
    job = make_job(canvas(frames=7, height=30, width=20, pins=(Pin(frames=video),)), studio.codec, studio.patch)
    assert job.held.all()


def test_boxes_free_a_part_of_the_picture_and_later_pins_lie_on_top(studio):
    video = make_video(4, 9)
    box = Box(top=8, left=0, height=16, width=16)
    free = Pin(frames=video, box=box, strength=0.0)
    job = make_job(canvas(pins=(Pin(frames=video), free)), studio.codec, studio.patch)
    held = job.held.unflatten(0, job.grid.shape)[0]
    assert held.tolist() == [[True] * 3, [False, False, True], [False, False, True], [True] * 3]
    outside = make_job(canvas(pins=(Pin(frames=video, box=box, outside=True),)), studio.codec, studio.patch)
    assert torch.equal(outside.held, job.held)


def test_a_token_of_several_cells_is_held_only_when_all_of_them_are(studio):
    video = make_video(4, 9, 32, 32)
    pin = Pin(frames=video[:, :, :8])
    for patch, held in (((1, 1, 1), 12), ((1, 2, 2), 0)):
        job = make_job(canvas(width=32, pins=(pin,)), studio.codec, patch)
        assert int(job.held.sum()) == held


def test_strength_is_how_late_a_slot_begins_and_level_what_the_model_sees(studio):
    video = make_video(5, 9)
    job = make_job(canvas(pins=(Pin(frames=video, strength=(1.0, 0.7, 0.2), level=0.05),)), studio.codec, studio.patch)
    ceiling, floor = (v.unflatten(0, (3, -1))[:, 0].tolist() for v in (job.ceiling, job.floor))
    assert ceiling == pytest.approx([0.05, 0.3, 0.8])
    assert floor == pytest.approx([0.05, 0.0, 0.0])
    (tokens,) = draw_samples(studio.model, [job], studio.config)
    assert torch.equal(tokens[:12], job.given[:12])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pins": (Pin(frames=make_video(0, 3), at=8),)}, "a pin of 3 frames at frame 8 does not lie on a canvas of 9"),
        ({"pins": (Pin(frames=make_video(0, 1, 48, 48)),)}, "48x48 px at .* does not lie on a canvas of 24x32 px"),
        ({"pins": (Pin(frames=make_video(0, 1, 8, 8), top=4),)}, r"the nearest is \(0, 0\)"),
        ({"pins": (Pin(frames=make_video(0, 3), at=2),)}, "covers no whole latent slot of 4 frames"),
        ({"frames": 10, "loop": True}, "must be a multiple of 4, for example 12"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"fps": 0.0}, "fps must be above 0"),
    ],
)
def test_requests_that_cannot_be_met_say_why(studio, changes, message):
    with pytest.raises(UsageError, match=message):
        make_job(canvas(**changes), studio.codec, studio.patch)


def test_the_decoder_comes_to_the_start_of_a_loop_from_its_end(studio):
    request = canvas(frames=12, loop=True)
    layout = Layout.of(request, STRIDE, (1, 1, 1))
    assert layout.cells == (3, 4, 3)
    job = make_job(request, studio.codec, studio.patch)
    assert not job.grid.single
    assert len(set(job.frame_shifts)) == 3
    (tokens,) = draw_samples(studio.model, [job], studio.config)
    video = to_pictures(tokens, request, studio.codec, studio.patch)
    rolled = to_pictures(tokens.unflatten(0, (3, -1)).roll(1, 0).flatten(0, 1), request, studio.codec, studio.patch)
    assert np.array_equal(np.roll(video, 4, axis=0), rolled)


@pytest.mark.parametrize("frames", [4, 7, 9])
def test_extending_and_connecting_keep_what_was_given_and_make_as_many_frames_as_asked(studio, frames):
    first, second = make_video(6), make_video(7)
    settings = {"frames": frames, "fps": 8.0, "prompt": "a blue box"}
    after = edit.extend(studio, first, side="after", **settings)
    before = edit.extend(studio, first, side="before", **settings)
    joined = edit.connect(studio, first, second, **settings)
    looped = edit.close_loop(studio, first, **settings)
    assert [len(video) for video in (after, before, joined, looped)] == [
        17 + frames,
        17 + frames,
        34 + frames,
        17 + frames,
    ]
    assert np.array_equal(after[:17], first)
    assert np.array_equal(before[frames:], first)
    assert np.array_equal(joined[:17], first)
    assert np.array_equal(joined[-17:], second)
    assert np.array_equal(looped[:17], first)


@pytest.mark.parametrize("frames", [4, 7, 9])
@pytest.mark.parametrize("context", [1, 9])
def test_both_ends_of_a_join_lie_in_slots_of_their_own(studio, frames, context):
    jobs = []
    spy = replace(studio, config=studio.config)
    object.__setattr__(spy, "draw", lambda canvases: jobs.extend(canvases) or studio.draw(canvases))
    video = make_video(8)
    edit._between(spy, video[:context], video[:context], frames=frames, fps=8.0, prompt=None, seed=0)
    edit._between(spy, None, video[:context], frames=frames, fps=8.0, prompt=None, seed=0)
    for request in jobs:
        last = request.pins[-1]
        slots = held_slots(make_job(request, studio.codec, studio.patch))
        if context > 1:
            assert last.at % 4 == 0  # its first frame ends a slot
            assert slots[-2:] == [True, True]
        else:
            assert last.at % 4 == 1  # held for a slot that no new frame is in
            assert slots[-1]
        assert slots.count(False) >= frames // 4


def test_an_image_becomes_the_first_frame(studio):
    image = make_video(9, 1)[0]
    video = edit.animate(studio, image, frames=6, fps=8.0, prompt=None)
    assert video.shape == (6, 32, 24, 3)
    assert np.array_equal(video[0], image)


def test_interpolating_begins_with_one_video_and_ends_with_the_other(studio):
    first, second = make_video(10, 9), make_video(11, 9)
    video = edit.interpolate(studio, first, second, fps=8.0, prompt=None)
    assert np.array_equal(video[0], first[0])
    assert np.array_equal(video[-1], second[-1])
    with pytest.raises(UsageError, match="9 and 5 frames"):
        edit.interpolate(studio, first, second[:5], fps=8.0, prompt=None)
    with pytest.raises(UsageError, match="24x32 and 16x32 px"):
        edit.interpolate(studio, first, second[:, :, :16], fps=8.0, prompt=None)


def test_redrawing_keeps_more_of_a_video_the_stronger_it_is_held(studio):
    video = make_video(12, 9)
    kept = [edit.restyle(studio, video, fps=8.0, prompt=None, strength=s) for s in (1.0, 0.95, 0.7, 0.3)]
    errors = [np.abs(made.astype(int) - video).mean() for made in kept]
    assert errors == sorted(errors)
    assert errors[0] < 8


def test_repainting_and_outpainting_leave_the_given_pixels_alone(studio):
    video = make_video(13, 9)
    box = Box(top=8, left=8, height=16, width=16)
    made = edit.repaint(studio, video, box, fps=8.0, prompt=None)
    changed = (made != video).any(axis=(0, 3))
    assert changed[8:24, 8:24].mean() > 0.9
    changed[8:24, 8:24] = False
    assert not changed.any()
    wide = edit.outpaint(studio, video, height=48, width=56, top=8, left=16, fps=8.0, prompt=None)
    assert wide.shape == (9, 48, 56, 3)
    assert np.array_equal(wide[:, 8:40, 16:40], video)


@pytest.mark.parametrize(
    "box",
    [
        Box(top=100, left=100, height=8, width=8),
        Box(top=0, left=-8, height=8, width=8),
        Box(top=0, left=0, height=0, width=8),
        Box(top=0, left=20, height=8, width=8),
    ],
)
def test_a_box_beyond_the_picture_is_refused(studio, box):
    video = make_video(11, 5, 24, 24)
    with pytest.raises(UsageError, match="does not lie within a picture of 24x24 px"):
        edit.repaint(studio, video, box, fps=8.0, prompt=None)
    with pytest.raises(UsageError, match="does not lie within a picture of 24x24 px"):
        edit.outpaint(studio, video, height=24, width=24, top=box.top, left=box.left - 1, fps=8.0, prompt=None)


def test_a_prototype_is_never_stretched(studio):
    with pytest.raises(UsageError, match="would be stretched to 64x32 px"):
        edit.refine(studio, make_video(14, 5, 16, 16), height=32, width=64, fps=8.0, prompt=None)


def test_a_prototype_is_refined_to_full_size(studio):
    made = edit.refine(studio, make_video(14, 9, 16, 16), height=32, width=32, fps=8.0, prompt=None, strength=0.9)
    assert made.shape == (9, 32, 32, 3)


def test_a_canvas_rolls_on_for_as_long_as_asked_for_window_by_window(studio):
    panels = [Panel(prompt="a blue box", seconds=2.0), Panel(prompt="two cats", seconds=3.1)]
    seen = []
    forward = studio.model.forward
    studio.model.forward = lambda batch, context: seen.append((batch.lengths, batch.texts)) or forward(batch, context)
    try:
        pieces = roll(studio, panels, height=32, width=24, fps=8.0)
        first = next(pieces)
        assert len(first) == 1  # the first frame is there before the second window is begun
        assert len(seen) == studio.config.steps
        video = np.concatenate([first, *pieces])
    finally:
        studio.model.forward = forward
    assert video.shape == (41, 32, 24, 3)
    assert max(sum(lengths) for lengths, _ in seen) == 5 * 12
    windows = [(lengths[0] // 12, *texts) for lengths, texts in seen[:: studio.config.steps]]
    # The first panel has frames 0 to 15, and slots end with frames 0, 4, 8, 12 and 16.
    assert windows == [(5, "a blue box"), (5, "two cats"), (5, "two cats")]


def test_a_longer_roll_begins_like_a_shorter_one(studio):
    short, long = (
        np.concatenate(list(roll(studio, [Panel(prompt=None, seconds=s)], height=16, width=16, fps=8.0)))
        for s in (3.0, 4.5)
    )
    assert np.abs(long[:17].astype(int) - short[:17]).max() <= 1


@pytest.mark.parametrize("kind", ["make", "extend", "roll"])
def test_what_a_studio_leads_away_from_and_wishes_for_reaches_every_task(studio, kind):
    def made(**changes):
        steered = replace(studio, config=SampleConfig(steps=2, guidance=3.0, guidance_to=0.0), **changes)
        if kind == "make":
            return steered.draw([canvas()])[0]
        if kind == "extend":
            return edit.extend(steered, make_video(1, 9), frames=4, fps=8.0, prompt="a blue box")
        return np.concatenate(
            list(roll(steered, [Panel(prompt="a blue box", seconds=1.0)], height=32, width=24, fps=8.0))
        )

    assert not np.array_equal(made(), made(negative="two cats"))
    assert not np.array_equal(made(), made(scores={"aesthetic": 9.0}))


def test_impossible_storyboards_are_refused(studio):
    with pytest.raises(UsageError, match="at least one panel"):
        next(roll(studio, [], height=16, width=16, fps=8.0))
    with pytest.raises(UsageError, match="positive time"):
        Panel(prompt=None, seconds=0.0)
    with pytest.raises(UsageError, match="context_slots 5 must be at least 1 and below window_slots, 5"):
        RollConfig(context_slots=5, window_slots=5)
    model = make_model(latent_channels=CHANNELS, patch=(2, 1, 1))
    assert tiny_config(patch=(2, 1, 1)).patch == (2, 1, 1)
    with pytest.raises(UsageError, match="one latent frame"):
        next(roll(replace(studio, model=model), [Panel(prompt=None, seconds=1.0)], height=16, width=16, fps=8.0))
