from dataclasses import replace

import numpy as np
import pytest
from stand_ins import make_data, make_model, make_text, tiny_config
from test_train import make_config, make_trainer

from curate.errors import TrainingError, WeightsError
from model.canvas import Canvas
from model.codec.pca import PCACodec
from model.evaluate import (
    ClipFeatures,
    Question,
    RandomFeatures,
    attribute_accuracy,
    clip_score,
    distances,
    drawn_questions,
    frechet_distance,
    kernel_distance,
    wilson_interval,
)
from model.flops import batch_flops
from model.pack import PackConfig
from model.plan import count_parameters, describe_plan, memory_bytes, plan_run, time_step
from model.sample import SampleConfig
from model.studio import Studio
from model.train_config import PRESETS, completed


def test_a_plan_tells_what_training_then_does(tmp_path):
    config = make_config(steps=40, log_every=1)
    plan = plan_run(make_data(), make_text(), config, stride=4)
    trainer = make_trainer(tmp_path, config)
    record = trainer.run()
    assert plan["parameters"] == sum(p.numel() for p in trainer.model.dit.parameters())
    assert plan["samples_that_fit"] == plan["samples"] == 24
    assert plan["clips_per_step"] == pytest.approx(record["total"]["samples"] / 40, rel=0.05)
    assert plan["epochs"] == pytest.approx(record["total"]["samples"] / 24, rel=0.05)
    assert plan["operations"] == pytest.approx(record["total"]["flops"], rel=0.05)
    assert 1 - plan["waste"] == pytest.approx(record["total"]["tokens"] / (40 * 2 * 128), abs=0.02)
    written = sum(file.stat().st_size for file in (tmp_path / "step-00000040").glob("*.safetensors"))
    assert plan["checkpoint_bytes"] == pytest.approx(written, rel=0.35)  # the text encoder is not counted
    assert sum(plan["sizes"].values()) == 24


def test_a_plan_reads_like_one():
    config = make_config()
    seconds = time_step(make_data(), make_text(), config, stride=4, steps=1)
    text = describe_plan(plan_run(make_data(), make_text(), config, stride=4, seconds_per_step=seconds))
    assert "24 of 24 fit the token budget, 0 of them without their end" in text
    assert "waste" in text
    assert "s per step here" in text


def test_a_plan_for_nothing_that_fits_says_why():
    config = make_config(packs=PackConfig(token_budget=3))
    with pytest.raises(TrainingError, match=r"packs\.token_budget = 3"):
        plan_run(make_data(), make_text(), config, stride=4)


def test_memory_falls_with_shards_recomputation_and_half_precision():
    config = completed(PRESETS["base"](), latent_channels=16, text_dim=256)
    plain = replace(config, parallel=replace(config.parallel, precision="fp32"))
    sharded = replace(plain, parallel=replace(plain.parallel, mode="fsdp"))
    recomputed = replace(plain, parallel=replace(plain.parallel, recompute=True))
    assert memory_bytes(sharded, 8)["optimizer"] == memory_bytes(plain, 8)["optimizer"] // 8
    assert memory_bytes(recomputed)["activations_about"] < memory_bytes(plain)["activations_about"] / 5
    assert memory_bytes(config)["activations_about"] == memory_bytes(plain)["activations_about"] // 2
    assert memory_bytes(plain)["weights"] == 4 * count_parameters(config.model)


def test_padding_is_not_work():
    config = tiny_config()
    packed = batch_flops(config, [10, 20], [5, 5])
    padded = batch_flops(config, [20, 20], [5, 5])
    assert packed < padded
    assert packed == pytest.approx(batch_flops(config, [10], [5]) + batch_flops(config, [20], [5]))


def test_the_frechet_distance_of_gaussians_is_the_closed_form():
    random = np.random.default_rng(0)
    one = random.standard_normal((60_000, 3)) * [1.0, 2.0, 0.5]
    other = random.standard_normal((60_000, 3)) * [1.0, 1.0, 0.5] + [1.0, 0.0, 0.0]
    assert frechet_distance(one, other) == pytest.approx(1.0 + 1.0, rel=0.03)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)


def test_the_kernel_distance_is_unbiased():
    random = np.random.default_rng(0)
    same = [kernel_distance(*random.standard_normal((2, 40, 4))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    other = [kernel_distance(random.standard_normal((40, 4)), random.standard_normal((40, 4)) + 0.7) for _ in range(50)]
    assert np.mean(other) > 5 * np.std(same)


def videos(seed, count=24, brightness=0):
    random = np.random.default_rng(seed)
    sizes = [(5, 16, 24), (1, 24, 16), (9, 16, 16)]
    return [(random.integers(0, 120, (*sizes[index % 3], 3)) + brightness).astype(np.uint8) for index in range(count)]


def test_distances_name_their_features_and_tell_sets_apart():
    features = RandomFeatures()
    near, far = distances(videos(0), videos(1), features), distances(videos(0), videos(2, brightness=80), features)
    assert near["features"] == "random-conv3d/1"
    assert (near["real"], near["made"]) == (24, 24)
    assert far["frechet"] > 3 * near["frechet"]
    assert far["kernel"] > 10 * abs(near["kernel"])
    assert np.array_equal(RandomFeatures()(videos(0, 1)[0]), features(videos(0, 1)[0]))


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"), [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (50, 100, 0.404, 0.596)]
)
def test_intervals_are_those_of_wilson(hits, total, low, high):
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=1e-3)


def test_accuracy_counts_each_fact_and_all_of_them():
    studio = Studio(
        model=make_model(latent_channels=6), codec=PCACodec(stride=(4, 8, 8), z_dim=6), config=SampleConfig(steps=1),
        provenance={},
    )  # fmt: skip
    canvas = Canvas(frames=1, height=8, width=8, fps=8.0, prompt=None)
    questions = [
        Question(canvas, lambda video, number=number: {"colour": number < 3, "shape": number % 2 == 0})
        for number in range(4)
    ]
    result = attribute_accuracy(studio, questions, together=3)
    assert {name: entry["share"] for name, entry in result.items()} == {"colour": 0.75, "shape": 0.5, "all": 0.5}
    assert result["all"]["videos"] == 4


def test_drawn_questions_are_answered_right_by_what_they_describe():
    from curate.counter_random import generator
    from curate.drawn.render import render_shot
    from curate.drawn.sample import sample_shot
    from curate.drawn.shot import is_held_out, tiny_world

    questions = drawn_questions(6, sizes=((32, 32), (24, 40)), frames=(9, 1), fps=8.0)
    shots = [
        sample_shot(generator(0, "question", index), tiny_world(), held_out=True, duration_s=(1.0, 0.5)[index % 2])
        for index in range(6)
    ]
    for question, shot in zip(questions, shots, strict=True):
        assert is_held_out(shot.subject.shape, shot.subject.color, shot.subject.motion)
        canvas = question.canvas
        video = render_shot(shot, canvas.width, canvas.height, canvas.fps, num_frames=canvas.frames)
        shown = question.judge(video)
        assert all(shown.values())
        assert ("motion" in shown) == (canvas.frames > 1)
        assert not all(question.judge(255 - video).values())


def test_the_clip_score_compares_videos_with_their_prompts(tmp_path):
    import json

    import open_clip
    from safetensors.torch import save_file

    sizes = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "score-clip.json").write_text(json.dumps(sizes))
    open_clip.add_model_config(tmp_path / "score-clip.json")
    weights = open_clip.create_model("score-clip").state_dict()
    file = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    features = ClipFeatures("score-clip", str(file))
    videos = list(np.random.default_rng(0).integers(0, 255, (3, 4, 20, 30, 3), np.uint8))
    prompts = ["a red circle", "two cats", "rain over a lake"]
    found = clip_score(videos, prompts, features)
    cosines = np.array([[features(video) @ features.of_text(prompt) for prompt in prompts] for video in videos])
    assert found["cosine"] == pytest.approx(np.trace(cosines) / 3, abs=1e-5)
    assert found["cosine_other_prompt"] == pytest.approx((cosines[0, 1] + cosines[1, 2] + cosines[2, 0]) / 3, abs=1e-5)
    (tmp_path / "weights.pt").write_bytes(b"any")
    with pytest.raises(WeightsError, match=r"read from \.safetensors only"):
        ClipFeatures("score-clip", str(tmp_path / "weights.pt"))
