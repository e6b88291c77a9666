import numpy as np
import pytest
import torch

from model.ema import PowerEma, Snapshot, gamma_of_width, post_hoc


def run(width, num_steps, at, path):
    """The average at some steps when the weights follow a path."""
    ema = PowerEma(width, [("w", path(0))])
    snapshots = []
    for step in range(1, num_steps + 1):
        ema.update(step, [("w", path(step))])
        if step in at:
            snapshots.append(Snapshot(step, width, {"w": ema.weights["w"].clone()}))
    return snapshots


def test_the_width_is_the_deviation_of_the_profile():
    for width in (0.05, 0.1, 0.2):
        gamma = gamma_of_width(width)
        t = (np.arange(200_000) + 0.5) / 200_000
        profile = t**gamma / np.sum(t**gamma)
        mean = np.sum(profile * t)
        assert np.sqrt(np.sum(profile * (t - mean) ** 2)) == pytest.approx(width, rel=1e-3)


def test_a_straight_path_is_averaged_as_the_closed_form_says():
    width, steps = 0.1, 4000
    (snapshot,) = run(width, steps, {steps}, lambda step: torch.tensor([float(step)], dtype=torch.float64).float())
    gamma = gamma_of_width(width)
    assert snapshot.weights["w"].item() / steps == pytest.approx((gamma + 1) / (gamma + 2), rel=2e-3)


def test_the_start_is_forgotten():
    (snapshot,) = run(0.1, 50, {50}, lambda step: torch.tensor([1e6 if step == 0 else 1.0]))
    assert snapshot.weights["w"].item() == 1.0


def test_any_width_can_be_made_afterwards():
    steps = 2000

    def path(step):
        u = step / steps
        return torch.tensor([u, np.sin(3 * u), u * u, np.exp(-2 * u)])

    stored = [s for width in (0.05, 0.1) for s in run(width, steps, set(range(100, 2001, 100)), path)]
    (wanted,) = run(0.07, steps, {steps}, path)
    made = post_hoc(stored, step=steps, width=0.07)
    torch.testing.assert_close(made["w"], wanted.weights["w"], atol=1e-4, rtol=0)
    nearest = next(s for s in stored if s.step == steps and s.width == 0.05)
    assert (nearest.weights["w"] - wanted.weights["w"]).abs().max() > 1e-3


def test_impossible_widths_and_nothing_to_combine_are_refused():
    with pytest.raises(ValueError, match="between 0 and"):
        gamma_of_width(0.5)
    with pytest.raises(ValueError, match="no stored averages"):
        post_hoc([], step=10, width=0.1)
