"""Checkpoints: a folder that is there whole or not at all, without pickled objects, readable at any number of ranks.

RUN/config.toml                 what was asked for
RUN/step-00001000/
    model.safetensors           weights; the shape of the model in the metadata
    ema-0.050.safetensors       averages of the weights, one per width
    optimizer.safetensors       moments, by parameter name
    state.json                  step, data cursor, clipping, counters, fingerprints, versions
RUN/LATEST                      the name of the newest whole folder, written last
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from curate.errors import WeightsError

STATE_VERSION = 1
_NAME = re.compile(r"step-(\d{8})")


def write_checkpoint(
    run: Path, step: int, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], metadata: dict[str, str]
) -> Path:
    """Write `files` (name -> tensors) and the state of a step, then make it the latest. Returns its folder."""
    from safetensors.torch import save_file

    folder = run / f"step-{step:08d}"
    partial = run / f".{folder.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, tensors in files.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, partial / name, metadata)
    _write_text(partial / "state.json", json.dumps({"version": STATE_VERSION, "step": step, **state}, indent=1))
    for file in partial.iterdir():
        _sync(file)
    if folder.exists():  # a rolled-back run comes by here again
        stale = run / f".{folder.name}.{os.getpid()}.stale"
        os.replace(folder, stale)
        os.replace(partial, folder)
        shutil.rmtree(stale)
    else:
        os.replace(partial, folder)
    pointer = run / f".LATEST.{os.getpid()}"
    _write_text(pointer, folder.name + "\n")
    os.replace(pointer, run / "LATEST")
    return folder


def prune(run: Path, *, keep_last: int, keep_every: int | None) -> None:
    """Delete old checkpoints but the newest few and, if asked, one every so many steps."""
    kept = list_checkpoints(run)
    for folder in kept[: max(len(kept) - keep_last, 0)]:
        if keep_every is None or step_of(folder) % keep_every:
            shutil.rmtree(folder)


def list_checkpoints(run: Path) -> list[Path]:
    """Folders of whole checkpoints, oldest first."""
    return sorted(entry for entry in run.glob("step-*") if _NAME.fullmatch(entry.name))


def step_of(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    if match is None:
        raise WeightsError(f"{folder}: not a checkpoint; their folders are named like step-00001000")
    return int(match[1])


def find_checkpoint(path: Path, step: int | None = None) -> Path:
    """The checkpoint that a run folder or checkpoint folder means. Raises WeightsError, listing what is there."""
    if _NAME.fullmatch(path.name) and (path / "state.json").is_file():
        return path
    there = {step_of(folder): folder for folder in list_checkpoints(path)}
    if not there:
        raise WeightsError(f"{path}: no checkpoint here; `reelwright train DATASET --out {path}` makes one")
    if step is not None:
        if step not in there:
            raise WeightsError(f"{path}: no checkpoint of step {step}; there are {', '.join(map(str, there))}")
        return there[step]
    latest = path / "LATEST"
    name = latest.read_text().strip() if latest.is_file() else ""
    return path / name if (path / name / "state.json").is_file() and name else there[max(there)]


def read_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint. Raises WeightsError when it is damaged or newer than this version."""
    try:
        state = json.loads((folder / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}: its state.json cannot be read ({error}); use an earlier checkpoint") from None
    if state.get("version") != STATE_VERSION:
        raise WeightsError(
            f"{folder}: version {state.get('version')} of checkpoints; this reelwright reads version {STATE_VERSION}"
        )
    return state


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises WeightsError when it is missing, foreign or damaged."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        beside = sorted(entry.name for entry in file.parent.glob("*.safetensors"))
        raise WeightsError(f"{file}: no such file; beside it are: {', '.join(beside) or 'none'}")
    try:
        with safe_open(file, "pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{file}: not a safetensors file, or a damaged one ({error})") from None


def whole(tensor: Tensor) -> Tensor:
    """A tensor, put together from all ranks if it is sharded, in main memory. Every rank must call it."""
    tensor = tensor.detach()
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    return tensor.cpu()


@torch.no_grad()
def put(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into a parameter or buffer, or into this rank's shard of it."""
    if target.shape != source.shape:
        raise WeightsError(f"the checkpoint has {tuple(source.shape)} where the model has {tuple(target.shape)}")
    target.copy_(_like(source, target))


def optimizer_tensors(
    optimizers: Iterable[torch.optim.Optimizer], names: Mapping[nn.Parameter, str]
) -> dict[str, Tensor]:
    """All moments by the names of their parameters: `exp_avg/dit.patch_in.weight`."""
    return {
        f"{key}/{names[parameter]}": whole(value)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizers(
    optimizers: Iterable[torch.optim.Optimizer], names: Mapping[nn.Parameter, str], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave, sharded as the parameters are now."""
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        moment, _, name = key.partition("/")
        by_parameter.setdefault(name, {})[moment] = tensor
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                moments = by_parameter.get(names[parameter], {})
                optimizer.state[parameter] = {
                    moment: _like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
                    for moment, value in moments.items()
                }


def _like(source: Tensor, target: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    source = source.to(target.device)
    if isinstance(target, DTensor):
        return distribute_tensor(source, target.device_mesh, target.placements)
    return source


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    _sync(file)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
