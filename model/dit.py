"""The diffusion transformer: tokens of packed clips, their times, texts and conditions in; a velocity per token out.

    x    = patch(tokens) + marks                        which tokens are given, and where ends and edges are
    e    = MLP(fourier(t)) + conditions                 on the distinct times of the batch, not on its tokens
    mod  = W e + table of the block                     adaLN-single (Chen et al. 2023, PixArt-alpha)
    x   += gate * attend(rope(rms(q)), rope(rms(k)), v)         within a clip
    x   += attend(rms(q), rms(k of text), v of text)            to its text
    x   += gate * FFN(x)

N tokens, P values in a patch, S segments, U times, K conditions, M text tokens, D text width, d width,
A heads, E channels of a head. No parallelism and no device in here: those are applied from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.attention import Backend, Ragged, attend, default_backend
from model.packed import PackedBatch
from model.rope import index_frequencies, metric_frequencies, rotate, rotation
from model.tokens import Shape

KeysValues: TypeAlias = tuple[Tensor, Tensor]

CONDITIONS = ("fps", "width", "height", "crop", "aesthetic", "motion", "sharpness")
_EDGE_WAVES = 4
MARK_FEATURES = 3 + 6 * _EDGE_WAVES
_CONDITION_WAVES = (0.5, 1.0, 2.0, 4.0)
CONDITION_FEATURES = 2 + 2 * len(_CONDITION_WAVES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """The shape of the transformer. Its cost for a manifest is what `reelwright plan` prints."""

    width: int = 192
    depth: int = 3
    heads: int = 6
    ffn_width: int = 768
    patch: Shape = (1, 1, 1)
    """Latent frames, rows, columns in a token."""
    latent_channels: int | None = None
    """None takes the codec's."""
    text_dim: int | None = None
    """None takes the text encoder's."""
    frequency_dim: int = 256
    conditions: tuple[str, ...] = CONDITIONS
    """What the model can be told beside the text; each can be left out at any time."""
    layout: Literal["reelwright", "wan"] = "reelwright"
    """`wan` computes what WanTransformer3DModel computes: integer positions, no marks, no conditions."""
    attention: Backend | None = None
    """None takes the fastest for the device."""

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} must be an even number of channels for each of {self.heads} heads")
        if self.width // self.heads < 6:
            raise ValueError(f"a head of {self.width // self.heads} channels is too narrow for three axes; at least 6")
        if len(self.patch) != 3 or min(self.patch) < 1:
            raise ValueError(f"patch is {self.patch}; expected three sizes of at least 1: frames, rows, columns")
        if self.layout == "wan" and self.conditions:
            raise ValueError("layout wan has no conditions; set conditions = []")

    @property
    def patch_values(self) -> int:
        if self.latent_channels is None:
            raise ValueError("latent_channels is not known yet; it comes from the codec")
        frames, rows, columns = self.patch
        return self.latent_channels * frames * rows * columns


def tiny() -> DiTConfig:
    """About 2M parameters: minutes on two CPU cores."""
    return DiTConfig()


def small() -> DiTConfig:
    """About 9M parameters: an hour or two on one GPU, a night on a CPU."""
    return DiTConfig(width=256, depth=8, heads=8, ffn_width=1024, patch=(1, 2, 2))


def base() -> DiTConfig:
    """About 120M parameters: a day on one large GPU."""
    return DiTConfig(width=768, depth=12, heads=12, ffn_width=3072, patch=(1, 2, 2))


def large() -> DiTConfig:
    """About 0.6B parameters: weeks on a node of eight."""
    return DiTConfig(width=1152, depth=28, heads=16, ffn_width=4608, patch=(1, 2, 2))


def wan_1_3b() -> DiTConfig:
    """The shape of Wan2.1-T2V-1.3B, whose weights `model.wan` reads."""
    return DiTConfig(
        width=1536, depth=30, heads=12, ffn_width=8960, patch=(1, 2, 2), latent_channels=16, text_dim=4096,
        conditions=(), layout="wan",
    )  # fmt: skip


PRESETS: dict[str, Callable[[], DiTConfig]] = {
    "tiny": tiny,
    "small": small,
    "base": base,
    "large": large,
    "wan-1.3b": wan_1_3b,
}


@dataclass(frozen=True)
class Context:
    """Texts as the blocks read them, and their keys and values where they are used more than once."""

    tokens: Tensor  # [M, d]
    lengths: tuple[int, ...]
    keys_values: tuple[KeysValues, ...] | None = None


@dataclass(frozen=True)
class _Geometry:
    """What all blocks share: who sees whom, and by how much queries and keys are turned."""

    clips: Ragged
    texts: Ragged
    cos: Tensor
    sin: Tensor


class DiT(nn.Module):
    """See the head of this file."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        if config.text_dim is None:
            raise ValueError("text_dim is not known yet; it comes from the text encoder")
        self.config = config
        self.recompute = False
        """Recompute blocks in the backward pass instead of storing what they computed."""
        self.on_ragged: Callable[[Sequence[Tensor]], None] | None = None
        """Called with what the blocks get whose first size differs from batch to batch; for compilers."""
        d, wan = config.width, config.layout == "wan"
        self.patch_in = nn.Linear(config.patch_values, d)
        self.mark_in = None if wan else nn.Linear(MARK_FEATURES, d, bias=False)
        self.time_in = nn.Sequential(nn.Linear(config.frequency_dim, d), nn.SiLU(), nn.Linear(d, d))
        self.time_out = nn.Linear(d, 6 * d)
        self.condition_in = Conditions(len(config.conditions), d) if config.conditions else None
        self.text_in = nn.Sequential(nn.Linear(config.text_dim, d), nn.GELU(approximate="tanh"), nn.Linear(d, d))
        self.no_text = nn.Parameter(torch.zeros(1, config.text_dim))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.table = nn.Parameter(torch.zeros(2, d))
        self.patch_out = nn.Linear(d, config.patch_values)
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.no_text, std=0.02)
        # Every block starts as the identity, and the first prediction is zero (Peebles & Xie 2023, section 3.2).
        # Gates are open and what they let through is zero: opened from zero, they were at a tenth after 2,500 steps.
        zero = ("time_out", "patch_out", "cross_out", "ffn_out", ".out")
        for block in self._blocks():
            nn.init.ones_(block.table[2])
            nn.init.ones_(block.table[5])
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and name.endswith(zero):
                nn.init.zeros_(module.weight)

    def read(self, texts: Sequence[Tensor | None], *, unread: Sequence[Tensor] = (), keep: bool = False) -> Context:
        """Embed ragged text states `[M_i, D]`; None is no text. `keep` computes keys and values once, for sampling.

        `unread` states go along and are left out again: so all weights have gradients, whatever a rank's texts are.
        """
        states = [self.no_text if text is None else text for text in texts]
        lengths = tuple(len(state) for state in states)
        tokens = self.text_in(torch.cat([*states, self.no_text, *unread]).to(self.no_text.device))[: sum(lengths)]
        kept = tuple(block.text_keys_values(tokens) for block in self._blocks()) if keep else None
        return Context(tokens, lengths, kept)

    def forward(self, batch: PackedBatch, context: Context) -> Tensor:
        """Velocity (or clean tokens, as the flow takes it) for every token, `[N, P]`."""
        geometry = self._geometry(batch, context)
        x = self.patch_in(batch.x)  # [N, d]
        if self.mark_in is not None:
            x = x + self.mark_in(_mark_features(batch.marks))
        embedding, modulation = self._modulation(batch)  # [U, d], [U, 6, d]
        ragged = [modulation, context.tokens, *geometry.clips.prepare(), *geometry.texts.prepare()]
        if self.on_ragged is not None:
            self.on_ragged(ragged)
        for index, block in enumerate(self.blocks):
            kept = context.keys_values[index] if context.keys_values else None
            inputs = (x, modulation, batch.time_index, geometry, context.tokens, kept)
            x = checkpoint(block, *inputs, use_reentrant=False) if self.recompute else block(*inputs)
        shift, scale = (self.table + embedding[:, None]).unbind(1)  # [U, d]
        x = _modulate(x, shift, scale, batch.time_index)
        return self.patch_out(x.to(self.patch_out.weight.dtype))  # [N, P]

    def _blocks(self) -> Iterator[Block]:
        return (cast(Block, block) for block in self.blocks)

    def _modulation(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        # In half precision t = 0.700 and t = 0.702 would be the same time, so this part never is.
        with torch.autocast(batch.times.device.type, enabled=False):
            embedding = self.time_in(_waves(1000 * batch.times, self.config.frequency_dim))  # [U, d]
            if self.condition_in is not None:
                conditions = self.condition_in(batch.conditions, batch.known)  # [S, d]
                embedding = embedding + conditions[batch.time_segment]
            return embedding, self.time_out(F.silu(embedding)).unflatten(-1, (6, -1))

    def _geometry(self, batch: PackedBatch, context: Context) -> _Geometry:
        config, device = self.config, batch.x.device
        backend = config.attention or default_backend(device, _compute_dtype(batch.x))
        head_dim = config.width // config.heads
        if config.layout == "wan":
            cos, sin = rotation(batch.indices, index_frequencies(head_dim))
        else:
            cos, sin = rotation(batch.positions, metric_frequencies(head_dim))
        return _Geometry(
            clips=Ragged(batch.lengths, batch.lengths, backend, device),
            texts=Ragged(batch.lengths, context.lengths, backend, device),
            cos=cos,
            sin=sin,
        )


class Block(nn.Module):
    """Attention within the clip, attention to its text, feed-forward."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.qkv = nn.Linear(d, 3 * d)
        self.q_norm, self.k_norm = Norm(d), Norm(d)
        self.out = nn.Linear(d, d)
        self.cross_norm = nn.LayerNorm(d, eps=1e-6)
        self.cross_q = nn.Linear(d, d)
        self.cross_kv = nn.Linear(d, 2 * d)
        self.cross_q_norm, self.cross_k_norm = Norm(d), Norm(d)
        self.cross_out = nn.Linear(d, d)
        self.ffn_in = nn.Linear(d, config.ffn_width)
        # The tanh form of GELU costs as much as the matrix product before it on a CPU; SiLU a quarter of that.
        self.activation = nn.GELU(approximate="tanh") if config.layout == "wan" else nn.SiLU()
        self.ffn_out = nn.Linear(config.ffn_width, d)
        self.table = nn.Parameter(torch.zeros(6, d))

    def text_keys_values(self, text: Tensor) -> KeysValues:
        """Keys and values of text tokens `[M, d]`, each `[M, A, E]`. They do not depend on the clip or its time."""
        key, value = self.cross_kv(text).chunk(2, dim=-1)
        return self._heads(self.cross_k_norm(key)), self._heads(value)

    def forward(
        self, x: Tensor, modulation: Tensor, time_index: Tensor, geometry: _Geometry,
        text: Tensor, kept: KeysValues | None,
    ) -> Tensor:  # fmt: skip
        mod = (self.table + modulation).unbind(1)  # 6 x [U, d]
        h = _modulate(x, mod[0], mod[1], time_index)  # [N, d]
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        q = rotate(self._heads(self.q_norm(q)), geometry.cos, geometry.sin)  # [N, A, E]
        k = rotate(self._heads(self.k_norm(k)), geometry.cos, geometry.sin)
        h = attend(q, k, self._heads(v), geometry.clips).flatten(1)
        x = torch.addcmul(x, self.out(h), mod[2].index_select(0, time_index))

        q = self._heads(self.cross_q_norm(self.cross_q(self.cross_norm(x))))
        k, v = kept if kept is not None else self.text_keys_values(text)
        x = x + self.cross_out(attend(q, k, v, geometry.texts).flatten(1))

        h = _modulate(x, mod[3], mod[4], time_index)
        h = self.ffn_out(self.activation(self.ffn_in(h)))
        return torch.addcmul(x, h, mod[5].index_select(0, time_index))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))


class Norm(nn.Module):
    """Root mean square norm over all heads together; its statistics are in full precision whatever its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), eps=1e-6)


class Conditions(nn.Module):
    """Numbers that may be unknown to one vector: `[S, K]` values and which are known, to `[S, d]`.

    The centre and scale of each are measured on the training set and stored with the weights.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, num_conditions: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(num_conditions))
        self.register_buffer("scale", torch.ones(num_conditions))
        self.out = nn.Linear(num_conditions * CONDITION_FEATURES, width)

    def measure(self, centre: Sequence[float], scale: Sequence[float]) -> None:
        """Set what values are compared with."""
        self.centre.copy_(torch.tensor(centre))
        self.scale.copy_(torch.tensor(scale))

    @property
    def seen(self) -> list[bool]:
        """Which of them the training set knew: centre 0 and scale 1 are those of one that was never known."""
        return ((self.centre != 0) | (self.scale != 1)).tolist()

    def forward(self, values: Tensor, known: Tensor) -> Tensor:
        normal = ((values - self.centre) / self.scale).clamp(-4, 4)  # [S, K]
        angles = normal[..., None] * torch.tensor(_CONDITION_WAVES, device=values.device)
        features = torch.cat([torch.ones_like(normal)[..., None], normal[..., None], angles.sin(), angles.cos()], -1)
        return self.out((features * known[..., None]).flatten(1))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor, time_index: Tensor) -> Tensor:
    normal = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    scaled = torch.addcmul(
        shift.index_select(0, time_index), normal.to(shift.dtype), (1 + scale).index_select(0, time_index)
    )
    return scaled.to(x.dtype)


def _waves(values: Tensor, dim: int, longest: float = 10000.0) -> Tensor:
    """Sinusoids of falling frequency, cosines first: `[U]` to `[U, dim]`."""
    half = dim // 2
    frequencies = longest ** -(torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _mark_features(marks: Tensor) -> Tensor:
    """A loop and a window from the middle of a video have no place in time: theirs is left out."""
    angles = marks[:, 3:, None] * (0.5 * torch.pi) * 2.0 ** torch.arange(_EDGE_WAVES, device=marks.device)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)  # [N, 3, waves, 2]
    meant = torch.ones_like(marks[:, 3:])
    meant[:, 0] = marks[:, 2]
    return torch.cat([marks[:, :3], (waves * meant[:, :, None, None]).flatten(1)], dim=1)


def _compute_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
