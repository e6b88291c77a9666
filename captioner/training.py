"""Training a captioner, stage by stage; a run that was stopped goes on where it was, to the bit.

    batch -> CaptionLoss -> AdamW     until the stage's steps are done
    RUN                               the finished captioner, for `coca:RUN` and VideoCoCa.from_pretrained
    RUN/training/config.toml          what is trained; another configuration needs another folder
    RUN/training/state.safetensors    the stage in work: weights, moments of the optimizer, step
    RUN/training/stages/NAME          the captioner after that stage
    RUN/training/log.jsonl            losses, and captions that it wrote on the way

Plain PyTorch on one device, or as one rank of `torch.distributed` when that was started before.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from captioner.claims import fact_loss
from captioner.evaluate.diversity import diversity
from captioner.grid_encoder import GridEncoder
from captioner.tokenizer import CaptionTokenizer, train_tokenizer
from captioner.training_config import ModelConfig, StageConfig, TrainingConfig
from captioner.training_data import Batch, CaptionSource, batches
from captioner.video_coca import VideoCoCa, VideoCoCaConfig, special_ids
from curate.config import build, load_toml, to_toml
from curate.errors import UsageError

Say = Callable[[str], None]

_SAMPLES = 8


def train_captioner(
    config: TrainingConfig,
    source: CaptionSource,
    out: str | Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    samples_every: int = 200,
    save_every_s: float = 120.0,
    say: Say = print,
) -> Path:
    """Train, or go on training, in the folder `out`, and return it.

    Every `samples_every` steps it says what it writes; a stop loses at most the last `save_every_s` seconds.
    Raises UsageError when the folder holds a training with other settings or data.
    """
    run = _Run(config, source, Path(out), device, workers, samples_every, save_every_s, say)
    for name in config.stages:
        if not run.is_finished(name):
            run.train_stage(name)
    if _rank() == 0:
        VideoCoCa.from_pretrained(stage_folder(out, name)).save_pretrained(out)
    return Path(out)


def check_training(config: TrainingConfig, source: CaptionSource, out: str | Path, *, ranks: int = 1) -> None:
    """Raise UsageError if data lacks a kind, ranks cannot share a batch, or the folder holds another training."""
    for name, stage in config.stages.items():
        missing = [kind for kind in stage.mix if kind not in source.kinds]
        if missing:
            raise UsageError(
                f"stage {name} learns from {missing[0]} captions, but the data has only "
                f"{', '.join(sorted(source.kinds)) or 'none'}; change stages.{name}.mix"
            )
        if stage.batch_size % ranks:
            raise UsageError(
                f"stage {name} has batches of {stage.batch_size}, which {ranks} processes cannot share evenly; "
                f"change stages.{name}.batch_size or --workers"
            )
    path = Path(out) / "training" / "config.toml"
    if path.is_file():
        tree = load_toml(path)
        data = tree.pop("data", None)
        if build(TrainingConfig, tree) != config or data != source.fingerprint:
            raise UsageError(f"{path.parent} holds a training with other settings or data; choose another folder")


def stage_folder(run: str | Path, name: str) -> Path:
    """Where the captioner lies as it was after a stage."""
    return Path(run) / "training" / "stages" / name


def build_model(config: ModelConfig, tokenizer: CaptionTokenizer) -> VideoCoCa:
    """A captioner of the given size that knows nothing yet."""
    towers = {
        "context_length": config.context,
        "vocab_size": tokenizer.vocab_size,
        "width": config.width,
        "heads": config.heads,
    }
    return VideoCoCa(
        VideoCoCaConfig(
            embed_dim=config.embed_dim,
            text_cfg=towers | {"layers": config.text_layers, "pad_id": tokenizer.pad_id},
            multimodal_cfg=towers | {"layers": config.decoder_layers},
            grid_cfg=asdict(config.grid),
            frames=asdict(config.frames),
            **special_ids(tokenizer),
        ),
        tokenizer,
    )


class CaptionLoss(nn.Module):
    """CoCa's losses (Yu et al. 2022, Eq. 1 and 3): InfoNCE of video and text, cross-entropy of the next token.

    And for the small encoder, which words occur at all (Huang et al. 2024, SuperClass, Eq. 2): the shortest way from
    the words to what can be seen, while the other two still learn to read. Peaks answer for themselves, too: beside
    the richer scene they would be left behind, and with them the shapes.
    """

    def __init__(self, model: VideoCoCa, stage: StageConfig) -> None:
        super().__init__()
        self.model, self.stage = model, stage
        self.pad_id = model.config.pad_token_id

    def forward(self, frames: Tensor, ids: Tensor, kinds: Tensor, claims: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts for the log."""
        embedding, video_tokens = self.model.encode_video(frames)
        text, states = self.model.encode_text(ids)
        logits = self.model.decode_logits(states[:, :-1], self.model.as_kind(video_tokens, kinds))
        caption = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), ignore_index=self.pad_id)
        parts = {"caption": caption}
        loss = self.stage.captioning * caption
        if self.stage.contrastive:
            parts["contrast"] = self._contrast(F.normalize(embedding.float(), dim=-1), text.float(), ids)
            loss = loss + self.stage.contrastive * parts["contrast"]
        if self.stage.words and isinstance(self.model.visual, GridEncoder):
            parts["words"] = self._words(self.model.word_logits(embedding, video_tokens), ids)
            loss = loss + self.stage.words * parts["words"]
        if self.stage.facts and isinstance(self.model.visual, GridEncoder):
            parts["facts"] = fact_loss(self.model.facts(video_tokens), claims)
            loss = loss + self.stage.facts * parts["facts"]
        return loss, {part: value.detach() for part, value in parts.items()}

    def _words(self, logits: tuple[Tensor, Tensor], ids: Tensor) -> Tensor:
        """Cross-entropy of the words of each caption, in any order; rare words, which say more, count more."""
        occurs = torch.zeros(logits[0].shape, device=ids.device).scatter_(1, ids, 1.0)  # [B V]
        occurs[:, [self.pad_id, self.model.config.bos_token_id, self.model.config.eos_token_id]] = 0
        wanted = occurs * self.model.words.rarity(occurs if self.training else None)
        wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1e-6)
        return -torch.stack([(wanted * each.float().log_softmax(-1)).sum(1).mean() for each in logits]).mean()

    def _contrast(self, video: Tensor, text: Tensor, ids: Tensor) -> Tensor:
        scale = self.model.logit_scale.exp().clamp(max=100)
        scores = scale * video @ _all_ranks(text).T
        back_scores = scale * text @ _all_ranks(video).T
        own = torch.arange(len(ids), device=ids.device) + len(ids) * _rank()
        # Two clips with the same caption are no mistake of each other.
        all_ids = _all_ranks_padded(ids, self.pad_id)
        width = all_ids.shape[1]
        same = (F.pad(ids, (0, width - ids.shape[1]), value=self.pad_id)[:, None] == all_ids[None]).all(-1)
        same[torch.arange(len(ids)), own] = False
        return sum(F.cross_entropy(each.masked_fill(same, -torch.inf), own) for each in (scores, back_scores)) / 2  # type: ignore[return-value]


class _Run:
    """A run folder and what is needed to go on in it."""

    def __init__(
        self,
        config: TrainingConfig,
        source: CaptionSource,
        out: Path,
        device: str,
        workers: int,
        samples_every: int,
        save_every_s: float,
        say: Say,
    ) -> None:
        self.config, self.source, self.out, self.workers = config, source, out / "training", workers
        self.samples_every, self.save_every_s = samples_every, save_every_s
        self.device = torch.device(device)
        self.say = say if _rank() == 0 else lambda _: None
        check_training(config, source, out, ranks=_world_size())
        self._open_folder()

    def is_finished(self, name: str) -> bool:
        return self._folder(name).is_dir()

    def train_stage(self, name: str) -> None:
        stage = self.config.stages[name]
        model = self._model_to_start_from(name)
        for kind in stage.mix:
            model.learn_kind(kind)
        model.to(self.device).train()  # type: ignore[arg-type]
        optimizer = _optimizer(model, stage, self.config)
        step = self._resume(name, model, optimizer)
        loss_module: nn.Module = CaptionLoss(model, stage)
        if dist.is_initialized():
            loss_module = nn.parallel.DistributedDataParallel(loss_module, find_unused_parameters=True)
        self.say(
            f"stage {name}: {stage.steps - step} of {stage.steps} steps, {_num_parameters(model):.1f} M parameters"
        )
        saved_at = started = time.monotonic()
        for batch in self._batches(name, stage, model, step):
            parts = self._step(loss_module, optimizer, batch, step, stage)
            step += 1
            if step % self.samples_every == 0 or step == stage.steps:
                self._report(name, model, step, parts, time.monotonic() - started)
            if step < stage.steps and time.monotonic() - saved_at > self.save_every_s:
                self._save_state(name, model, optimizer, step)
                saved_at = time.monotonic()
        self._finish(name, model)

    def _step(
        self, loss_module: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, step: int, stage: StageConfig
    ) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = stage.learning_rate * learning_rate_factor(step, stage)
        with _autocast(self.config.precision, self.device), _attention(self.device):
            loss, parts = loss_module(
                *(x.to(self.device) for x in (batch.frames, batch.ids, batch.kinds, batch.claims))
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(loss_module.parameters(), self.config.clip_norm)
        optimizer.step()
        return parts

    def _batches(self, name: str, stage: StageConfig, model: VideoCoCa, step: int) -> Iterator[Batch]:
        names = list(self.config.stages)
        before = [self.config.stages[earlier] for earlier in names[: names.index(name)]]
        return batches(
            self.source,
            model.tokenizer,  # type: ignore[arg-type]
            name,
            stage,
            context=model.context_length,
            first=sum(earlier.steps * earlier.batch_size for earlier in before),
            seed=self.config.seed,
            start_step=step,
            rank=_rank(),
            world_size=_world_size(),
            workers=self.workers,
        )

    # Beginning and going on

    def _open_folder(self) -> None:
        """Write down what is trained here."""
        path = self.out / "config.toml"
        if _rank() == 0 and not path.is_file():
            self.out.mkdir(parents=True, exist_ok=True)
            text = f"data = {json.dumps(self.source.fingerprint)}\n{to_toml(self.config)}"
            _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))

    def _model_to_start_from(self, name: str) -> VideoCoCa:
        names = list(self.config.stages)
        before = self.config.stages[name].init_from or (names[names.index(name) - 1] if name != names[0] else None)
        if before is not None:
            return VideoCoCa.from_pretrained(self._folder(before))
        torch.manual_seed(self.config.seed)
        if self.config.open_clip is not None:
            num_frames = self.config.model.frames.num_frames
            return VideoCoCa.from_open_clip(self.config.open_clip, self.config.pretrained, num_frames=num_frames)
        kinds = frozenset(kind for stage in self.config.stages.values() for kind in stage.mix)
        tokenizer = train_tokenizer(self.source.texts(kinds), vocab_size=self.config.model.vocab_size)
        return build_model(self.config.model, tokenizer)

    def _resume(self, name: str, model: VideoCoCa, optimizer: torch.optim.Optimizer) -> int:
        if not self._state_file.is_file():
            return 0
        with safe_open(self._state_file, "pt", device=str(self.device)) as file:
            metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if metadata["stage"] != name:
            return 0
        model.load_state_dict({key: tensors[f"weight/{key}"] for key in model.state_dict()})
        for key, parameter in model.named_parameters():
            moments = {moment: tensors.get(f"{moment}/{key}") for moment in ("step", "exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {moment: value for moment, value in moments.items() if value is not None}
        return int(metadata["step"])

    # Keeping and showing

    @property
    def _state_file(self) -> Path:
        return self.out / "state.safetensors"

    def _folder(self, name: str) -> Path:
        return stage_folder(self.out.parent, name)

    def _save_state(self, name: str, model: VideoCoCa, optimizer: torch.optim.Optimizer, step: int) -> None:
        if _rank() == 0:
            tensors = {f"weight/{key}": weight.contiguous() for key, weight in model.state_dict().items()}
            for key, parameter in model.named_parameters():
                tensors |= {f"{moment}/{key}": value for moment, value in optimizer.state[parameter].items()}
            metadata = {"stage": name, "step": str(step)}
            _replace(self._state_file, lambda partial: save_file(tensors, partial, metadata))

    def _finish(self, name: str, model: VideoCoCa) -> None:
        if _rank() == 0:
            folder = self._folder(name)
            partial = folder.with_name(f".{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            model.save_pretrained(partial)
            partial.rename(folder)
            self._state_file.unlink(missing_ok=True)
        if dist.is_initialized():
            dist.barrier()

    def _report(self, name: str, model: VideoCoCa, step: int, parts: dict[str, Tensor], seconds: float) -> None:
        """Write down losses and what the model says of clips that it never saw: all alike is the commonest failure."""
        if _rank() != 0:
            return
        losses = {part: round(float(value), 4) for part, value in parts.items()}
        kind = max(self.config.stages[name].mix.items(), key=lambda pair: pair[1])[0]
        examples = [self.source.example(kind, index, held_out=True) for index in range(_SAMPLES)]
        model.eval()
        texts = [caption.text for caption in model.caption([example.frames for example in examples], kind=kind)]
        model.train()
        unique = diversity(texts).unique_share
        shown = " ".join(f"{part} {value:.3f}" for part, value in losses.items())
        self.say(f"  step {step}  {shown}  {seconds:.0f} s  {unique:.0%} of {len(texts)} samples differ")
        self.say(f"    written  {texts[0]}\n    true     {examples[0].text}")
        row = {"stage": name, "step": step, **losses, "seconds": round(seconds, 1), "unique": unique, "samples": texts}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(row, ensure_ascii=False) + "\n")


def learning_rate_factor(step: int, stage: StageConfig) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    warm = min(1.0, (step + 1) / max(1, min(stage.warmup_steps, stage.steps // 5)))
    return warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / stage.steps)))


def _optimizer(model: VideoCoCa, stage: StageConfig, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; what is no matrix (norms, biases, positions, the temperature) does not decay."""
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1 and "embedding" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embedding" in name]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98), fused=True)


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or (precision == "auto" and fast))


def _attention(device: torch.device) -> AbstractContextManager[Any]:
    """On a processor, plain products: its fused attention takes more than twice as long in bf16 to go backwards."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write(partial)
    os.replace(partial, path)


def _num_parameters(model: nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _all_ranks(x: Tensor) -> Tensor:
    """The rows of all ranks, through which gradients flow."""
    if _world_size() == 1:
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x))


def _all_ranks_padded(ids: Tensor, pad_id: int) -> Tensor:
    """The token rows of all ranks, padded to the longest."""
    if _world_size() == 1:
        return ids
    width = torch.tensor(ids.shape[1], device=ids.device)
    dist.all_reduce(width, dist.ReduceOp.MAX)
    padded = F.pad(ids, (0, int(width) - ids.shape[1]), value=pad_id)
    rows = [torch.empty_like(padded) for _ in range(_world_size())]
    dist.all_gather(rows, padded)
    return torch.cat(rows)
