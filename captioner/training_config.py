"""What a captioner is trained to be, and how: stages, sizes, presets.

The stages are those of DALL-E 3 (Betker et al. 2023, section 2): joint contrastive and captioning training on the text
that came with the videos, then fine-tuning on short captions, then on descriptive ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from captioner.frames import FrameConfig
from captioner.grid_encoder import GridConfig
from curate.drawn.shot import SLOTS
from curate.errors import ConfigError
from curate.schema import CAPTION_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Size of a captioner that is trained from nothing."""

    width: int = 128
    """Of the text towers."""
    heads: int = 4
    text_layers: int = 2
    """Of the tower that reads text alone, which the contrastive loss compares with the video."""
    decoder_layers: int = 2
    """Of the tower that looks at the video and writes."""
    embed_dim: int = 128
    """Of the vectors in which videos and texts are compared."""
    context: int = 96
    """Longest caption in tokens, with begin and end."""
    vocab_size: int = 1024
    """Most tokens of the vocabulary that is learnt from the captions."""
    frames: FrameConfig = field(default_factory=lambda: FrameConfig(size_px=96))
    grid: GridConfig = field(default_factory=GridConfig)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """One stage: which captions, for how long, how fast."""

    mix: Mapping[str, float]
    """Kinds of captions and their shares of the batches. A little of an earlier kind keeps it from being forgotten."""
    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    contrastive: float = 1.0
    """Weight of the loss that compares videos with texts."""
    captioning: float = 2.0
    """Weight of the loss of the next token."""
    words: float = 1.0
    """Weight of the loss of which words occur, in any order; only for the small encoder."""
    facts: float = 0.0
    """Weight of the loss of the facts that captions claim, as our parser reads them; only for the small encoder."""
    stills: bool = False
    """Learn from one frame of each clip: several times cheaper, and most of what there is to see."""
    init_from: str | None = None
    """The stage to go on from; None goes on from the stage before."""

    def __post_init__(self) -> None:
        for kind, share in self.mix.items():
            if kind not in CAPTION_KINDS:
                raise ValueError(f"mix.{kind}: no such kind; kinds: {', '.join(CAPTION_KINDS)}")
            if share < 0:
                raise ValueError(f"mix.{kind} must not be negative, got {share}")
        if not sum(self.mix.values()):
            raise ValueError("mix: at least one kind needs a share above 0")
        if self.steps < 1 or self.batch_size < 2:
            raise ValueError(f"a stage needs a step and two clips per batch, got {self.steps} and {self.batch_size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A whole training."""

    stages: Mapping[str, StageConfig]
    """By name, in order."""
    model: ModelConfig = field(default_factory=ModelConfig)
    open_clip: str | None = None
    """Start from a CoCa of open_clip, such as coca_ViT-L-14, instead of from nothing; `model` is then unused."""
    pretrained: str | None = None
    """Its weights: a file, or a name that open_clip knows."""
    seed: int = 0
    untold: tuple[str, ...] = ()
    """Slots that captions of drawn footage leave out: what is not learnt in the time would be guessed."""
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 computes in half the bits where that is faster; auto does so where the processor has instructions for it."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: at least one is needed")
        known: list[str] = []
        for name, stage in self.stages.items():
            if stage.init_from is not None and stage.init_from not in known:
                raise ValueError(
                    f"stages.{name}.init_from is {stage.init_from!r}; stages before it: {', '.join(known)}"
                )
            known.append(name)
        if unknown := set(self.untold) - {*SLOTS, "other_shape", "other_color"}:
            raise ValueError(f"untold: no slot {min(unknown)}; slots: {', '.join(SLOTS)}, other_shape, other_color")
        if self.pretrained and not self.open_clip:
            raise ValueError("pretrained names weights; name their model with open_clip")


def dall_e_3_stages(*, base: int, short: int, descriptive: int, batch_size: int = 16) -> dict[str, StageConfig]:
    """The three stages, each so many steps long, with a tenth of the kind before in the batches of the last two.

    The base learns from stills, as CoCa did before it became VideoCoCa. The first two stages look for words above all:
    at the weight of the other losses, colours and movements are learnt and shapes are not.
    """
    return {
        "base": StageConfig(mix={"alt": 1.0}, steps=base, batch_size=batch_size, stills=True, words=4.0),
        "short": StageConfig(mix={"short": 0.9, "alt": 0.1}, steps=short, batch_size=batch_size, words=4.0),
        "descriptive": StageConfig(
            mix={"descriptive": 0.9, "short": 0.1}, steps=descriptive, batch_size=batch_size, words=2.0
        ),
    }


def smoke() -> TrainingConfig:
    """A few steps of everything, in seconds: shows that the parts fit together and nothing else."""
    return TrainingConfig(
        stages=dall_e_3_stages(base=4, short=4, descriptive=4, batch_size=8),
        model=ModelConfig(
            width=32,
            embed_dim=32,
            text_layers=1,
            decoder_layers=1,
            vocab_size=400,
            context=128,
            frames=FrameConfig(num_frames=4, size_px=32),
            grid=GridConfig(channels=(8, 16), blocks=(0, 1), hidden=32, scene_tokens=4),
        ),
    )


def minutes() -> TrainingConfig:
    """About five minutes on one core: above chance in all that it says of the drawn world.

    In that time the few pixels of writing and textures are not told apart, so it learns to say nothing of them.
    """
    config = _taught_by_facts(dall_e_3_stages(base=110, short=90, descriptive=500, batch_size=32))
    return replace(config, untold=("text", "texture"))


def full() -> TrainingConfig:
    """About twenty minutes on one core: the whole drawn world."""
    return _taught_by_facts(dall_e_3_stages(base=250, short=250, descriptive=2100, batch_size=32))


def _taught_by_facts(stages: Mapping[str, StageConfig]) -> TrainingConfig:
    """What captions claim teaches the encoder; next to it, the losses that must first learn to read teach it little."""
    stages = {name: replace(stage, facts=10.0, words=1.0, contrastive=0.25) for name, stage in stages.items()}
    return TrainingConfig(stages=stages, model=ModelConfig(grid=GridConfig(pooled=True)))


def fine_tune(open_clip: str, pretrained: str, *, steps: int = 10_000) -> TrainingConfig:
    """Descriptive captions for a pretrained CoCa; needs a GPU. Rate and decay are those of open_clip's recipe."""
    stage = StageConfig(
        mix={"descriptive": 1.0}, steps=steps, batch_size=128, learning_rate=1e-5, warmup_steps=1000, contrastive=0.0
    )
    return replace(
        TrainingConfig(stages={"descriptive": stage}), open_clip=open_clip, pretrained=pretrained, weight_decay=0.1
    )


def frames_of(config: TrainingConfig) -> FrameConfig:
    """Frames as the model of this training will look at them."""
    if config.open_clip is None:
        return config.model.frames
    import open_clip

    sections = open_clip.get_model_config(config.open_clip)
    if sections is None or "multimodal_cfg" not in sections:
        known = [name for name in open_clip.list_models() if name.startswith("coca_")]
        raise ConfigError(f"open_clip: no CoCa named {config.open_clip!r}; known: {', '.join(known)}")
    return replace(config.model.frames, size_px=sections["vision_cfg"]["image_size"], fit="crop")


PRESETS = {"smoke": smoke, "minutes": minutes, "full": full}
