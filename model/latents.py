"""The cache of latents: each window of a kept clip goes through the codec once.

    plan_latents   which windows are missing, in tasks of a few clips      (arithmetic)
    encode_clips   one task: decode, encode, write one Parquet file        (a stage function)

The key of a latent covers content, span, frames, crop, size and codec: one that does not fit any more is never found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from curate.config import fingerprint, to_tree
from curate.errors import ConfigError, VideoError, WeightsError
from curate.isolate import Limits
from curate.payload import payload_path
from model.codec.base import Codec, latent_shape
from model.codec.files import load_codec
from model.dataset import KeptClip
from model.device import pick_device
from model.pixels import to_video
from model.tensor_payload import DTYPES, write_tensors
from model.windows import Window, WindowConfig, plan_windows, window_id


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeConfig:
    """How clips become latents."""

    windows: WindowConfig = field(default_factory=WindowConfig)
    dtype: str = "float16"
    """Number format of stored latents: float16 or float32."""
    clips_per_file: int = 16
    """Clips that are encoded and written together; a run that is killed loses at most so many for each worker."""
    device: str = "auto"
    """Where the codec runs: cpu, cuda, or auto for a GPU where there is one."""
    limits: Limits = field(default_factory=lambda: Limits(wall_s=1800))
    """What decoding the clips of one task may use."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"encode.dtype is {self.dtype!r}; formats: {', '.join(DTYPES)}")
        if self.clips_per_file < 1:
            raise ConfigError(f"encode.clips_per_file must be at least 1, got {self.clips_per_file}")


@dataclass(frozen=True, slots=True)
class Job:
    """The windows of one clip that are missing."""

    clip: KeptClip
    windows: tuple[tuple[str, Window], ...]  # latent_id and window


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Clips that are encoded into one file."""

    jobs: tuple[Job, ...]
    codec_id: str


def plan_latents(
    clips: Iterable[KeptClip], config: EncodeConfig, codec: Codec, done: Collection[str]
) -> tuple[list[EncodeTask], Counter[str]]:
    """Tasks for what is missing; counts of windows done and planned, and of clips that cannot be used, by reason."""
    counts: Counter[str] = Counter()
    jobs = []
    codec_id = codec.fingerprint()
    for clip in clips:
        planned = plan_windows(clip.facts, config.windows, codec.stride)
        if isinstance(planned, str):
            counts[planned] += 1
            continue
        items = [(window_id(clip.facts.clip_id, window, codec_id), window) for window in planned]
        missing = tuple(item for item in items if item[0] not in done)
        counts["done"] += len(items) - len(missing)
        counts["planned"] += len(missing)
        if missing:
            jobs.append(Job(clip, missing))
    size = config.clips_per_file
    tasks = [EncodeTask(tuple(jobs[start : start + size]), codec_id) for start in range(0, len(jobs), size)]
    return tasks, counts


def encode_clips(task: EncodeTask, *, root: str, codec_path: str, config: EncodeConfig) -> list[dict[str, Any]]:
    """Encode a task into one payload file and return the rows of `latents` for it; failures are rows too."""
    codec = _codec(codec_path, task.codec_id, config.device)
    rows: list[dict[str, Any]] = []
    means: list[Tensor | None] = []
    logvars: list[Tensor | None] = []
    for job in task.jobs:
        try:
            moments = _encode_job(job, codec, config)
        except VideoError as error:
            rows += failed_latents(EncodeTask((job,), task.codec_id), config, error)
            continue
        for item, (mean, logvar) in zip(job.windows, moments, strict=True):
            rows.append({**_described(job, item, task.codec_id, config), "row": len(means), "status": "ok"})
            rows[-1] |= {"shape": list(mean.shape), "dtype": config.dtype, "has_logvar": logvar is not None}
            means.append(mean)
            logvars.append(logvar)
    good = [row for row in rows if row["status"] == "ok"]
    if good:
        ids = [row["latent_id"] for row in good]
        path = payload_path("latents", fingerprint(*ids), task.codec_id)
        write_tensors(root, path, ids, {"mean": means, "logvar": logvars}, dtype=config.dtype)
        for row in good:
            row["path"] = path
    return rows


def failed_latents(task: EncodeTask, config: EncodeConfig, error: VideoError) -> list[dict[str, Any]]:
    """Rows for all windows of a task of which nothing came."""
    return [
        _described(job, item, task.codec_id, config)
        | {"status": "failed", "error_kind": error.kind, "error": error.message}
        for job in task.jobs
        for item in job.windows
    ]


def _encode_job(job: Job, codec: Codec, config: EncodeConfig) -> list[tuple[Tensor, Tensor | None]]:
    from model.clip_frames import clip_frames

    windows = [window for _, window in job.windows]
    device = pick_device(config.device)
    moments = []
    for window, frames in zip(
        windows, clip_frames(job.clip.uri, job.clip.facts, windows, limits=config.limits), strict=True
    ):
        mean, logvar = codec.moments(to_video(frames).to(device))
        expected = latent_shape(codec.stride, window.num_frames, window.height_px, window.width_px)
        if tuple(mean.shape[2:]) != expected:
            raise VideoError("internal", f"the codec made a latent of {tuple(mean.shape[2:])} instead of {expected}")
        if not torch.isfinite(mean).all():
            raise VideoError("internal", "the codec made a latent that is not finite")
        moments.append((mean[0], None if logvar is None else logvar[0].clamp(min=-30)))
    return moments


def _described(job: Job, item: tuple[str, Window], codec_id: str, config: EncodeConfig) -> dict[str, Any]:
    latent_id, window = item
    columns = asdict(window)
    columns["first_frame"] = columns.pop("first")
    del columns["every_frame"]
    return {
        **columns,
        "latent_id": latent_id,
        "clip_id": job.clip.facts.clip_id,
        "video_id": job.clip.video_id,
        "codec": codec_id,
        "windows": windows_text(config.windows),
        "fingerprint": latent_id,
    }


def windows_text(config: WindowConfig) -> str:
    """Settings for windows as they stand in the table."""
    return json.dumps(to_tree(config), sort_keys=True)


@lru_cache(maxsize=1)  # one per process: it stays loaded between tasks
def _codec(path: str, codec_id: str, device: str) -> Codec:
    codec = load_codec(path)
    if codec.fingerprint() != codec_id:
        raise WeightsError(f"{path}: the codec changed while its latents were being made; run encode again")
    return codec.to(pick_device(device))
