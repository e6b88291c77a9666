import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from captioner import training
from captioner.evaluate.facts import score_facts
from captioner.fact_parser import parse_facts
from captioner.tokenizer import train_tokenizer
from captioner.training import CaptionLoss, build_model, learning_rate_factor, stage_folder, train_captioner
from captioner.training_config import PRESETS, StageConfig, TrainingConfig, dall_e_3_stages, smoke
from captioner.training_data import DrawnSource, batches, drawn_source
from captioner.video_coca import VideoCoCa
from curate.config import build, with_overrides
from curate.drawn.shot import is_held_out, tiny_world
from curate.errors import ConfigError, UsageError

SMOKE = smoke()


@pytest.fixture(scope="module")
def source() -> DrawnSource:
    return DrawnSource(SMOKE.model.frames, world=tiny_world())


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    """A run that was never interrupted, and what it said."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("runs") / "whole"
    train_captioner(SMOKE, source, out, say=said.append)
    return out, said


class Stopped(Exception):
    pass


@pytest.mark.parametrize("steps_before", [2, 4, 7])  # within a stage, at its end, within the next
def test_a_stopped_run_goes_on_to_the_same_bit(trained, source, tmp_path, monkeypatch, steps_before):
    whole, _ = trained
    taken = []
    step = training._Run._step

    def stop_after(self, *args):
        if len(taken) == steps_before:
            raise Stopped
        taken.append(1)
        return step(self, *args)

    monkeypatch.setattr(training._Run, "_step", stop_after)
    with pytest.raises(Stopped):
        train_captioner(SMOKE, source, tmp_path, save_every_s=0.0, say=str)
    monkeypatch.undo()
    train_captioner(SMOKE, source, tmp_path, save_every_s=0.0, say=str)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_finished_run_has_nothing_left_to_do(trained, source):
    said: list[str] = []
    train_captioner(SMOKE, source, trained[0], say=said.append)
    assert said == []


def test_other_settings_or_data_need_another_folder(trained, source):
    with pytest.raises(UsageError, match="other settings or data"):
        train_captioner(dataclasses.replace(SMOKE, seed=1), source, trained[0])
    with pytest.raises(UsageError, match="other settings or data"):
        train_captioner(SMOKE, DrawnSource(SMOKE.model.frames, world=tiny_world(), seed=1), trained[0])


def test_every_stage_leaves_a_captioner_that_knows_its_kinds(trained):
    out, _ = trained
    kinds = [VideoCoCa.from_pretrained(stage_folder(out, name)).config.kinds for name in SMOKE.stages]
    assert kinds == [["alt"], ["alt", "short"], ["alt", "short", "descriptive"]]


def test_losses_and_samples_are_shown_and_kept(trained):
    out, said = trained
    rows = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["base", "short", "descriptive"]
    assert all(np.isfinite([row["caption"], row["contrast"]]).all() and len(row["samples"]) == 8 for row in rows)
    assert any("samples differ" in line for line in said)


def test_a_branch_starts_from_the_stage_it_names(trained, source, tmp_path):
    """As in the paper, descriptive captions may be learnt from the base rather than from the short stage."""
    stages = dall_e_3_stages(base=2, short=2, descriptive=1, batch_size=8)
    stages["descriptive"] = dataclasses.replace(stages["descriptive"], init_from="base", learning_rate=0.0)
    train_captioner(dataclasses.replace(SMOKE, stages=stages), source, tmp_path, say=str)
    branch, base, short = (
        load_file(stage_folder(tmp_path, name) / "model.safetensors") for name in ("descriptive", "base", "short")
    )
    assert torch.equal(branch["text.token_embedding.weight"], base["text.token_embedding.weight"])
    assert not torch.equal(branch["text.token_embedding.weight"], short["text.token_embedding.weight"])


def test_kinds_that_the_data_lacks_are_found_before_any_work(source, tmp_path):
    stages = {"only": StageConfig(mix={"human": 1.0}, steps=1)}
    with pytest.raises(UsageError, match="learns from human captions, but the data has only alt, descriptive, short"):
        train_captioner(dataclasses.replace(SMOKE, stages=stages), source, tmp_path)
    assert not (tmp_path / "training").exists()


def test_one_batch_can_be_learnt_by_heart():
    """Frames, kinds, words and claims all reach the loss: eight clips, then the same clips, every fact right."""
    config = dataclasses.replace(SMOKE.model, width=48, embed_dim=48, decoder_layers=1)
    source = DrawnSource(config.frames, world=tiny_world())
    tokenizer = train_tokenizer(source.texts(frozenset({"short"}), 200), vocab_size=400)
    torch.manual_seed(0)
    model = build_model(config, tokenizer)
    model.learn_kind("short")
    stage = StageConfig(mix={"short": 1.0}, steps=1, batch_size=8, facts=1.0)
    batch = next(batches(source, tokenizer, "one", stage, context=config.context, first=0, seed=0))
    loss_of = CaptionLoss(model, stage)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        loss, parts = loss_of(batch.frames, batch.ids, batch.kinds, batch.claims)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    captions = model.eval().caption(list(batch.frames.numpy()), kind="short")
    told = [{slot: source.truth(index)[slot] for slot in ("shape", "color", "motion")} for index in range(8)]
    claims = [
        {slot: value for slot, value in (parse_facts(caption.text) or {}).items() if slot != "count"}
        for caption in captions
    ]
    assert score_facts(told, claims).f1 > 0.95
    assert parts["facts"] < 0.1


def test_clips_with_the_same_caption_are_no_mistake_of_each_other():
    config = SMOKE.model
    tokenizer = train_tokenizer(["a b", "c d"], vocab_size=300)
    torch.manual_seed(0)
    loss_of = CaptionLoss(build_model(config, tokenizer), StageConfig(mix={"alt": 1.0}, steps=1))
    vectors = torch.eye(4)
    different = torch.from_numpy(tokenizer.encode(["a", "b", "c", "d"], max_tokens=8))
    alike = torch.from_numpy(tokenizer.encode(["a", "a", "a", "a"], max_tokens=8))
    assert loss_of._contrast(vectors, vectors.roll(1, 0), different) > 1
    assert loss_of._contrast(vectors, vectors.roll(1, 0), alike) == 0


def test_ranks_share_a_batch_between_them(source):
    tokenizer = train_tokenizer(source.texts(frozenset({"short"}), 50), vocab_size=300)
    stage = StageConfig(mix={"short": 0.5, "alt": 0.5}, steps=2, batch_size=6)
    keep = {"context": 40, "first": 100, "seed": 3}
    whole = list(batches(source, tokenizer, "s", stage, **keep))
    halves = [list(batches(source, tokenizer, "s", stage, **keep, rank=rank, world_size=2)) for rank in (0, 1)]
    for step in range(2):
        for rank in (0, 1):
            assert torch.equal(halves[rank][step].frames, whole[step].frames[rank::2])
            assert torch.equal(halves[rank][step].kinds, whole[step].kinds[rank::2])
    later = next(batches(source, tokenizer, "s", stage, **keep, start_step=1))
    assert torch.equal(later.frames, whole[1].frames)


def test_held_out_combinations_are_never_trained_on():
    source = DrawnSource(SMOKE.model.frames)
    for held_out in (False, True):
        for index in range(200):
            subject = source.shot(index, held_out=held_out).subject
            assert is_held_out(subject.shape, subject.color, subject.motion) == held_out


def test_a_clip_comes_up_again_later_in_other_words():
    source = DrawnSource(SMOKE.model.frames, ramp=3000, shows=2)
    drawn = [source.example("descriptive", index) for index in (5, 5 + 1024, 5 + 2048)]
    assert source.truth(5) == source.truth(5 + 1024)
    assert parse_facts(drawn[0].text) == parse_facts(drawn[1].text)
    assert np.array_equal(drawn[0].frames, drawn[1].frames)
    assert drawn[0].text != drawn[1].text
    assert not np.array_equal(drawn[1].frames, drawn[2].frames)
    fresh = DrawnSource(SMOKE.model.frames, ramp=3000, shows=2).example("descriptive", 5 + 1024)  # as after a restart
    assert np.array_equal(fresh.frames, drawn[1].frames)


def test_the_drawn_world_begins_simple_and_is_whole_for_descriptive_captions():
    assert drawn_source(SMOKE).ramp == 2 * 4 * 8
    source = DrawnSource(SMOKE.model.frames, ramp=4000)
    early, later = ([source.shot(index) for index in range(first, first + 200)] for first in (0, 4000))
    assert sum(shot.other is None and shot.text is None and shot.lighting == "bright" for shot in early) > 180
    assert sum(shot.other is None and shot.text is None and shot.lighting == "bright" for shot in later) < 60


def test_captions_leave_out_what_a_training_is_too_short_for():
    source = drawn_source(dataclasses.replace(SMOKE, untold=("text", "texture")))
    told = [set(parse_facts(source.example("descriptive", index).text)) for index in range(4000, 4050)]
    assert not any({"text", "texture"} & slots for slots in told)
    assert all({"shape", "size", "camera"} <= slots for slots in told)


def test_a_still_is_one_frame_of_its_clip():
    source = DrawnSource(SMOKE.model.frames)
    for index in range(5):
        whole, still = (source.example("short", index, still=still) for still in (False, True))
        assert still.frames.shape == (1, *whole.frames.shape[1:])
        told = parse_facts(whole.text) or {}
        assert parse_facts(still.text) == {slot: told[slot] for slot in ("count", "color", "shape")}
        distance = np.abs(whole.frames.astype(int) - still.frames).mean((1, 2, 3))
        assert distance.min() < 6  # grain aside


def test_the_rate_of_learning_warms_up_and_falls():
    stage = StageConfig(mix={"short": 1.0}, steps=100, warmup_steps=10)
    factors = [learning_rate_factor(step, stage) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(factors[9], abs=0.03)
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert 0.05 <= factors[-1] < 0.06


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_being_written_down(name, tmp_path):
    from curate.config import load_toml, to_toml

    (tmp_path / "preset.toml").write_text(to_toml(PRESETS[name]()))
    assert build(TrainingConfig, load_toml(tmp_path / "preset.toml")) == PRESETS[name]()


def test_settings_are_checked():
    from curate.config import to_tree

    tree = to_tree(SMOKE)
    with pytest.raises(ConfigError, match=r"init_from is 'shirt'; stages before it: base"):
        build(TrainingConfig, with_overrides(tree, ["stages.short.init_from=shirt"]))
    with pytest.raises(ConfigError, match=r"untold: no slot taste; slots: shape, "):
        build(TrainingConfig, with_overrides(tree, ["untold=['taste']"]))
    with pytest.raises(ConfigError, match=r"mix\.poem: no such kind"):
        build(TrainingConfig, with_overrides(tree, ["stages.short.mix.poem=1.0"]))
