from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_ins import STRIDE, make_data, make_sample

from model.conditioning import PinConfig
from model.examples import ExampleConfig, Examples, condition_scales, sample_conditions
from model.flow import FlowConfig
from model.tokens import patchify


def make_examples(budget=64, patch=(1, 1, 1), seed=5, **settings):
    return Examples(ExampleConfig(**settings), FlowConfig(), patch=patch, stride=STRIDE, budget=budget, seed=seed)


def test_what_is_drawn_depends_on_seed_epoch_and_sample_alone():
    sample = make_sample(3, logvar=True)
    one, again = (make_examples().segment(sample, 2) for _ in range(2))
    for name in ("x", "target", "times", "time_index", "pinned"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert (one.text, one.conditions) == (again.text, again.conditions)
    for other in (make_examples(seed=6).segment(sample, 2), make_examples().segment(sample, 3)):
        assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)


def test_noise_and_target_belong_together():
    examples = make_examples(window_share=0.0, image_share=0.0)
    sample = make_sample(0)
    clean = patchify(sample.latent, (1, 1, 1))
    for epoch in range(20):
        segment = examples.segment(sample, epoch)
        t = segment.times[segment.time_index, None]
        torch.testing.assert_close(segment.x - t * segment.target, clean)
        assert segment.times[segment.time_index][~segment.pinned].unique().numel() == 1 or not segment.pinned.any()


def test_planned_lengths_are_the_lengths_that_come():
    for patch in ((1, 1, 1), (1, 2, 2)):
        examples = make_examples(budget=48, patch=patch)
        for index in range(20):
            sample = make_sample(index)
            shape = tuple(sample.latent.shape[1:])
            for epoch in range(10):
                assert examples.num_tokens(sample.sample_id, shape, epoch) == len(examples.segment(sample, epoch).x)


def test_windows_are_images_rests_and_whole_clips_in_the_shares_asked_for():
    examples = make_examples(image_share=0.3, window_share=0.2)
    windows = [examples.window("s", (3, 2, 2), epoch) for epoch in range(2000)]
    spans = [(window.start, window.stop) for window in windows]
    assert spans.count((0, 1)) / 2000 == pytest.approx(0.3, abs=0.035)
    assert spans.count((1, 3)) / 2000 == pytest.approx(0.2, abs=0.035)
    assert set(spans) == {(0, 1), (1, 3), (0, 3)}


def test_a_window_from_the_middle_says_that_it_has_no_one_picture_slot():
    examples = make_examples(image_share=0.0, window_share=1.0)
    assert not examples.segment(make_sample(0), 0).grid.single
    assert make_examples(image_share=0.0, window_share=0.0).segment(make_sample(0), 0).grid.single


def test_clips_beyond_the_budget_are_cut_at_the_end_or_not_used():
    examples = make_examples(budget=40, image_share=0.0, window_share=0.0)
    window = examples.window("s", (5, 4, 4), 0)
    assert (window.start, window.stop) == (0, 2)
    assert examples.exceeds((5, 4, 4))
    assert not examples.exceeds((2, 4, 4))
    assert examples.window("s", (5, 8, 8), 0) is None
    assert examples.num_tokens("s", (5, 8, 8), 0) == 0
    with pytest.raises(ValueError, match="does not fit a budget of 40 tokens"):
        examples.segment(make_sample(0, (1, 8, 8)), 0)


def test_captions_are_mixed_and_dropped_as_asked():
    examples = make_examples()
    sample = make_sample(0)
    texts = [examples.caption(sample, epoch) for epoch in range(10_000)]
    dropped = texts.count(None) / 10_000
    alt = texts.count("IMG 1234") / (10_000 - texts.count(None))
    # 99.9 % intervals of a binomial
    assert abs(dropped - 0.1) < 3.29 * np.sqrt(0.1 * 0.9 / 10_000)
    assert abs(alt - 0.05) < 3.29 * np.sqrt(0.05 * 0.95 / 9_000)


def test_conditions_are_told_by_name_unknown_ones_are_not_and_all_can_be_dropped():
    sample = make_sample(1)
    known = sample_conditions(sample)
    assert set(known) == {"fps", "width", "height", "crop", "motion"}
    assert known["crop"] == 1.0
    assert known["width"] == 5.0  # log2 of 32
    drawn = [make_examples().conditions(sample, epoch) for epoch in range(500)]
    assert sum(not conditions for conditions in drawn) / 500 == pytest.approx(0.1, abs=0.05)
    assert all(conditions.items() <= known.items() for conditions in drawn)
    cropped = replace(sample, crop=(0, 0, 16, 32))
    assert sample_conditions(cropped)["crop"] == 0.5


def test_conditions_are_scaled_by_what_the_training_set_holds():
    centres, scales = condition_scales(make_data(), ("fps", "motion", "sharpness", "crop"))
    assert centres[2:] == [0.0, 1.0]
    assert scales[2:] == [1.0, 1.0]  # never known; never varies
    assert 3.0 < centres[0] < 4.6
    assert scales[1] > 0.1


def test_a_posterior_is_drawn_anew_each_epoch():
    examples = make_examples(image_share=0.0, window_share=0.0, pins=PinConfig(shares={"none": 1.0}))
    sample = make_sample(0, logvar=True)
    clean = [examples.clean_tokens(sample, epoch)[0] for epoch in (0, 0, 1)]
    assert torch.equal(clean[0], clean[1])
    assert not torch.equal(clean[0], clean[2])
    assert (clean[2] - patchify(sample.latent, (1, 1, 1))).std() == pytest.approx(np.exp(-1.0), rel=0.2)


def test_rows_and_columns_beyond_the_last_patch_are_left_off():
    segment = make_examples(patch=(1, 2, 2), image_share=0.0, window_share=0.0).segment(make_sample(0, (2, 5, 3)), 0)
    assert segment.grid.shape == (2, 2, 1)
