import json

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from captioner.base import Decode
from captioner.frames import normalise
from captioner.tokenizer import train_tokenizer
from captioner.video_coca import VideoCoCa, VideoCoCaConfig, special_ids
from curate.errors import UsageError

CLIPS = [np.random.default_rng(index).integers(0, 255, (3 + index, 24, 40, 3), np.uint8) for index in range(4)]
GREEDY = Decode(temperature=0, repetition_penalty=1, max_new_tokens=12)


@pytest.fixture(scope="module")
def model() -> VideoCoCa:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["A red circle drifts left.", "A blue star grows."] * 2, vocab_size=290)
    towers = {"context_length": 20, "vocab_size": tokenizer.vocab_size, "width": 32, "heads": 4, "layers": 2}
    config = VideoCoCaConfig(
        embed_dim=16,
        text_cfg=towers | {"pad_id": tokenizer.pad_id},
        multimodal_cfg=towers,
        grid_cfg={"channels": (8, 16), "blocks": (0, 1), "hidden": 32, "scene_tokens": 4},
        frames={"num_frames": 4, "size_px": 16},
        kinds=["short", "descriptive"],
        **special_ids(tokenizer),
    )
    return VideoCoCa(config, tokenizer).eval()


def test_every_weight_is_finite_and_small_after_construction(model):
    assert all(weight.isfinite().all() and weight.abs().max() < 10 for weight in model.parameters())


def test_later_tokens_do_not_change_earlier_logits(model, tmp_path):
    model.save_pretrained(tmp_path)
    ids = torch.randint(3, 200, (2, 10), generator=torch.Generator().manual_seed(0))
    changed = torch.cat([ids[:, :6], ids[:, 6:].flip(1)], dim=1)
    video = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    for captioner in (model, VideoCoCa.from_pretrained(tmp_path)):
        with torch.no_grad():
            logits = [captioner.decode_logits(captioner.encode_text(rows)[1], video) for rows in (ids, changed)]
        assert torch.equal(logits[0][:, :6], logits[1][:, :6])
        assert not torch.allclose(logits[0][:, 6:], logits[1][:, 6:])


def test_a_step_with_the_cache_equals_the_whole_text(model):
    """The logits of writing are those of training: same weights, other code."""
    captions = model.caption(CLIPS, kind="short", decode=GREEDY)
    with torch.no_grad():
        video = model.as_kind(model.encode_video(model._fit(CLIPS))[1], model.kind_index("short"))
        for row, caption in enumerate(captions):
            ids = torch.tensor([[model.tokenizer.bos_id, *caption.token_ids]])
            logits = model.decode_logits(model.encode_text(ids)[1][:, :-1], video[row : row + 1])
            assert logits.argmax(-1)[0].tolist() == list(caption.token_ids)
            stepwise = model(ids[:, :-1], video_tokens=video[row : row + 1]).logits
            torch.testing.assert_close(stepwise, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "decode",
    [
        GREEDY,
        Decode(temperature=0, num_beams=3, max_new_tokens=12),
        Decode(temperature=1.0, top_p=0.9, seed=7, max_new_tokens=12),
        Decode(temperature=0, repetition_penalty=1.3, no_repeat_ngram=2, max_new_tokens=12),
    ],
    ids=["greedy", "beams", "top_p", "penalties"],
)
def test_every_way_of_writing_is_repeatable_and_obeys_its_length(model, decode):
    first, again = (model.caption(CLIPS, kind="descriptive", decode=decode) for _ in range(2))
    assert first == again
    assert len(first) == len(CLIPS)
    assert all(len(caption.token_ids) == len(caption.token_logprobs) <= 12 for caption in first)
    assert all(
        caption.finish_reason == "length" for caption in first if model.tokenizer.eos_id not in caption.token_ids
    )


def test_drawing_text_leaves_the_global_random_state_alone(model):
    state = torch.get_rng_state()
    texts = {
        model.caption(CLIPS[:1], kind="short", decode=Decode(temperature=2, top_p=1, seed=s))[0].text for s in (1, 2)
    }
    assert len(texts) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_no_token_lies_beyond_the_context(model):
    longest = model.caption(CLIPS, kind="short", decode=Decode(temperature=0, max_new_tokens=500))
    assert max(len(caption.token_ids) for caption in longest) == model.context_length - 1


def test_the_kind_that_is_asked_for_changes_what_is_written(model):
    short, descriptive = (model.caption(CLIPS, kind=kind, decode=GREEDY) for kind in ("short", "descriptive"))
    assert all(a.token_logprobs[0] != b.token_logprobs[0] for a, b in zip(short, descriptive, strict=True))


def test_another_kind_can_be_learnt_without_forgetting(model, tmp_path):
    model.save_pretrained(tmp_path)
    student = VideoCoCa.from_pretrained(tmp_path)
    before = student.caption(CLIPS, kind="short", decode=GREEDY)
    student.learn_kind("human")
    assert student.config.kinds == ["short", "descriptive", "human"]
    assert student.caption(CLIPS, kind="short", decode=GREEDY) == before
    assert student.caption(CLIPS, kind="human", decode=GREEDY)


def test_a_kind_that_was_not_trained_is_refused(model):
    with pytest.raises(UsageError, match="not trained to write human captions"):
        model.caption(CLIPS, kind="human")


def test_an_embedding_does_not_depend_on_its_neighbours(model):
    texts = ["A red circle", "A blue star grows. A blue star grows."]
    together = model.embed_text(texts)
    alone = np.concatenate([model.embed_text([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_it_is_kept_in_a_folder_weight_by_weight(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = VideoCoCa.from_pretrained(tmp_path)
    weights, loaded_weights = model.state_dict(), loaded.state_dict()
    assert weights.keys() == loaded_weights.keys()
    assert all(torch.equal(weights[name], loaded_weights[name]) for name in weights)
    np.testing.assert_array_equal(loaded.embed_video(CLIPS), model.embed_video(CLIPS))
    assert loaded.caption(CLIPS, kind="short", decode=GREEDY) == model.caption(CLIPS, kind="short", decode=GREEDY)


def test_a_captioner_can_be_handed_on_in_half_the_size(model, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.51 * sizes[0]
    loaded = VideoCoCa.from_pretrained(tmp_path / "half")
    np.testing.assert_allclose(loaded.embed_video(CLIPS), model.embed_video(CLIPS), atol=5e-3)


def test_weights_of_another_model_are_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["another.weight"] = weights.pop("logit_scale")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"does not fit config\.json beside it: logit_scale and 1 more"):
        VideoCoCa.from_pretrained(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        VideoCoCa.from_pretrained(tmp_path)


def test_no_clips_no_captions(model):
    assert model.caption([], kind="short") == []


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> tuple[torch.nn.Module, str]:
    """A CoCa as open_clip releases them, but small: the model, and the file of its weights."""
    folder = tmp_path_factory.mktemp("released")
    sections = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 24,
            "head_width": 12,
            "patch_size": 8,
            "attentional_pool": True,
            "attn_pooler_heads": 4,
            "attn_pooler_queries": 9,
            "output_tokens": True,
        },
        "text_cfg": {
            "context_length": 12,
            "vocab_size": 49408,
            "width": 16,
            "heads": 4,
            "layers": 1,
            "embed_cls": True,
            "output_tokens": True,
        },
        "multimodal_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 4, "layers": 1},
        "custom_text": True,
    }
    (folder / "coca_for_test.json").write_text(json.dumps(sections))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    theirs = open_clip.create_model("coca_for_test").eval()
    torch.nn.init.normal_(theirs.text_decoder.text_projection, std=0.2)
    torch.save(theirs.state_dict(), folder / "weights.pt")
    return theirs, str(folder / "weights.pt")


def test_a_released_coca_gives_the_same_numbers_here(released):
    theirs, weights = released
    ours = VideoCoCa.from_open_clip("coca_for_test", weights, num_frames=1)
    texts = ["a cat", "a long text about a dog and another dog that does not end here", "hello there!"]
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 1, 32, 32, 3), np.uint8))
    ids = open_clip.SimpleTokenizer(context_length=12)(texts)
    with torch.no_grad():
        expected = theirs(normalise(frames, ours.frame_config)[:, 0], ids)
        image, tokens = ours.encode_video(frames)
        logits = ours.decode_logits(ours.encode_text(ids)[1][:, :-1], tokens)
    torch.testing.assert_close(F.normalize(image, dim=-1), expected["image_features"])
    torch.testing.assert_close(logits, expected["logits"])
    np.testing.assert_allclose(ours.embed_text(texts), expected["text_features"], atol=1e-6)


def test_a_released_coca_sees_every_frame_of_a_clip(released, tmp_path):
    ours = VideoCoCa.from_open_clip("coca_for_test", released[1], num_frames=4)
    ours.save_pretrained(tmp_path)
    ours = VideoCoCa.from_pretrained(tmp_path)
    clip = CLIPS[1]
    changed = clip.copy()
    changed[-1] = 0
    first, second = ours.embed_video([clip, changed])
    assert np.abs(first - second).max() > 1e-4
    assert ours.caption([clip], kind="descriptive", decode=GREEDY)[0].text
