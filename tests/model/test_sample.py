import math

import numpy as np
import pytest
import torch
from stand_ins import CHANNELS, make_model

from model.flow import shifted
from model.sample import Job, SampleConfig, draw_samples, job_noise
from model.solvers import SOLVERS, solve
from model.tokens import Grid


def gaussian_velocity(mean, std):
    """The exact velocity when the data are N(mean, std^2): E[e - x0 | x_t]."""

    def velocity(x, times, step):
        t = times[:, None].double()
        variance = (1 - t) ** 2 * std**2 + t**2
        centred = x - (1 - t) * mean
        return (t - (1 - t) * std**2) / variance * centred - mean

    return velocity


# The clean estimate along log-SNR has its order where log-SNR is finite.
@pytest.mark.parametrize(
    ("solver", "order", "start", "end"),
    [("euler", 1, 1.0, 0.0), ("heun", 2, 1.0, 0.0), ("adams", 2, 1.0, 0.0), ("dpm++", 2, 0.9, 0.1)],
)
def test_errors_fall_at_the_order_of_the_solver(solver, order, start, end):
    mean, std = 0.7, 0.4

    def on_the_way(t):  # every quantile of the noise goes to the same quantile of the data
        return (1 - t) * mean + math.sqrt((1 - t) ** 2 * std**2 + t**2) * quantiles

    quantiles = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    counts, errors = [64, 128, 256, 512], []
    for count in counts:
        times = torch.linspace(start, end, count + 1, dtype=torch.float64)[:, None].expand(-1, 9)
        arrived = solve(gaussian_velocity(mean, std), on_the_way(start), times, solver)
        errors.append((arrived - on_the_way(end)).abs().max().item())
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_euler_follows_the_trajectory_of_diffusers(shift):
    from diffusers import FlowMatchEulerDiscreteScheduler

    velocity = gaussian_velocity(0.3, 0.5)
    steps = 12
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist())
    x = torch.randn(5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = x.clone()
    for sigma, timestep in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
        v = velocity(expected, sigma.expand(5), 0)
        expected = scheduler.step(v.float(), timestep, expected.float()).prev_sample.double()
    times = shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)[:, None].expand(-1, 5)
    torch.testing.assert_close(solve(velocity, x, times, "euler"), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of the scheduler's own set-up
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_the_multistep_solver_follows_the_trajectory_of_diffusers(shift):
    from diffusers import DPMSolverMultistepScheduler

    velocity = gaussian_velocity(0.3, 0.5)
    steps = 20
    scheduler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(steps)
    x = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    expected = x.clone()
    for sigma, timestep in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
        expected = scheduler.step(velocity(expected, sigma.expand(5), 0).float(), timestep, expected).prev_sample
    times = scheduler.sigmas.double()[:, None].expand(-1, 5)
    torch.testing.assert_close(solve(velocity, x.double(), times, "dpm++"), expected.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_token_whose_time_stands_still_does_not_move(solver):
    velocity = gaussian_velocity(0.3, 0.5)
    x = torch.randn(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    free = torch.linspace(1, 0, 11, dtype=torch.float64)
    columns = [free, free.clamp(max=0.6), torch.zeros(11), torch.full((11,), 0.05), free.clamp(min=0.3), free]
    times = torch.stack([column.double() for column in columns], dim=1)
    end = solve(velocity, x, times, solver)
    assert torch.equal(end[2], x[2])
    assert torch.equal(end[3], x[3])
    alone = solve(velocity, x[:1], times[:, :1], solver)
    torch.testing.assert_close(end[:1], alone)
    assert end.isfinite().all()


def test_a_token_that_starts_late_ends_as_if_it_had_started_there():
    velocity = gaussian_velocity(0.3, 0.5)
    x = torch.randn(1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.linspace(1, 0, 401, dtype=torch.float64)[:, None]
    late = solve(velocity, x, times.clamp(max=0.6), "dpm++")
    fresh = solve(velocity, x, torch.linspace(0.6, 0, 241, dtype=torch.float64)[:, None], "dpm++")
    torch.testing.assert_close(late, fresh, atol=1e-9, rtol=0)


def test_unknown_solvers_are_refused():
    with pytest.raises(ValueError, match="known: euler, heun, adams, dpm"):
        solve(gaussian_velocity(0, 1), torch.zeros(1, 1), torch.zeros(2, 1), "rk45")


SHAPES = [(3, 2, 2), (1, 3, 2), (3, 2, 2), (2, 1, 4)]


def make_job(seed, shape, **changes):
    grid = Grid(shape=shape, fps=8.0)
    n = grid.num_tokens
    settings = {
        "grid": grid,
        "given": torch.randn(n, CHANNELS, generator=torch.Generator().manual_seed(seed)),
        "ceiling": torch.ones(n),
        "floor": torch.zeros(n),
        "noise": job_noise(seed, n, CHANNELS),
        "text": "a blue box",
        "conditions": {"fps": 3.0},
    }
    return Job(**{**settings, **changes})


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_does_not_depend_on_its_neighbours(solver):
    model = make_model()
    config = SampleConfig(steps=5, solver=solver)
    jobs = [make_job(seed, shape) for seed, shape in enumerate(SHAPES)]
    together = draw_samples(model, jobs, config)
    for job, sample in zip(jobs, together, strict=True):
        torch.testing.assert_close(draw_samples(model, [job], config)[0], sample, atol=2e-5, rtol=1e-4)
    in_turns = draw_samples(model, jobs, SampleConfig(steps=5, solver=solver, max_tokens=30))
    for one, other in zip(together, in_turns, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_held_tokens_come_back_to_the_bit(solver):
    ceiling = torch.ones(12)
    ceiling[:4] = 0.0
    held_noisy = torch.zeros(12)
    ceiling[4:6], held_noisy[4:6] = 0.1, 0.1  # seen a little noisy by the model, given back clean
    job = make_job(1, (3, 2, 2), ceiling=ceiling, floor=held_noisy)
    (sample,) = draw_samples(make_model(), [job], SampleConfig(steps=6, solver=solver))
    assert torch.equal(sample[:6], job.given[:6])
    assert not torch.isclose(sample[6:], job.given[6:]).any()


def test_guidance_of_one_is_the_text_alone_and_of_zero_no_text():
    model = make_model()
    draw = lambda **changes: draw_samples(model, [make_job(3, (2, 2, 2), **changes)], SampleConfig(steps=4))[0]  # noqa: E731
    torch.testing.assert_close(draw(guidance=0.0), draw(guidance=1.0, text=None), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(draw(guidance=1.0), draw(guidance=0.0))
    assert not torch.allclose(draw(guidance=3.0), draw(guidance=1.0))
    assert not torch.allclose(draw(guidance=3.0, negative="two cats"), draw(guidance=3.0))


def test_packed_branches_are_two_passes_combined():
    model = make_model()
    job = make_job(3, (2, 2, 2), guidance=2.5)

    def velocity(text):
        from model.packed import Segment, pack_segments

        segment = Segment(
            x=job.noise, grid=job.grid, times=torch.ones(1), time_index=torch.zeros(8, dtype=torch.long),
            pinned=torch.zeros(8, dtype=torch.bool), text=text, conditions=job.conditions,
        )  # fmt: skip
        with torch.no_grad():
            return model(pack_segments([segment], condition_names=model.dit.config.conditions))

    (sample,) = draw_samples(model, [job], SampleConfig(steps=1, solver="euler"))
    expected = job.noise - (velocity(None) + 2.5 * (velocity("a blue box") - velocity(None)))
    torch.testing.assert_close(sample, expected, atol=1e-6, rtol=1e-5)


def test_guidance_can_be_kept_to_an_interval():
    model = make_model()
    job = make_job(3, (2, 2, 2))
    never = draw_samples(model, [job], SampleConfig(steps=4, guidance=4.0, guidance_from=0.0, guidance_to=0.0))[0]
    plain = draw_samples(model, [job], SampleConfig(steps=4, guidance=1.0))[0]
    some = draw_samples(model, [job], SampleConfig(steps=4, guidance=4.0, guidance_from=0.9))[0]
    always = draw_samples(model, [job], SampleConfig(steps=4, guidance=4.0, guidance_to=0.0))[0]
    torch.testing.assert_close(never, plain, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(some, plain, atol=1e-3)
    assert not torch.allclose(some, always, atol=1e-3)


def test_rescaling_brings_the_spread_back():
    model = make_model()
    jobs = [make_job(3, (2, 2, 2), guidance=8.0)]
    plain, rescaled = (
        draw_samples(model, jobs, SampleConfig(steps=1, solver="euler", rescale=share))[0] for share in (0.0, 1.0)
    )
    conditional = draw_samples(model, [make_job(3, (2, 2, 2), guidance=1.0)], SampleConfig(steps=1, solver="euler"))[0]
    noise = jobs[0].noise
    assert (rescaled - noise).std() == pytest.approx((conditional - noise).std().item(), rel=1e-4)
    assert (plain - noise).std() > 1.2 * (rescaled - noise).std()


def test_a_loop_does_not_know_where_it_begins():
    model = make_model()
    shape, steps, moved = (4, 2, 2), 5, 1
    shifts = (0, 3, 1, 2, 2)
    grid = Grid(shape=shape, fps=8.0, single=False)
    noise = job_noise(0, 16, CHANNELS)

    def draw(noise, shifts):
        job = make_job(0, shape, grid=grid, noise=noise, frame_shifts=shifts)
        return draw_samples(model, [job], SampleConfig(steps=steps))[0].unflatten(0, (4, 4))

    rolled = noise.unflatten(0, (4, 4)).roll(moved, 0).flatten(0, 1)
    expected = draw(noise, shifts).roll(moved, 0)
    torch.testing.assert_close(draw(rolled, tuple((s - moved) % 4 for s in shifts)), expected, atol=1e-5, rtol=1e-5)


def test_the_schedule_of_a_request_that_starts_halfway_is_spent_on_the_rest_of_the_way():
    model = make_model()
    seen = []
    forward = model.forward
    model.forward = lambda batch, context=None: seen.append(batch.times.max().item()) or forward(batch, context)
    draw_samples(model, [make_job(0, (2, 2, 2), ceiling=torch.full((8,), 0.5), guidance=1.0)], SampleConfig(steps=8))
    assert len(seen) == 8
    assert seen[0] == pytest.approx(0.5)
    assert len(set(seen)) == 8
    assert math.isclose(max(seen), seen[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"guidance_from": 0.2, "guidance_to": 0.5}, "guidance runs from 0.2 down to 0.5"),
        ({"shift": -1.0}, "shift must be positive"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SampleConfig(**settings)
