"""Pictures that were made apart meet without a jump, and nothing else of them changes."""

import numpy as np
import pytest
import torch

from model.joins import closed, eased, joined


def line(start: float, step: float, frames: int) -> torch.Tensor:
    """`[1, T, 2, 2]`: every value goes on by `step` from picture to picture."""
    return (start + step * torch.arange(frames))[None, :, None, None].expand(1, frames, 2, 2)


def test_frames_that_go_on_already_stay_as_they_are():
    whole = line(0.1, 0.05, 9)
    assert torch.allclose(eased(whole[:, 1:], whole[:, :1]), whole[:, 1:])


def test_an_offset_is_taken_up_by_the_first_half_step_by_step():
    moved = eased(line(1.0, 0.1, 8), line(0.0, 0.1, 1))  # comes from 0.9, and the picture before is 0
    steps = moved[0, :, 0, 0].diff(prepend=torch.zeros(1))
    assert torch.allclose(steps[:5], torch.tensor(0.1 + 0.9 / 5))
    assert torch.allclose(moved[:, 4:], line(1.0, 0.1, 8)[:, 4:])


@pytest.mark.parametrize("frames", [0, 1])
def test_fewer_than_two_frames_stay_as_they_are(frames):
    assert torch.equal(eased(line(1.0, 0.1, frames), line(0.0, 0.0, 1)), line(1.0, 0.1, frames))


def test_no_value_moves_by_more_than_it_may():
    cut = eased(line(1.0, 0.0, 8), line(-1.0, 0.0, 1), most=0.1)
    assert (cut - line(1.0, 0.0, 8)).abs().max() <= 0.1


@pytest.mark.parametrize(("before", "after"), [(True, False), (False, True), (True, True)])
def test_made_frames_lead_from_what_was_given_to_what_was_given(before, after):
    given = [np.full((2, 3, 3), value, np.uint8) if wanted else None for value, wanted in ((100, before), (90, after))]
    made = np.full((12, 2, 3, 3), 130, np.uint8)
    result = joined(made, before=given[0], after=given[1], over=4).astype(int)
    row = [*([100] if before else []), *result[:, 0, 0, 0], *([90] if after else [])]
    assert np.abs(np.diff(row)).max() <= 8  # at once it would be 30 and 40
    assert (result[4:8] == 130).all()


def test_slots_of_a_loop_go_over_into_each_other_and_the_last_into_the_first():
    slots = [line(start, 0.01, 8) for start in (0.0, 0.1, 0.05)]
    before, after = (
        video[0, :, 0, 0].diff(prepend=video[0, -1:, 0, 0])
        for video in (torch.cat(slots, 1), closed(torch.cat(slots, 1), slot=8, most=1.0))
    )
    assert torch.allclose(before[[0, 8, 16]], torch.tensor([-0.12, 0.03, -0.12]))
    assert torch.allclose(after[[0, 8, 16]], torch.tensor(0.01), atol=1e-6)
    assert after.abs().max() < 0.03
    assert torch.allclose(after.sum(), torch.tensor(0.0), atol=1e-6)


def test_a_loop_that_jumps_keeps_its_jump_and_slots_of_one_frame_stay_as_they_are():
    jumps = torch.cat([line(0.0, 0.0, 4), line(1.0, 0.0, 4)], dim=1)
    assert torch.equal(closed(jumps, slot=4, most=0.5), jumps)
    assert torch.equal(closed(jumps, slot=1, most=2.0), jumps)
