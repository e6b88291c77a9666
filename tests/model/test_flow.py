import math

import numpy as np
import pytest
import torch

from curate.counter_random import generator
from model.flow import FlowConfig, add_noise, network_input, shifted, squared_errors, velocity, weighted_loss


def kolmogorov_smirnov(values, distribution):
    values = np.sort(values)
    at = distribution(values)
    n = len(values)
    return max(np.max(np.arange(1, n + 1) / n - at), np.max(at - np.arange(n) / n))


def normal_of_logit(mean, std):
    def distribution(t):
        z = (np.log(t / (1 - t)) - mean) / std
        return 0.5 * (1 + np.array([math.erf(value / math.sqrt(2)) for value in z]))

    return distribution


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, 5.0])
def test_a_shift_moves_the_mean_of_the_logit_by_its_logarithm(shift):
    t = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    torch.testing.assert_close(shifted(t, shift).logit(), t.logit() + math.log(shift), atol=1e-6, rtol=0)

    config = FlowConfig(shift=shift, uniform_share=0.0)
    drawn = np.array([config.draw_time(generator(0, "t", index), 10) for index in range(4000)])
    assert kolmogorov_smirnov(drawn, normal_of_logit(math.log(shift), 1.0)) < 1.63 / math.sqrt(4000)  # 1 % level
    assert kolmogorov_smirnov(drawn, normal_of_logit(math.log(shift) + 0.2, 1.0)) > 1.63 / math.sqrt(4000)


def test_a_share_of_times_is_even_so_that_no_time_stays_untrained():
    config = FlowConfig(shift=15.0, uniform_share=0.2)
    drawn = np.array([config.draw_time(generator(0, "t", index), 10) for index in range(4000)])
    assert np.mean(drawn < 0.2) == pytest.approx(0.04, abs=0.012)


def test_longer_clips_get_more_noise_up_to_a_limit():
    config = FlowConfig(shift=2.0, base_tokens=100)
    assert [config.shift_of(n) for n in (25, 100, 400, 10**6)] == pytest.approx([1.0, 2.0, 4.0, 15.0])
    assert FlowConfig(shift=2.0).shift_of(10**6) == 2.0


def test_velocity_leads_from_noise_to_data_whatever_is_predicted():
    torch.manual_seed(0)
    clean, noise, t = torch.randn(5, 3), torch.randn(5, 3), torch.rand(5, 1) * 0.9 + 0.1
    x = add_noise(clean, noise, t)
    ones = torch.ones(3)
    v = velocity(noise - clean, x, t, ones, "v")
    torch.testing.assert_close(x - t * v, clean)
    torch.testing.assert_close(x + (1 - t) * v, noise)
    torch.testing.assert_close(velocity(clean, x, t, ones, "x0"), v, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_a_residual_has_a_deviation_of_one_and_nothing_that_a_line_could_tell(t):
    random = torch.Generator().manual_seed(0)
    deviation = torch.tensor([0.05, 1.0, 4.0])
    clean = deviation * torch.randn(200_000, 3, generator=random)
    noise, times = torch.randn(200_000, 3, generator=random), torch.full((200_000, 1), t)
    x = add_noise(clean, noise, times)
    seen = network_input(x, times, deviation, "residual")
    at_zero = velocity(torch.zeros_like(x), x, times, deviation, "residual")
    per_unit = velocity(torch.ones_like(x), x, times, deviation, "residual") - at_zero
    residual = (noise - clean - at_zero) / per_unit
    torch.testing.assert_close(seen.std(dim=0), torch.ones(3), atol=0.01, rtol=0)
    torch.testing.assert_close(residual.std(dim=0), torch.ones(3), atol=0.01, rtol=0)
    torch.testing.assert_close((residual * seen).mean(dim=0), torch.zeros(3), atol=0.01, rtol=0)


def test_the_loss_weighs_tokens_alike_or_clips_alike():
    assert FlowConfig(clip_share=0.0).segment_weight(7) == 7.0
    assert FlowConfig(clip_share=1.0).segment_weight(7) == 1.0
    errors = squared_errors(torch.tensor([[1.0, 1.0], [2.0, 0.0]]), torch.zeros(2, 2))
    assert errors.tolist() == [1.0, 2.0]
    assert weighted_loss(errors, torch.tensor([0.5, 2.0])) == 4.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"shift": 0.0}, "shift 0.0 must be positive"), ({"std": -1.0}, "std"), ({"uniform_share": 2.0}, "uniform_share")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FlowConfig(**settings)
