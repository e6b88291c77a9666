"""VideoCoCa: open_clip's CoCa towers over the frames of a clip, as a transformers model that trains and writes.

    frames -> encode_video -> embedding, video tokens        text -> encode_text -> embedding, token states
    token states + video tokens -> decoder -> logits

We use the towers, not CoCa's own forward, generate or loss: these differ between releases of open_clip, leave a weight
uninitialised, or no longer run with today's transformers.
Letters: `B` clips or texts, `N` frames, `S` pixels, `L` tokens, `M` video tokens, `D` width, `E` embedding,
`V` vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.coca_model import MultimodalCfg, _build_text_decoder_tower
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, _build_text_tower, _build_vision_tower
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

from captioner.base import Decode
from captioner.claims import FactHeads
from captioner.decoding import next_logits, num_cache_layers
from captioner.frames import FrameConfig, fit_frames, normalise
from captioner.grid_encoder import GridConfig, GridEncoder, WordHeads
from captioner.tokenizer import CaptionTokenizer, clip_tokenizer, load_tokenizer
from curate.config import build, nearest
from curate.errors import UsageError
from curate.schema import CAPTION_KINDS

WEIGHTS_FILE = "model.safetensors"
_ONLY_FOR_TRAINING = ("words.", "facts.")


class VideoCoCaConfig(PretrainedConfig):
    """Everything needed to build the model again. The sections are those of an open_clip configuration, and ours."""

    model_type = "video_coca"

    def __init__(
        self,
        *,
        embed_dim: int = 128,
        text_cfg: dict[str, Any] | None = None,
        multimodal_cfg: dict[str, Any] | None = None,
        vision_cfg: dict[str, Any] | None = None,
        grid_cfg: dict[str, Any] | None = None,
        frames: dict[str, Any] | None = None,
        quick_gelu: bool = False,
        correct_cls_mask: bool = True,
        kinds: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embed_dim = embed_dim
        self.text_cfg, self.multimodal_cfg = text_cfg or {}, multimodal_cfg or {}
        self.vision_cfg, self.grid_cfg = vision_cfg, grid_cfg  # open_clip's vision transformer, or our small encoder
        self.frames = frames or {}
        self.quick_gelu = quick_gelu
        self.correct_cls_mask = correct_cls_mask
        self.kinds = list(kinds)  # of captions that it was trained to write; none for a model that knows one manner


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A text and how sure the model was of each of its tokens."""

    text: str
    token_ids: tuple[int, ...]
    """Without the begin token, with the end token."""
    token_logprobs: tuple[float, ...]
    """Natural logarithms, under the model itself: before temperature and penalties."""
    finish_reason: Literal["stop", "length"]

    @property
    def mean_logprob(self) -> float:
        return float(np.mean(self.token_logprobs)) if self.token_logprobs else 0.0


class VideoCoCa(PreTrainedModel, GenerationMixin):
    config_class = VideoCoCaConfig
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: VideoCoCaConfig, tokenizer: CaptionTokenizer | None = None) -> None:
        text = CLIPTextCfg(**{"embed_cls": True, "output_tokens": True, **config.text_cfg})
        decoder = MultimodalCfg(**config.multimodal_cfg)
        super().__init__(config)
        self.tokenizer = tokenizer
        self.frame_config = build(FrameConfig, config.frames)
        self.text = _build_text_tower(config.embed_dim, text, config.quick_gelu)
        self.text.correct_cls_mask = config.correct_cls_mask
        self.text_decoder = _build_text_decoder_tower(text.vocab_size, decoder, config.quick_gelu)
        # open_clip leaves this weight to whatever was in memory.
        nn.init.normal_(self.text_decoder.text_projection, std=decoder.width**-0.5)
        if config.grid_cfg is not None:
            grid = build(GridConfig, config.grid_cfg)
            self.visual = GridEncoder(grid, self.frame_config, width=decoder.width, embed_dim=config.embed_dim)
            self.words = WordHeads(config.embed_dim, decoder.width, text.vocab_size)
            self.facts = FactHeads(self.visual.num_tokens, decoder.width)
        else:
            vision = CLIPVisionCfg(**{**(config.vision_cfg or {}), "output_tokens": True})
            self.visual = _build_vision_tower(config.embed_dim, vision, config.quick_gelu)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))
        if config.kinds:
            self.kind_embedding = nn.Embedding(len(CAPTION_KINDS), decoder.width)
        config.num_hidden_layers = num_cache_layers(self.text, self.text_decoder)
        self.context_length = decoder.context_length
        self.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Every module initialises itself."""

    # Looking

    def word_logits(self, embedding: Tensor, video_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Which words a caption would have, `[B, V]`, judged by the whole scene and by its peaks alone."""
        peaks = video_tokens[:, self.visual.num_scene_tokens :].mean(1)
        return self.words.of_scene(embedding), self.words.of_peaks(peaks)

    def encode_video(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames, uint8 `[B, N, S, S, 3]`, to embeddings `[B, E]` of any length, and video tokens `[B, M, D]`."""
        if isinstance(self.visual, GridEncoder):
            return self.visual(frames)
        # VideoCoCa (Yan et al. 2022): CoCa's own poolers over the patches of all frames.
        pixels = normalise(frames, self.frame_config).to(self.dtype)
        patches = self.visual.transformer(self.visual._embeds(pixels.flatten(0, 1)))  # [(B N) patches D]
        pooled, tokens = self.visual._pool(patches.unflatten(0, frames.shape[:2]).flatten(1, 2))
        return pooled @ self.visual.proj, tokens

    def as_kind(self, video_tokens: Tensor, kind_index: Tensor | int) -> Tensor:
        """Video tokens with one more that says which kind of caption is wanted, `[B, M + 1, D]`."""
        if not self.config.kinds:
            return video_tokens
        index = torch.as_tensor(kind_index, device=video_tokens.device).expand(len(video_tokens))
        return torch.cat([video_tokens, self.kind_embedding(index)[:, None].to(video_tokens.dtype)], dim=1)

    def kind_index(self, kind: str) -> int:
        """Number of a kind of caption. Raises UsageError for one that this model was not trained to write."""
        if self.config.kinds and kind not in self.config.kinds:
            raise UsageError(
                f"this captioner was not trained to write {kind} captions; {nearest(kind, self.config.kinds)}"
            )
        return CAPTION_KINDS.index(kind)

    def learn_kind(self, kind: str) -> None:
        """Say that from now on the model is trained to write this kind, too."""
        if not self.config.kinds:
            self.kind_embedding = nn.Embedding(len(CAPTION_KINDS), self.text.width, device=self.device)
        if kind not in self.config.kinds:
            self.config.kinds = [*self.config.kinds, kind]

    # Reading

    def encode_text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids `[B, L]` to unit embeddings `[B, E]` and token states `[B, L, D]`.

        The tower's own forward places its last token by the width of the batch, so that an embedding would depend on
        its neighbours. Here that token always has the last position, as in a row padded to the full context.
        """
        tower = self.text
        if not tower.correct_cls_mask:  # CoCa's released weights were trained to look at one token of padding
            ids = F.pad(ids, (0, 1), value=tower.pad_id)[:, : self.context_length]
        x = tower.token_embedding(ids) + tower.positional_embedding[: ids.shape[1]]
        cls = (tower.cls_emb + tower.positional_embedding[-1]).expand(len(x), 1, -1)
        x = torch.cat([x, cls], dim=1)  # [B L+1 D]
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        is_text, always = ids != tower.pad_id, torch.ones(len(ids), 1, dtype=torch.bool, device=x.device)
        is_key = torch.cat([is_text, always] if tower.correct_cls_mask else [always, is_text], dim=1)
        mask = torch.zeros(len(x), length, length, dtype=x.dtype, device=x.device)
        mask.masked_fill_(~(causal & is_key[:, None]), -torch.inf)
        x = tower.transformer(x, attn_mask=mask.repeat_interleave(tower.heads, 0))
        embedding = tower.ln_final(x[:, -1]) @ tower.text_projection
        return F.normalize(embedding, dim=-1), x[:, :-1]

    def decode_logits(self, states: Tensor, video_tokens: Tensor) -> Tensor:
        """Logits `[B, L, V]` of the token after each state."""
        return self.text_decoder(video_tokens, states)

    # Writing

    def forward(
        self, input_ids: Tensor, video_tokens: Tensor, past_key_values: Cache | None = None, **_: Any
    ) -> CausalLMOutputWithPast:
        """One step of writing, as transformers' `generate` wants it."""
        cache = past_key_values if past_key_values is not None else DynamicCache(config=self.config)
        logits = next_logits(self.text, self.text_decoder, input_ids, video_tokens, cache)
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, past_key_values: Cache | None = None, video_tokens: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        return {"input_ids": input_ids[:, past:], "past_key_values": past_key_values, "video_tokens": video_tokens}

    @torch.no_grad()
    def caption(self, clips: Sequence[np.ndarray], *, kind: str, decode: Decode | None = None) -> list[Caption]:
        """Write a caption for each clip: uint8 frames `[T, H, W, 3]` of any number and size."""
        if not len(clips):
            return []
        decode = decode or Decode(temperature=0, repetition_penalty=1)
        video_tokens = self.as_kind(self.encode_video(self._fit(clips))[1], self.kind_index(kind))
        ids = self._write(video_tokens, decode)
        logprobs = self._logprobs(ids, video_tokens).cpu().numpy()
        return [self._finish(row, logs) for row, logs in zip(ids.cpu().numpy(), logprobs, strict=True)]

    def _write(self, video_tokens: Tensor, decode: Decode) -> Tensor:
        sampled = decode.temperature > 0 and decode.num_beams == 1
        # max_length counts the begin token, and the model has no position beyond its context.
        settings: dict[str, Any] = {
            "max_length": min(decode.max_new_tokens + 1, self.context_length),
            "num_beams": decode.num_beams,
            "repetition_penalty": float(decode.repetition_penalty),
            "no_repeat_ngram_size": decode.no_repeat_ngram,
            "do_sample": sampled,
        }
        if sampled:
            settings |= {"temperature": float(decode.temperature), "top_p": float(decode.top_p), "top_k": 0}
        begin = torch.full((len(video_tokens), 1), self._tokens.bos_id, device=video_tokens.device)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [], enabled=sampled):
            if sampled:
                torch.manual_seed(decode.seed)
            config = GenerationConfig(**special_ids(self._tokens), **settings)
            return self.generate(begin, video_tokens=video_tokens, generation_config=config)  # type: ignore

    def _logprobs(self, ids: Tensor, video_tokens: Tensor) -> Tensor:
        """Log-probability `[B, L - 1]` of every token after the first."""
        logits = self.decode_logits(self.encode_text(ids)[1][:, : ids.shape[1] - 1], video_tokens)
        return logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)

    def _finish(self, ids: np.ndarray, logprobs: np.ndarray) -> Caption:
        written = ids[1:]
        ends = np.flatnonzero(written == self._tokens.eos_id)
        length = int(ends[0]) + 1 if len(ends) else len(written)
        return Caption(
            text=self._tokens.decode(written[:length]),
            token_ids=tuple(written[:length].tolist()),
            token_logprobs=tuple(logprobs[:length].tolist()),
            finish_reason="stop" if len(ends) else "length",
        )

    # Comparing

    @torch.no_grad()
    def embed_video(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Unit vectors, float32 `[clips, E]`, of clips as `caption` takes them."""
        return F.normalize(self.encode_video(self._fit(clips))[0].float(), dim=-1).cpu().numpy()

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 `[texts, E]`; what is longer than the context is cut."""
        rows = self._tokens.encode(texts, max_tokens=self.context_length, keep_end=True)
        ids = torch.from_numpy(rows).to(self.device)
        return self.encode_text(ids)[0].float().cpu().numpy()

    # Keeping

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> None:  # type: ignore[override]
        """Write configuration, weights and vocabulary; `half` to hand it on: in 16 bits, for writing and comparing."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        self.generation_config.save_pretrained(folder)
        weights = {name: weight.contiguous() for name, weight in self.state_dict().items()}
        if half:
            weights = {
                name: weight.half() if weight.is_floating_point() else weight
                for name, weight in weights.items()
                if not name.startswith(_ONLY_FOR_TRAINING)
            }
        save_file(weights, Path(folder) / WEIGHTS_FILE)
        self._tokens.save(folder)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> VideoCoCa:  # type: ignore[override]
        """Read what `save_pretrained` wrote, from a folder or the Hugging Face hub.

        The model is built as for training and then filled, every weight or none: transformers' own loader leaves
        open_clip's causal masks, which are in no file, to whatever was in memory.
        """
        folder = Path(path)
        if not folder.is_dir():
            folder = _download(str(path))
        if not (folder / WEIGHTS_FILE).is_file():
            raise UsageError(f"{folder}: no {WEIGHTS_FILE}; is this the folder of a trained captioner?")
        config = VideoCoCaConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        model = cls(config, load_tokenizer(folder))
        missing, unexpected = model.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=False)
        wrong = [name for name in missing if not name.startswith(_ONLY_FOR_TRAINING)] + unexpected
        if wrong:
            raise UsageError(
                f"{folder / WEIGHTS_FILE} does not fit config.json beside it: {wrong[0]} and {len(wrong) - 1} more"
            )
        return model.eval()

    @classmethod
    def from_open_clip(cls, name: str, pretrained: str | None = None, *, num_frames: int = 8) -> VideoCoCa:
        """A CoCa of open_clip, such as coca_ViT-L-14, with weights from a file or the hub; none are random.

        It captions single pictures as before, and clips without further training.
        """
        import open_clip

        source = open_clip.create_model(name, pretrained=pretrained)
        sections = open_clip.get_model_config(name)
        picture = open_clip.get_model_preprocess_cfg(source)
        frames = FrameConfig(
            num_frames=num_frames,
            size_px=sections["vision_cfg"]["image_size"],
            fit="crop",
            mean=tuple(picture["mean"]),
            std=tuple(picture["std"]),
        )
        tokenizer = clip_tokenizer()
        config = VideoCoCaConfig(
            embed_dim=sections["embed_dim"],
            text_cfg=sections["text_cfg"],
            multimodal_cfg=sections["multimodal_cfg"],
            vision_cfg=sections["vision_cfg"],
            frames=asdict(frames),
            quick_gelu=sections.get("quick_gelu", False),
            correct_cls_mask=False,
            **special_ids(tokenizer),
        )
        model = cls(config, tokenizer)
        weights = source.state_dict()
        if pretrained is None:
            del weights["text_decoder.text_projection"]
        model.load_state_dict(weights, strict=pretrained is not None)
        return model.eval()

    @property
    def _tokens(self) -> CaptionTokenizer:
        if self.tokenizer is None:
            raise UsageError("this VideoCoCa was built without a tokenizer; give it one, or load it from a folder")
        return self.tokenizer

    def _fit(self, clips: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack([fit_frames(clip, self.frame_config) for clip in clips])).to(self.device)


def special_ids(tokenizer: CaptionTokenizer) -> dict[str, Any]:
    """The ids that a configuration records."""
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{name} is neither a folder nor a model that the hub gives us: {reason}") from None
