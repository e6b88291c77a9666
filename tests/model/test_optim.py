import math

import pytest
import torch
from stand_ins import make_model

from model.optim import AdaptiveClip, OptimConfig, gradient_norm, lr_factor, make_optimizers, scale_gradients


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    config = OptimConfig(warmup_steps=9, cooldown_share=0.2)
    factors = [lr_factor(step, 100, config) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:80] == [1.0] * 71
    assert factors[90] == pytest.approx(0.5)
    assert factors[100] == 0.0
    assert lr_factor(100, 100, OptimConfig(warmup_steps=0, cooldown_share=0.0)) == 1.0


def test_only_matrices_decay_and_only_those_in_blocks_go_to_muon():
    model = make_model()
    names = {parameter: name for name, parameter in model.named_parameters()}
    adamw, muon = make_optimizers(model, OptimConfig(name="muon", weight_decay=0.1))
    assert {names[p] for group in muon.param_groups for p in group["params"]} >= {
        "dit.blocks.0.qkv.weight", "text.blocks.0.up.weight",
    }  # fmt: skip
    decayed, plain = ([names[p] for p in group["params"]] for group in adamw.param_groups)
    assert "dit.patch_in.weight" in decayed
    assert {"dit.table", "dit.no_text", "dit.blocks.0.table", "dit.blocks.0.qkv.bias", "text.embedding.weight"} <= set(
        plain
    )
    assert sum(len(group["params"]) for o in (adamw, muon) for group in o.param_groups) == len(names)


def test_an_unusual_gradient_is_shortened_and_does_not_raise_the_limit():
    clip = AdaptiveClip(3.0)
    assert clip.limit() == math.inf
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        clip.factor(1.0 + 0.1 * float(torch.randn((), generator=random)))
    assert 1.2 < clip.limit() < 1.5
    limit = clip.limit()
    assert clip.factor(100.0) == pytest.approx(limit / 100.0)
    assert clip.limit() < limit + 0.1
    assert clip.factor(1.0) == 1.0


def test_clipping_goes_on_from_its_state():
    clip = AdaptiveClip(3.0)
    for norm in (1.0, 1.1, 0.9) * 10:
        clip.factor(norm)
    other = AdaptiveClip(3.0)
    other.load(clip.state())
    assert other.limit() == clip.limit()


def test_norm_and_scale_are_over_all_gradients():
    parameters = [
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.zeros(1)),
        torch.nn.Parameter(torch.zeros(3)),
    ]
    parameters[0].grad = torch.tensor([3.0, 0.0])
    parameters[1].grad = torch.tensor([4.0])
    assert gradient_norm(parameters) == 5.0
    scale_gradients(parameters, 0.5)
    assert parameters[1].grad.item() == 2.0
