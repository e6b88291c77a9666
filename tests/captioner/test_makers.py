"""What every captioner promises, asked of each of them: ours, transformers models, a chat server, and given texts."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import tiny_models
import torch
from loopback_server import loopback, number_picture

from captioner.base import CaptionRequest, CaptionResult, Clip, by_clip
from captioner.evaluate.drawn_clips import drawn_clips
from captioner.fact_parser import parse_facts
from captioner.makers.by_name import MakersConfig, identify, open_captioner
from captioner.makers.hf import HfCaptioner, HfConfig
from captioner.prompts import PROMPTS
from captioner.structured import Facts
from curate.config import build
from curate.drawn.shot import tiny_world
from curate.errors import CaptionerError, UsageError

CONFIG = build(MakersConfig, {"hf": {"batch_size": 3}, "coca": {"batch_size": 3}, "openai": {"max_in_flight": 3}})
CONTEXT = {
    "original_caption": "A red ball.",
    "facts": Facts(subjects=("a red ball",), background="a lawn", lighting="sunlight").to_json(),
    "measured": json.dumps(
        {
            "camera_motion": "pan_left",
            "luma": 120.0,
            "contrast": 30.0,
            "saturation": 60.0,
            "motion": None,
            "duration_s": 3.21,
            "width_px": 48,
            "height_px": 32,
        }
    ),
    "slots": json.dumps({"shape": "circle", "color": "red", "motion": "left", "size": "small", "count": "1"}),
}
SAVED = {
    "coca": tiny_models.save_coca,
    "hf-qwen": tiny_models.save_qwen,
    "hf-llava": tiny_models.save_llava,
    "hf-git": tiny_models.save_git,
}
WRITERS = [*SAVED, "openai"]
ALL = [*WRITERS, "original", "compose", "template", "measured"]


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory):
    """The name by which a captioner is opened; models are saved once."""
    folders = {}
    with loopback() as server:

        def spec(maker):
            if maker == "openai":
                return f"openai:{server.url}#tiny-vlm"
            if maker not in SAVED:
                return maker if maker != "template" else "template:truth.json"
            if maker not in folders:
                folders[maker] = tmp_path_factory.mktemp(maker) / maker
                SAVED[maker](folders[maker])
            return f"{maker.partition('-')[0]}:{folders[maker]}"

        yield spec


@pytest.fixture
def captioner(request, spec_of):
    captioner = open_captioner(spec_of(request.param), CONFIG)
    yield captioner
    captioner.close()


def each(makers):
    return pytest.mark.parametrize("captioner", makers, indirect=True)


def clip(number, *, height=32, width=48, num_frames=None):
    """Clips of different lengths and sizes, whose picture says which they are."""
    num_frames = num_frames or 1 + number % 5
    frames = np.stack([number_picture(number, height=height, width=width + 8 * (number % 3))] * num_frames)
    times_s = tuple(0.5 * index for index in range(num_frames))
    return Clip(clip_id=f"c{number}", frames=frames, times_s=times_s, duration_s=0.5 * num_frames, context=CONTEXT)


CLIPS = [clip(number) for number in range(7)]


def ask(captioner, clips, **decode):
    kind = sorted(captioner.identity.kinds)[-1] if captioner.identity.id != "compose" else "descriptive"
    settings = replace(captioner.identity.decode, **{"max_new_tokens": 5, "temperature": 0.0, **decode})
    prompt = PROMPTS.get(kind, PROMPTS["short"])
    return captioner.caption(clips, CaptionRequest(kind=kind, prompt=prompt, decode=settings))


@each(ALL)
def test_every_clip_is_answered_once_and_by_name(captioner):
    results = ask(captioner, CLIPS)
    assert sorted(result.clip_id for result in results) == [clip.clip_id for clip in CLIPS]
    assert all(result.text is not None and result.error is None for result in results)
    assert ask(captioner, []) == []


@each(ALL)
def test_the_same_question_gets_the_same_answer(captioner):
    first, second = (by_clip(CLIPS, ask(captioner, CLIPS)) for _ in range(2))
    assert {key: result.text for key, result in first.items()} == {key: result.text for key, result in second.items()}


@each(ALL)
def test_answers_follow_their_clips_when_the_order_changes(captioner):
    straight, reversed_ = (by_clip(CLIPS, ask(captioner, clips)) for clips in (CLIPS, CLIPS[::-1]))
    assert {key: result.text for key, result in straight.items()} == {
        key: result.text for key, result in reversed_.items()
    }


@each(ALL)
def test_it_may_be_asked_from_several_threads(captioner):
    with ThreadPoolExecutor(3) as pool:
        batches = list(pool.map(lambda part: ask(captioner, part), (CLIPS[:2], CLIPS[2:4], CLIPS[4:])))
    assert [sorted(result.clip_id for result in batch) for batch in batches] == [
        ["c0", "c1"],
        ["c2", "c3"],
        ["c4", "c5", "c6"],
    ]


@each(WRITERS)
def test_tokens_are_counted(captioner):
    assert all(result.output_tokens > 0 and result.latency_s > 0 for result in ask(captioner, CLIPS))


@each(["coca", "hf-qwen", "hf-llava", "hf-git"])
def test_a_cut_answer_says_so(captioner):
    cut = ask(captioner, CLIPS, max_new_tokens=2)
    assert {result.finish_reason for result in cut} <= {"length", "stop"}
    assert all((result.finish_reason == "length") == (result.output_tokens == 2) for result in cut)
    assert any(result.finish_reason == "length" for result in cut)


@each(["coca", "hf-qwen", "hf-git"])
def test_draws_depend_on_the_seed(captioner):
    draws = [
        [result.text for result in ask(captioner, CLIPS, temperature=2.0, top_p=1.0, seed=seed)] for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


@each(["hf-qwen", "hf-llava", "hf-git", "coca"])
def test_a_clip_that_cannot_be_taken_fails_alone(captioner):
    broken = replace(CLIPS[2], frames=np.zeros((2, 0, 8, 3), np.uint8))
    results = by_clip(CLIPS, ask(captioner, [*CLIPS[:2], broken, *CLIPS[3:]]))
    assert results["c2"].error_kind == "captioner"
    assert results["c2"].text is None
    assert all(results[f"c{number}"].text is not None for number in (0, 1, 3, 4, 5, 6))


@pytest.mark.parametrize("maker", ALL)
def test_who_it_is_needs_no_weights_and_stays_the_same(maker, spec_of, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *args, **kwargs: pytest.fail("a model was built"))
    identity = identify(spec_of(maker), CONFIG)
    assert identity == identify(spec_of(maker), CONFIG)
    assert identity.kinds
    assert "/" not in identity.id  # no path of this machine


def test_other_weights_are_another_revision(tmp_path):
    tiny_models.save_git(tmp_path / "git")
    before = identify(f"hf:{tmp_path / 'git'}")
    weights = tmp_path / "git" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    after = identify(f"hf:{tmp_path / 'git'}")
    assert before.id == after.id == "hf:git"
    assert before.revision != after.revision


@each(["hf-qwen"])
def test_the_prompt_and_the_speed_of_the_video_reach_the_model(captioner, monkeypatch):
    seen = []
    generate = captioner._model.generate
    monkeypatch.setattr(captioner._model, "generate", lambda **inputs: seen.append(inputs) or generate(**inputs))
    ask(captioner, [clip(3, num_frames=4)])
    text = captioner._tokenizer.decode(seen[0]["input_ids"][0])
    assert PROMPTS["structured"].text[:40] in text
    assert seen[0]["second_per_grid_ts"].tolist() == [1.0]  # two frames a step, half a second apart
    assert seen[0]["video_grid_thw"][0, 0] == 2


@each(["hf-qwen"])
def test_later_frames_change_the_answer(captioner, monkeypatch):
    """A prompt that names one picture for several frames makes a model see the first alone."""
    seen = []
    generate = captioner._model.generate
    monkeypatch.setattr(captioner._model, "generate", lambda **inputs: seen.append(inputs) or generate(**inputs))
    moving = np.stack([number_picture(number) for number in (1, 2, 3, 4)])
    frozen = np.stack([number_picture(1)] * 4)
    ask(captioner, [replace(CLIPS[0], frames=frames, times_s=(0, 1, 2, 3)) for frames in (moving, frozen)])
    first, second = seen[0]["pixel_values_videos"].chunk(2)
    assert not torch.equal(first, second)
    logits = [captioner._model(**{**inputs, "generation_config": None}).logits[:, -1] for inputs in seen[:1]]
    assert not torch.allclose(logits[0][0], logits[0][1])


def test_batches_are_halved_when_memory_runs_out(spec_of, monkeypatch):
    captioner = HfCaptioner(spec_of("hf-git").removeprefix("hf:"), HfConfig(batch_size=8))
    generate, sizes = captioner._model.generate, []

    def limited(**inputs):
        sizes.append(len(inputs["pixel_values"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(captioner._model, "generate", limited)
    assert all(result.text is not None for result in ask(captioner, CLIPS))
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    ask(captioner, CLIPS)
    assert sizes[7:] == [1] * 7 or max(sizes[7:]) <= 2  # remembered

    monkeypatch.setattr(captioner._model, "generate", lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    (result,) = ask(captioner, CLIPS[:1])
    assert (result.error_kind, result.text) == ("memory", None)


@each(["coca"])
def test_our_own_compares_clips_with_texts(captioner):
    similarity = captioner.score(CLIPS, ["a red circle", "a star", "nothing", "one"])
    assert similarity.shape == (7, 4)
    assert np.abs(similarity).max() <= 1.0001
    assert np.ptp(similarity) > 0


@each(["compose"])
def test_composed_captions_differ_between_clips_and_say_what_is_stored(captioner):
    texts = {result.text for result in ask(captioner, [clip(number) for number in range(40)])}
    assert len(texts) > 1
    assert all(text.startswith("A red ball.") for text in texts)


def test_given_captions_fail_where_nothing_is_given():
    captioner = open_captioner("original")
    (result,) = ask(captioner, [replace(CLIPS[0], context={})])
    assert "no original caption" in result.error


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no captioner ''; known: coca, hf, openai"),
        ("hff:x", "no captioner 'hff:x'; did you mean hf"),
        ("coca", "expected the form coca:runs/captioner"),
        ("original:x", "expected the form original"),
        ("coca:nowhere", "no trained captioner in that folder; train one with"),
        ("openai:somewhere", "expected URL#MODEL"),
        ("hf:no/such/model", "neither a folder with a captioning model nor one that the hub gives us"),
    ],
)
def test_unknown_captioners_are_refused_with_what_to_do(spec, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=message):
        identify(spec)


@pytest.mark.parametrize(
    ("answers", "message"), [(["c0", "c9"], "c9, which was not asked about"), (["c0", "c0"], "twice about clip c0")]
)
def test_answers_about_other_clips_are_refused(answers, message):
    with pytest.raises(CaptionerError, match=message):
        by_clip(CLIPS[:2], [CaptionResult(clip_id=clip_id, text="x") for clip_id in answers])


def test_a_clip_without_an_answer_fails():
    results = by_clip(CLIPS[:2], [CaptionResult(clip_id="c0", text="x")])
    assert results["c1"].error_kind == "captioner"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("short", "A landscape clip of 3.2 seconds, evenly lit and colourful. The camera pans left."),
        (
            "descriptive",
            "A landscape clip that lasts 3.2 seconds. The picture is evenly lit and colourful. Its contrast is "
            "moderate. The camera pans left.",
        ),
    ],
)
def test_what_was_measured_is_said_and_nothing_else(kind, text):
    (result,) = open_captioner("measured").caption(CLIPS[:1], CaptionRequest(kind=kind, prompt=PROMPTS[kind]))
    assert result.text == text


def test_the_captioner_that_comes_with_the_package_tells_the_truth_of_its_world():
    world = replace(tiny_world(), motions=("left", "right", "up", "down"))
    known = drawn_clips(8, kind="descriptive", world=world, seed=3)
    results = open_captioner("coca:included").caption(
        [each.clip for each in known], CaptionRequest(kind="descriptive", prompt=PROMPTS["descriptive"])
    )
    for each, result in zip(known, results, strict=True):
        told = {slot: value for slot, value in parse_facts(result.text).items() if value is not None}
        assert told["color"] == each.truth["color"]
        assert told.items() <= each.truth.items(), result.text
