"""Adapters of pretrained text encoders on tiny random instances, and the cache of what they give."""

from dataclasses import replace

import pytest
import torch
from small_dataset import make_dataset
from stand_ins import tiny_config

from curate.errors import ConfigError, UsageError, WeightsError
from model.codec.pca import PCACodec
from model.dataset import SelectionConfig, open_text_cache, open_training_set
from model.pack import PackConfig
from model.run import load_studio, train
from model.text.base import TextTooLongError
from model.text.pretrained import PretrainedTextConfig, PretrainedTextEncoder, load_text_encoder
from model.train_config import DataConfig, TrainConfig
from model.training_files import write_training_files
from pipelines.encode import encode_captions
from pipelines.engine import Engine, EngineConfig
from pipelines.run import recorded_run

WORDS = ["[UNK]", "</s>", "a", "red", "circle", "blue", "square", "moves", "left", "."]
TEXTS = ["a red circle moves left .", "blue square", "a", "a red circle a blue square"]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", eos_token="</s>")


def tiny_model(kind: str):
    import transformers as hf

    torch.manual_seed(0)
    encoder = {"vocab_size": len(WORDS), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    decoder = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    makers = {
        "t5": lambda: hf.T5EncoderModel(hf.T5Config(**encoder)),
        "umt5": lambda: hf.UMT5EncoderModel(hf.UMT5Config(**encoder)),
        "clip": lambda: hf.CLIPTextModel(
            hf.CLIPTextConfig(**decoder, max_position_embeddings=12, eos_token_id=1, bos_token_id=0)
        ),
        "llama": lambda: hf.LlamaModel(hf.LlamaConfig(**decoder, num_key_value_heads=2)),
        "qwen2": lambda: hf.Qwen2Model(hf.Qwen2Config(**decoder, num_key_value_heads=2)),
    }
    return makers[kind]()


@pytest.fixture(scope="module", params=["t5", "umt5", "clip", "llama", "qwen2"])
def encoder(request, tokenizer) -> PretrainedTextEncoder:
    return PretrainedTextEncoder(tiny_model(request.param), tokenizer, max_tokens=20)


def test_rows_are_ragged_and_a_caption_is_independent_of_its_neighbours(encoder):
    together = encoder.encode(TEXTS)
    assert not any(row.requires_grad for row in together)
    assert [tuple(row.shape) for row in together] == [(6, 16), (2, 16), (1, 16), (6, 16)]
    assert encoder.dim == 16
    for text, row in zip(TEXTS, together, strict=True):
        assert torch.allclose(encoder.encode([text])[0], row, atol=1e-6)


def test_states_are_those_of_the_library(encoder):
    ids = torch.tensor([[2, 3, 4, 7, 8, 9]])
    assert torch.allclose(encoder.encode(TEXTS[:1])[0], encoder.model(input_ids=ids).last_hidden_state[0], atol=1e-6)


def test_a_caption_is_independent_of_the_longest_length(encoder):
    longer = PretrainedTextEncoder(encoder.model, encoder.tokenizer, max_tokens=400)
    assert torch.equal(longer.encode(TEXTS)[0], encoder.encode(TEXTS)[0])


def test_earlier_layers_can_be_taken(tokenizer):
    model = tiny_model("llama")
    states = model(input_ids=torch.tensor([[5, 6]]), output_hidden_states=True).hidden_states
    earlier = PretrainedTextEncoder(model, tokenizer, layer=-2)
    assert torch.allclose(earlier.encode(["blue square"])[0], states[-2][0], atol=1e-6)
    assert earlier.fingerprint() != PretrainedTextEncoder(model, tokenizer).fingerprint()


def test_a_text_that_is_too_long_is_an_error(encoder):
    limit = 12 if "CLIP" in type(encoder.model).__name__ else 20
    with pytest.raises(TextTooLongError, match=f"text of 21 tokens .* takes {limit}"):
        encoder.encode(["red " * 21])


@pytest.mark.parametrize("kind", ["t5", "umt5", "clip", "llama"])
def test_encoders_load_from_safetensors_with_the_same_fingerprint(kind, tokenizer, tmp_path):
    encoder = PretrainedTextEncoder(tiny_model(kind), tokenizer, max_tokens=20)
    save(encoder, tmp_path)
    config = PretrainedTextConfig(name=str(tmp_path), max_tokens=20)
    again = load_text_encoder(config)
    assert type(again.model) is type(encoder.model)
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(again.encode(TEXTS)[0], encoder.encode(TEXTS)[0])


def encode(dataset, config) -> tuple[int, int, int]:
    """Encode what is due and return how many are done, unchanged and failed."""
    with recorded_run(dataset, "encode", "") as run, Engine(EngineConfig(local=True)) as engine:
        report = encode_captions(dataset, config, run, engine, quiet=True)
    return report.done, report.unchanged, report.failed.total()


def save(encoder: PretrainedTextEncoder, folder) -> None:
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)


def test_what_is_missing_or_pickled_is_named(tokenizer, tmp_path):
    with pytest.raises(WeightsError, match="cannot load this text encoder"):
        load_text_encoder(PretrainedTextConfig(name=str(tmp_path)))
    encoder = PretrainedTextEncoder(tiny_model("t5"), tokenizer)
    save(encoder, tmp_path)
    torch.save(encoder.model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot load this text encoder"):
        load_text_encoder(PretrainedTextConfig(name=str(tmp_path)))
    with pytest.raises(ValueError, match="counted from the end"):
        PretrainedTextConfig(name="x", layer=2)


def test_the_cache_holds_each_caption_once_and_a_change_of_encoder_is_another_key(tokenizer, tmp_path):
    dataset = make_dataset(tmp_path / "data", 2)
    encoder = PretrainedTextEncoder(tiny_model("t5"), tokenizer, max_tokens=6)
    save(encoder, tmp_path / "t5")
    config = PretrainedTextConfig(name=str(tmp_path / "t5"), max_tokens=6)
    with pytest.raises(ConfigError, match="found none"):
        open_text_cache(dataset)
    # Three kept clips have captions of 6 tokens, and there is the empty text.
    assert encode(dataset, config) == (4, 0, 0)
    assert encode(dataset, config) == (0, 4, 0)
    cache = open_text_cache(dataset)
    assert (cache.dim, cache.fingerprint()) == (16, encoder.fingerprint())
    text = "A pattern, number 0a."
    assert torch.allclose(cache.encode([text])[0], encoder.encode([text])[0], atol=1e-2)  # float16
    assert cache.encode([""])[0].shape == (0, 16)
    with pytest.raises(UsageError, match="'a red dot' is not among the cached texts"):
        cache.encode(["a red dot"])
    assert encode(dataset, PretrainedTextConfig(name=str(tmp_path / "t5"), max_tokens=3)) == (1, 0, 3)
    with pytest.raises(ConfigError, match="one encoder is needed"):
        open_text_cache(dataset)
    assert open_text_cache(dataset, encoder.fingerprint()).encode([text])[0].shape == (6, 16)


def test_a_run_keeps_the_encoder_as_its_captions_were_encoded(tokenizer, tmp_path):
    dataset = make_dataset(tmp_path / "data", 2)
    save(PretrainedTextEncoder(tiny_model("llama"), tokenizer), tmp_path / "llama")
    config = PretrainedTextConfig(name=str(tmp_path / "llama"), max_tokens=6, layer=-2)
    encode(dataset, config)
    data = DataConfig(linear_z_dim=6, text=config)
    packs = PackConfig(token_budget=64, buffer=8)
    settings = TrainConfig(steps=1, model=tiny_config(latent_channels=None, text_dim=None), data=data, packs=packs)
    train(dataset.uri, tmp_path / "run", settings)
    text = load_studio(tmp_path / "run", device="cpu").model.text
    assert text.fingerprint() == open_text_cache(dataset).fingerprint()
    other = replace(settings, steps=2, data=replace(data, text=replace(config, layer=-1)))
    with pytest.raises(ConfigError, match=r"other settings: data\.text"):
        train(dataset.uri, tmp_path / "run", other)


def test_plain_files_carry_the_text_along(tokenizer, tmp_path):
    dataset = make_dataset(tmp_path / "data", 2)
    encoder = PretrainedTextEncoder(tiny_model("t5"), tokenizer, max_tokens=6)
    save(encoder, tmp_path / "t5")
    encode(dataset, PretrainedTextConfig(name=str(tmp_path / "t5"), max_tokens=6))
    codec = PCACodec(stride=(4, 8, 8), z_dim=4).eval()
    data = open_training_set(dataset, SelectionConfig(), codec=codec)
    cache = open_text_cache(dataset)
    write_training_files({"train": data}, tmp_path / "plain", codec=codec, text=cache)
    plain = open_text_cache(tmp_path / "plain")
    for sample in data:
        (text,) = sample.captions.values()
        assert torch.equal(plain.encode([text])[0], cache.encode([text])[0])
