"""Training: packed batches in, checkpoints and a log out. Plain PyTorch, the same on one core and on a cluster.

    batches of a step ──▶ loss over all ranks ──▶ clipped update ──▶ averages of the weights
                                                        │
         every so often: held-out loss, checkpoint ◀────┘

A step is a fixed number of packs, whoever computes them. What is drawn depends on seed, epoch and sample alone, so a
run that was killed goes on to the same bits, and a run on more ranks sees the same samples.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.config import fingerprint, to_toml, to_tree
from curate.errors import TrainingError, WeightsError
from model import checkpoint
from model.batches import StepBatches, batches_of
from model.device import autocast
from model.dit import DiT
from model.ema import PowerEma
from model.examples import TrainingData, condition_scales, value_deviations
from model.flops import batch_flops
from model.flow import squared_errors, weighted_loss
from model.optim import (
    AdaptiveClip,
    gradient_norm,
    lr_factor,
    make_optimizers,
    scale_gradients,
    set_learning_rate,
)
from model.packed import PackedBatch
from model.parallel import World, distribute, gradients_stay_here, settle
from model.text.base import TextEncoder
from model.train_config import TrainConfig
from model.train_log import TrainLog
from model.validate import Validator
from model.video_model import VideoModel

Report = Callable[[dict[str, Any]], None]
"""Called with every record of the log, on every rank."""

_MEASURED_SAMPLES = 256
_TIME_BINS = 10


class Trainer:
    """One training run, seen from one rank. `run` trains to the end."""

    def __init__(
        self,
        data: TrainingData,
        text: TextEncoder,
        config: TrainConfig,
        out: str | Path,
        *,
        stride: int,
        val_data: TrainingData | None = None,
        provenance: dict[str, Any] | None = None,
        world: World | None = None,
        report: Report | None = None,
    ) -> None:
        """`stride` is the codec's, in pictures per slot; `provenance` (dataset versions, fingerprints) is stored.

        Raises TrainingError when no sample can be trained on.
        """
        self.config, self.out = config, Path(out)
        self.world = world or World.current()
        self.provenance, self.report = provenance or {}, report
        keep_mib = config.data.selection.keep_mib
        self.batches = batches_of(
            data, config, self.world, stride=stride, workers=config.workers, keep_mib=keep_mib
        )  # fmt: skip
        examples = self.batches.examples
        torch.manual_seed(config.seed)  # for the initial weights; everything else is drawn by counter
        self.model = VideoModel(DiT(config.model), text, config.flow)
        conditions, is_residual = self.model.dit.condition_in, config.flow.prediction == "residual"
        some = list(self.batches.some_samples(_MEASURED_SAMPLES)) if conditions is not None or is_residual else []
        if conditions is not None:
            conditions.measure(*condition_scales(some, config.model.conditions))
        if is_residual:
            self.model.deviation.copy_(value_deviations(some, examples))
        self.module = distribute(self.model, config.parallel, self.world)
        self.names = {parameter: name for name, parameter in self.model.named_parameters()}
        self.optimizers = make_optimizers(self.model, config.optim)
        self.clip = AdaptiveClip(config.optim.clip_sigmas)
        self.emas = [PowerEma(width, self.model.named_parameters()) for width in config.ema_widths]
        self.validator = None
        if val_data is not None and len(val_data):
            self.validator = Validator(config.validation, val_data, examples, config.model.conditions, self.world)
        self.step = 0
        self.cursor: dict[str, Any] | None = None
        self.counts = dict.fromkeys(("samples", "tokens", "flops", "seconds", "cpu_s", "skipped", "rollbacks"), 0.0)
        self.unusable = set(self.validator.unusable) if self.validator is not None else set()
        self._by_time = torch.zeros(2, _TIME_BINS, dtype=torch.float64)

    def run(self) -> dict[str, Any]:
        """Train from the newest checkpoint, or from the start, to the last step; return the last record of the log."""
        resumed = self.resume()
        self._log = TrainLog(self.out, self.config.log_to) if self.world.is_main else None
        try:
            if self.world.is_main:
                (self.out / "config.toml").write_text(to_toml(self.config), encoding="utf-8")
            if not resumed:
                self.save()  # something to roll back to
            record = self._record(
                "resumed" if resumed else "started",
                parameters=self.num_parameters,
                used_samples=len(self.batches.used),
                cut_samples=self.batches.num_cut,
            )
            if self.step < self.config.steps:
                record = self._train()
            return record
        finally:
            if self._log is not None:
                self._log.close()

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Weights to start from, unless the run has a checkpoint already."""
        own = self.model.state_dict()
        for name, tensor in weights.items():
            checkpoint.put(own[name], tensor)
        self.emas = [PowerEma(width, self.model.named_parameters()) for width in self.config.ema_widths]

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def _train(self) -> dict[str, Any]:
        config, skips, waited = self.config, 0, time.perf_counter()
        record: dict[str, Any] = {}
        for step in self.batches.start(self.cursor):
            started = time.perf_counter()
            cpu_before = time.process_time()
            outcome = self.update(step)
            now = time.perf_counter()
            self.counts["seconds"] += now - waited
            self.counts["cpu_s"] += time.process_time() - cpu_before
            self.cursor = step.cursor
            is_last = self.step == config.steps
            skips = skips + 1 if "skipped" in outcome else 0
            if skips or is_last or self.step % config.log_every == 0:
                record = self._record(
                    "skipped" if skips else "step", **outcome, seconds=now - waited, data_wait_s=started - waited
                )
            waited = time.perf_counter()
            if skips > config.guard.skips_before_rollback:
                self._roll_back()
                skips = 0
            elif not skips:
                if self.validator is not None and (is_last or self.step % config.validation.every == 0):
                    record = self._record("validation", **self.validate())
                if is_last or self.step % config.checkpoint_every == 0:
                    self.save()
            if self.step >= config.steps:
                break
        return record

    def update(self, step: StepBatches) -> dict[str, Any]:
        """One optimizer step over the batches of all ranks. With `skipped` in the result, nothing was changed."""
        self.module.train()
        self.unusable.update(step.unusable)
        total, samples, tokens = self.world.sum(
            [
                sum(float(batch.total_weight) for batch in step.batches),
                sum(sum(map(bool, batch.sample_ids)) for batch in step.batches),
                sum(sum(batch.useful_lengths) for batch in step.batches),
            ]
        )
        loss, flops, suspects = self._accumulate(step.batches, total)
        loss, flops = self.world.sum([loss, flops])
        norm = gradient_norm(self.names)
        outcome = {"loss": loss, "grad_norm": norm, "samples": int(samples), "tokens": int(tokens), "flops": flops}
        if not (math.isfinite(norm) and math.isfinite(loss)) or total == 0:
            self._forget_gradients()
            self.counts["skipped"] += 1
            named = [name for names in self.world.gather(suspects) for name in names]
            return {**outcome, "skipped": named}
        scale_gradients(self.names, self.clip.factor(norm))
        factor = lr_factor(self.step, self.config.steps, self.config.optim)
        set_learning_rate(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
        self._forget_gradients()
        self.step += 1
        for ema in self.emas:
            ema.update(self.step, self.model.named_parameters())
        for name in ("samples", "tokens", "flops"):
            self.counts[name] += outcome[name]
        waste = 1 - tokens / (self.config.packs.token_budget * self.config.packs.packs_per_step)
        return {**outcome, "lr": factor * self.config.optim.lr, "waste": waste}

    def _accumulate(self, batches: Sequence[PackedBatch], total: float) -> tuple[float, float, list[str]]:
        """Gradients of this rank's batches; its share of the loss, useful operations, and samples that gave no number.

        The loss of a step is the weighted mean over the tokens of all ranks and batches: their weights are summed
        first, because a mean of means would weigh a token in a short pack more. DDP and FSDP average the gradients of
        ranks, hence the factor.
        """
        flops, factor = 0.0, self.world.size / total if total else 0.0
        losses: list[Tensor] = []
        errors_of: list[Tensor] = []
        for index, host_batch in enumerate(batches):
            batch = host_batch.to(self.world.device)
            with gradients_stay_here(self.module, index < len(batches) - 1):
                with autocast(self.config.parallel.precision, self.world.device):
                    predicted = self.module(batch)
                errors = squared_errors(predicted, batch.target)
                loss = weighted_loss(errors, batch.weight)
                (loss * factor).backward()
            losses.append(loss.detach())
            errors_of.append(errors.detach())
            lengths = batch.useful_lengths
            flops += 3 * batch_flops(self.config.model, lengths, self.model.text_lengths[: len(lengths)])
        # Only now is anything read back: a device is never kept waiting between two batches.
        suspects, values = [], [float(loss) for loss in losses]
        for batch, value, errors in zip(batches, values, errors_of, strict=True):
            if not math.isfinite(value):
                parts = batch.split(errors)
                names = [batch.sample_ids[batch.order.index(place)] for place in range(len(parts))]
                suspects += [name for name, part in zip(names, parts, strict=True) if not part.isfinite().all()]
            self._count_by_time(batch, errors)
        return sum(values) / total if total else 0.0, flops, suspects

    def _count_by_time(self, batch: PackedBatch, errors: Tensor) -> None:
        bins = (batch.times[batch.time_index] * _TIME_BINS).long().clamp(0, _TIME_BINS - 1)
        used = (batch.weight > 0).double()
        self._by_time[0].index_add_(0, bins, errors.cpu().double() * used)
        self._by_time[1].index_add_(0, bins, used)

    def _forget_gradients(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    # Held-out loss

    def validate(self) -> dict[str, Any]:
        """Held-out losses of the first average, and of the weights as they are."""
        assert self.validator is not None
        with self.averaged(self.emas[0]):
            result = self.validator.measure(self._predict)
        result["raw_loss"] = self.validator.measure(self._predict, text_gain=False)["loss"]
        settle(self.module)
        return result

    def _predict(self, batch: PackedBatch) -> Tensor:
        self.module.eval()
        with autocast(self.config.parallel.precision, self.world.device):
            return self.module(batch.to(self.world.device))

    @contextmanager
    @torch.no_grad()
    def averaged(self, ema: PowerEma) -> Iterator[None]:
        """The model with averaged weights, for as long as this lasts."""
        kept = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        try:
            for name, parameter in self.model.named_parameters():
                parameter.copy_(ema.weights[name])
            yield
        finally:
            settle(self.module)
            for name, parameter in self.model.named_parameters():
                parameter.copy_(kept[name])

    # Checkpoints

    def save(self) -> None:
        """Write a checkpoint. Every rank must call it; the main one writes."""
        weights = {name: checkpoint.whole(tensor) for name, tensor in self.model.state_dict().items()}
        files = {"model.safetensors": weights}
        for ema in self.emas:
            averaged = {name: checkpoint.whole(tensor) for name, tensor in ema.weights.items()}
            files[f"ema-{ema.width:.3f}.safetensors"] = weights | averaged  # buffers are as they are
        files["optimizer.safetensors"] = checkpoint.optimizer_tensors(self.optimizers, self.names)
        if self.world.is_main:
            checkpoint.write_checkpoint(self.out, self.step, files, self._state(), self._metadata())
            checkpoint.prune(self.out, keep_last=self.config.keep_last, keep_every=self.config.keep_every)
        self.world.wait()

    def _metadata(self) -> dict[str, str]:
        return {
            "format": "reelwright-model/1",
            "model": json.dumps(to_tree(self.config.model)),
            "flow": json.dumps(to_tree(self.config.flow)),
        }

    def _state(self) -> dict[str, Any]:
        return {
            "cursor": self.cursor,
            "clip": self.clip.state(),
            "counts": self.counts,
            "by_time": self._by_time.tolist(),
            "unusable": sorted(self.unusable),
            "data": self.batches.fingerprint,
            "config": fingerprint(self.config),
            "world_size": self.world.size,
            "torch": torch.__version__,
            **self.provenance,
        }

    def resume(self) -> bool:
        """Load the newest checkpoint of the run folder; False when there is none."""
        # The main rank says, and waits until all have heard: a late one must not find the first checkpoint of this run.
        if not self.world.gather(bool(checkpoint.list_checkpoints(self.out)))[0]:
            return False
        state = self._load(checkpoint.find_checkpoint(self.out))
        self.cursor, self.counts = state["cursor"], state["counts"]
        self.unusable |= set(state["unusable"])
        self._by_time = torch.tensor(state["by_time"], dtype=torch.float64)
        if state["data"] != self.batches.fingerprint:
            if self.config.on_changed_data == "stop":
                raise TrainingError(
                    f"{self.out}: the samples are not those that this run began with. Train into another folder, or go "
                    "on with the new ones from the start of an epoch: --set on_changed_data=restart"
                )
            self.cursor = None
        return True

    def _load(self, folder: Path) -> dict[str, Any]:
        state = checkpoint.read_state(folder)
        weights, _ = checkpoint.read_tensors(folder / "model.safetensors")
        own = self.model.state_dict()
        if own.keys() != weights.keys():
            differing = ", ".join(sorted(own.keys() ^ weights.keys())[:3])
            raise WeightsError(f"{folder}: its weights are of another model than this one ({differing}, ...)")
        for name, tensor in weights.items():
            checkpoint.put(own[name], tensor)
        for ema in self.emas:
            averaged, _ = checkpoint.read_tensors(folder / f"ema-{ema.width:.3f}.safetensors")
            for name, tensor in ema.weights.items():
                checkpoint.put(tensor, averaged[name])
        moments, _ = checkpoint.read_tensors(folder / "optimizer.safetensors")
        checkpoint.load_optimizers(self.optimizers, self.names, moments)
        self.clip.load(state["clip"])
        self.step = state["step"]
        return state

    def _roll_back(self) -> None:
        """Weights and moments as in the last checkpoint; the data goes on from here, past what did the harm."""
        self.counts["rollbacks"] += 1
        if self.counts["rollbacks"] > self.config.guard.max_rollbacks:
            raise TrainingError(
                f"{self.out}: no usable gradient after {self.config.guard.max_rollbacks} returns to a checkpoint; "
                f"train.jsonl names the samples. Lower optim.lr, or look at those samples"
            )
        folder = checkpoint.find_checkpoint(self.out)
        self._load(folder)
        self._record("rolled back", to=folder.name)

    # The log

    def _record(self, event: str, **values: Any) -> dict[str, Any]:
        record: dict[str, Any] = {"event": event, "step": self.step, **values}
        if event == "step":
            sums = torch.tensor(self.world.sum(self._by_time.flatten().tolist())).reshape(2, -1)
            means = (sums[0] / sums[1]).tolist()
            record["loss_by_time"] = {f"{i / _TIME_BINS:g}": m for i, m in enumerate(means) if not math.isnan(m)}
            self._by_time.zero_()
        record["total"] = dict(self.counts)
        unusable = sorted({name for names in self.world.gather(sorted(self.unusable)) for name in names})
        if unusable:
            record["unusable_samples"] = unusable
        if self._log is not None:
            self._log.write(record)
        if self.report is not None:
            self.report(record)
        return record
