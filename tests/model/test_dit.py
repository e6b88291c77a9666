import random
from dataclasses import replace

import pytest
import torch
from stand_ins import CHANNELS, make_dit, make_model, make_segment, tiny_config
from torch.utils.flop_counter import FlopCounterMode

from model.dit import PRESETS, DiT, _mark_features, _waves
from model.flops import batch_flops, token_weights
from model.packed import pack_segments

SHAPES = [(3, 4, 4), (1, 2, 3), (2, 4, 6), (1, 2, 3), (5, 1, 1)]
SEGMENTS = [make_segment(seed, shape, pinned=3 * (seed % 2)) for seed, shape in enumerate(SHAPES, start=1)]


def run(model, segments, budget=None):
    batch = pack_segments(segments, condition_names=model.dit.config.conditions, budget=budget)
    return batch.split(model(batch))


def test_a_packed_clip_gives_what_it_gives_alone():
    model = make_model()
    with torch.no_grad():
        together = run(model, SEGMENTS)
        for segment, output in zip(SEGMENTS, together, strict=True):
            torch.testing.assert_close(run(model, [segment])[0], output, atol=1e-5, rtol=1e-5)


def test_order_and_idle_tokens_change_nothing():
    model = make_model()
    order = list(range(len(SEGMENTS)))
    random.Random(0).shuffle(order)
    with torch.no_grad():
        expected = run(model, SEGMENTS)
        shuffled = run(model, [SEGMENTS[place] for place in order], budget=400)
    for place, output in zip(order, shuffled, strict=True):
        torch.testing.assert_close(output, expected[place], atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("backend", ["grouped", "flex"])
def test_attention_backends_give_the_same_velocities(backend):
    outputs = []
    for name in (backend, "dense"):
        with torch.no_grad():
            outputs.append(torch.cat(run(make_model(attention=name), SEGMENTS)))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)


def test_gradients_of_a_pack_are_the_sum_of_those_of_its_clips():
    model = make_model()

    def gradients(groups):
        model.zero_grad()
        for group in groups:
            batch = pack_segments(group, condition_names=model.dit.config.conditions, budget=200)
            ((model(batch) - batch.target).square().mean(1) * batch.weight).sum().backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    packed, alone = gradients([SEGMENTS]), gradients([[segment] for segment in SEGMENTS])
    scale = max(gradient.abs().max() for gradient in alone.values())
    for name, gradient in alone.items():
        assert (packed[name] - gradient).abs().max() / scale < 1e-5, name


def test_recomputing_blocks_gives_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        model = make_model()
        model.dit.recompute = recompute
        torch.cat(run(model, SEGMENTS)).square().sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*gradients)


def test_an_untrained_model_predicts_zero_and_its_blocks_change_nothing():
    torch.manual_seed(0)
    dit = DiT(tiny_config())
    batch = pack_segments(SEGMENTS, condition_names=dit.config.conditions)
    context = dit.read([torch.randn(3, 12)] * len(SEGMENTS))
    assert not dit(batch, context).any()
    seen = []
    dit.blocks[-1].register_forward_hook(lambda block, inputs, output: seen.append((inputs[0], output)))
    dit(batch, context)
    assert torch.equal(*seen[0])


def test_text_conditions_times_and_pins_all_matter():
    model = make_model()
    segment = make_segment(1, (2, 2, 2), pinned=4)
    base = run(model, [segment])[0]
    for change in (
        {"text": "two cats"},
        {"text": None},
        {"conditions": {}},
        {"conditions": {"fps": 3.0, "motion": 0.5}},
        {"times": torch.tensor([0.31, 0.0])},
        {"times": torch.tensor([0.3, 0.05])},
        {"pinned": torch.zeros(8, dtype=torch.bool)},
        {"grid": replace(segment.grid, fps=16.0)},
        {"grid": replace(segment.grid, single=False)},
    ):
        assert (run(model, [replace(segment, **change)])[0] - base).abs().max() > 1e-6, change


@pytest.mark.parametrize("start_is_seen", [True, False])
def test_only_a_clip_whose_start_is_seen_has_places_in_time(start_is_seen):
    segment = make_segment(1, (4, 2, 2))
    batch = pack_segments([replace(segment, grid=replace(segment.grid, single=start_is_seen))])
    second, last = _mark_features(batch.marks).unflatten(0, (4, 4))[[1, 3]]
    assert torch.equal(second, last) != start_is_seen


def test_a_caption_does_not_depend_on_other_captions():
    model = make_model()
    with torch.no_grad():
        alone = model.read(["two cats"])
        among = model.read(["a red ball rolls to the left", None, "two cats", "two cats"])
    torch.testing.assert_close(among.tokens[-2 * alone.lengths[0] : -alone.lengths[0]], alone.tokens, atol=1e-6, rtol=0)


def test_kept_keys_and_values_give_the_same_velocities():
    model = make_model()
    batch = pack_segments(SEGMENTS, condition_names=model.dit.config.conditions)
    with torch.no_grad():
        torch.testing.assert_close(model(batch, model.read(batch.texts, keep=True)), model(batch))


def test_a_thousand_times_stay_distinct_under_half_precision():
    dit = make_dit()
    segment = make_segment(1, (1, 1, 1))
    times = torch.linspace(0, 1, 1000)
    assert len(torch.unique(_waves(1000 * times, 16), dim=0)) == 1000
    batch = pack_segments([segment], condition_names=dit.config.conditions)
    batch = replace(batch, times=times, time_segment=torch.zeros(1000, dtype=torch.long))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        embedding, modulation = dit._modulation(batch)
    assert embedding.dtype == modulation.dtype == torch.float32
    assert len(torch.unique(embedding, dim=0)) == len(torch.unique(modulation.flatten(1), dim=0)) == 1000


def test_half_precision_stays_close_to_full_precision():
    model = make_model()
    with torch.no_grad():
        full = torch.cat(run(model, SEGMENTS))
        with torch.autocast("cpu", torch.bfloat16):
            half = torch.cat(run(model, SEGMENTS))
    assert (half.float() - full).norm() / full.norm() < 0.03


@pytest.mark.parametrize("layout", ["reelwright", "wan"])
def test_counted_operations_are_those_of_the_formula(layout):
    conditions = {} if layout == "reelwright" else {"conditions": ()}
    model = make_model(attention="dense", layout=layout, width=48, ffn_width=96, **conditions)
    segments = [make_segment(1, (3, 4, 4))]  # one segment: the dense oracle computes nothing that is masked
    batch = pack_segments(segments, condition_names=model.dit.config.conditions)
    states = [torch.randn(7, 12)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.dit(batch, model.dit.read(states))
    unread = 2 * (12 * 48 + 48 * 48)  # the learned row for no text goes along
    expected = batch_flops(model.dit.config, batch.lengths, [7])
    assert counter.get_total_flops() - unread == pytest.approx(expected, rel=0.01)


def test_weights_per_token_are_those_of_the_matrices():
    model = make_model()
    in_blocks = sum(
        parameter.numel()
        for name, parameter in model.dit.blocks.named_parameters()
        if name.endswith("weight") and parameter.ndim == 2 and "cross_kv" not in name
    )
    d = model.dit.config.width
    assert token_weights(model.dit.config) == in_blocks + 2 * CHANNELS * d + 27 * d


def test_presets_have_the_sizes_that_they_state():
    sizes = {}
    for name, preset in PRESETS.items():
        config = preset()
        config = replace(config, latent_channels=config.latent_channels or 16, text_dim=config.text_dim or 512)
        with torch.device("meta"):
            sizes[name] = sum(parameter.numel() for parameter in DiT(config).parameters()) / 1e6
    assert sizes["tiny"] == pytest.approx(2.25, abs=0.05)
    assert sizes["small"] == pytest.approx(9, abs=0.5)
    assert sizes["base"] == pytest.approx(120, abs=5)
    assert sizes["large"] == pytest.approx(600, abs=20)
    assert sizes["wan-1.3b"] == pytest.approx(1420, abs=30)
