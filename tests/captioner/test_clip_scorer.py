"""CLIP compares clips with captions sentence by sentence, and writes nothing."""

import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from captioner.base import Clip
from captioner.caption_job import CaptionConfig, resolve
from captioner.makers.by_name import identify, open_captioner
from curate.errors import UsageError

_TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(_TINY))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    weights = {name: tensor.contiguous() for name, tensor in open_clip.create_model("tiny-clip").state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    return f"clip:tiny-clip#{folder / 'weights.safetensors'}"


def clip(seed):
    frames = np.random.default_rng(seed).integers(0, 255, (1 + seed, 40, 50, 3), np.uint8)
    return Clip(clip_id=f"c{seed}", frames=frames, times_s=tuple(range(1 + seed)), duration_s=2.0)


def test_texts_are_compared_sentence_by_sentence(spec):
    scorer = open_captioner(spec)
    clips = [clip(seed) for seed in range(10)]
    first, second = "A red ball rolls.", "It rains over a lake."
    scores = scorer.score(clips, [first, second, f"{first} {second}"])
    assert scores.shape == (10, 3)
    assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(scores[:, 2], scores[:, :2].mean(1), atol=1e-6)
    np.testing.assert_allclose(scorer.score(clips[3:4], [first]), scores[3:4, :1], atol=1e-5)
    assert scorer.caption(clips[:1], None)[0].error == "clip:tiny-clip compares clips with captions and writes none"
    scorer.close()


def test_it_is_known_by_its_weights(spec):
    assert identify(spec).id == "clip:tiny-clip"
    assert len(identify(spec).revision) == 16
    job = resolve(CaptionConfig(captioner="original", kind="alt", scorer=spec))
    assert job.scorer_id == f"clip:tiny-clip {identify(spec).revision}"


@pytest.mark.parametrize(
    ("name", "message"),
    [("clip:ViT-Q", "open_clip has no model ViT-Q"), ("clip:ViT-B-32", "name its weights")],
)
def test_unknown_models_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        identify(name)


def test_it_is_no_captioner(spec):
    with pytest.raises(UsageError, match="does not write descriptive captions; it writes: none"):
        resolve(CaptionConfig(captioner=spec))
