"""What a training run is told, and presets from a laptop to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from curate.errors import ConfigError
from model import dit
from model.codec.patches import patch_values
from model.dataset import SelectionConfig
from model.dit import DiTConfig
from model.ema import gamma_of_width
from model.examples import ExampleConfig
from model.flow import FlowConfig
from model.optim import OptimConfig
from model.pack import PackConfig
from model.parallel import ParallelConfig
from model.text.pretrained import PretrainedTextConfig
from model.text.tiny import TinyTextConfig
from model.tokens import Shape
from model.validate import ValidationConfig
from model.windows import WindowConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """What happens when a loss or gradient is not a number."""

    skips_before_rollback: int = 3
    """Steps in a row without a usable gradient before the last checkpoint is loaded again."""
    max_rollbacks: int = 3
    """Then the run ends with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What is trained on, and through which codec and text encoder."""

    codec: str | None = None
    """A run of `train-codec` or its file, or diffusers:FOLDER_OR_REPOSITORY. None fits the linear codec, in seconds."""
    linear_stride: Shape = (4, 8, 8)
    """Frames, rows and columns of pixels in a cell of that linear codec."""
    linear_z_dim: int = 64
    """Its latent channels."""
    linear_balance: float = 0.5
    """How far its channels are brought to the same deviation, 0 to 1: see `fit_pca`."""
    text: PretrainedTextConfig | None = None
    """The pretrained text encoder whose states were cached with `reelwright encode --text`, told as it was there.
    None trains the built-in one with the model."""
    text_encoder: TinyTextConfig = field(default_factory=TinyTextConfig)
    """The built-in text encoder."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    """How clips are cut and resized, where nothing is encoded yet; otherwise as they were encoded."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def __post_init__(self) -> None:
        if len(self.linear_stride) != 3 or min(self.linear_stride) < 1:
            raise ValueError(f"linear_stride must be three numbers from 1 up, got {self.linear_stride}")
        values = patch_values(self.linear_stride)
        if not 1 <= self.linear_z_dim <= values:
            raise ValueError(
                f"linear_z_dim must be 1 to {values}, the values of a patch of {self.linear_stride}, got "
                f"{self.linear_z_dim}"
            )
        if not 0 <= self.linear_balance <= 1:
            raise ValueError(f"linear_balance is a share, from 0 to 1, got {self.linear_balance}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A training run."""

    steps: int = 4000
    """Optimizer steps of the whole run."""
    seed: int = 0
    start_from: str | None = None
    """A trained run whose weights this one begins with; its shape, codec and text encoder are taken, too."""
    data: DataConfig = field(default_factory=DataConfig)
    model: DiTConfig = field(default_factory=DiTConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    examples: ExampleConfig = field(default_factory=ExampleConfig)
    packs: PackConfig = field(default_factory=PackConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    ema_widths: tuple[float, ...] = (0.05, 0.1)
    """Averages of the weights that are kept, by their width as a share of the run; the first is validated."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    keep_last: int = 3
    """Newest checkpoints that are kept."""
    keep_every: int | None = None
    """Beside them, keep one every so many steps."""
    log_every: int = 10
    """Steps between two records in the log."""
    log_to: tuple[str, ...] = ()
    """Beside train.jsonl: tensorboard, wandb."""
    workers: int = 0
    """Threads that prepare batches ahead; 0 prepares them in turn. The result is the same."""
    on_changed_data: str = "stop"
    """When a run goes on and its samples have changed: `stop`, or `restart` with an epoch of the new ones."""

    def __post_init__(self) -> None:
        for name in ("steps", "checkpoint_every", "keep_last", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.keep_every is not None and self.keep_every < 1:
            raise ValueError(f"keep_every must be at least 1, got {self.keep_every}")
        if not self.ema_widths:
            raise ValueError("ema_widths is empty; keep at least one average, for sampling")
        for width in self.ema_widths:
            gamma_of_width(width)  # raises ValueError
        unheard = [name for name in self.data.selection.scores if name not in self.model.conditions]
        if unheard and self.model.conditions:
            raise ValueError(
                f"data.selection.scores has {', '.join(unheard)}, and model.conditions has not: a model is told what "
                "both of them name"
            )
        if self.on_changed_data not in ("stop", "restart"):
            raise ValueError(f"on_changed_data is {self.on_changed_data!r}; expected stop or restart")


def completed(config: TrainConfig, *, latent_channels: int, text_dim: int) -> TrainConfig:
    """The configuration with what comes from the codec and the text encoder. Raises ConfigError where they disagree."""
    for name, value in (("latent_channels", latent_channels), ("text_dim", text_dim)):
        asked = getattr(config.model, name)
        if asked not in (None, value):
            raise ConfigError(f"model.{name} is {asked}, but the codec and the text encoder give {value}")
    return replace(config, model=replace(config.model, latent_channels=latent_channels, text_dim=text_dim))


def tiny() -> TrainConfig:
    """Minutes on two CPU cores, on drawn or very small footage."""
    windows = WindowConfig(max_area_px=64 * 64, fps=8.0, max_frames=17)
    return TrainConfig(
        data=DataConfig(windows=windows, linear_stride=(8, 8, 8)),
        flow=FlowConfig(shift=3.0, std=1.5, uniform_share=0.1, prediction="residual"),
        packs=PackConfig(token_budget=1024),
        optim=OptimConfig(
            name="muon", lr=1.5e-3, muon_lr=0.007, weight_decay=0.2, warmup_steps=50, cooldown_share=0.95
        ),
    )


def small() -> TrainConfig:
    """An hour or two on one GPU, at a quarter of a television picture."""
    windows = WindowConfig(max_area_px=256 * 256, fps=12.0, max_frames=33, multiple=2)
    return _on_gpu(dit.small(), windows, steps=20_000, lr=6e-4, token_budget=16_384, packs_per_step=1)


def base() -> TrainConfig:
    """About a day on one large GPU."""
    windows = WindowConfig(max_area_px=384 * 384, fps=16.0, max_frames=49, multiple=2)
    return _on_gpu(dit.base(), windows, steps=100_000, lr=3e-4, token_budget=32_768, packs_per_step=4)


def large() -> TrainConfig:
    """Weeks on a node of eight GPUs."""
    windows = WindowConfig(max_area_px=832 * 480, fps=16.0, max_frames=81, multiple=2)
    config = _on_gpu(dit.large(), windows, steps=400_000, lr=2e-4, token_budget=32_768, packs_per_step=32)
    return replace(config, parallel=replace(config.parallel, mode="fsdp", recompute=True))


PRESETS: dict[str, Callable[[], TrainConfig]] = {"tiny": tiny, "small": small, "base": base, "large": large}


def _on_gpu(
    model: DiTConfig, windows: WindowConfig, *, steps: int, lr: float, token_budget: int, packs_per_step: int
) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        data=DataConfig(windows=windows, text_encoder=TinyTextConfig(dim=256, layers=4, heads=8)),
        model=model,
        flow=FlowConfig(shift=3.0, base_tokens=4096),
        packs=PackConfig(token_budget=token_budget, packs_per_step=packs_per_step),
        optim=OptimConfig(lr=lr, warmup_steps=1000, cooldown_share=0.2),
        parallel=ParallelConfig(precision="bf16", compile=True),
        validation=ValidationConfig(every=2000, num_clips=256),
        checkpoint_every=2000,
        keep_every=20_000,
        log_every=20,
        workers=8,
    )
