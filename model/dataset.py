"""What is trained on: kept clips joined with captions, scores and latents. The one file of `model` that reads tables.

dataset ──▶ kept clips + captions + scores ──▶ windows ──▶ latents from the cache, or from the video
folder of `write_training_files` ─────────────────────────▶ latents from its files (needs pyarrow only)

data = open_training_set("footage", SelectionConfig(), codec=load_codec("runs/codec"))
print(data.report)                  what is used, and what is not, with reasons and counts
data.latent_shapes[i], data[i]      shapes without reading a latent; a whole Sample
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from curate.blend import best_captions
from curate.config import build, nearest
from curate.counter_random import generator
from curate.errors import ConfigError, DatasetError
from curate.schema import CAPTION_KINDS, TABLES
from model.codec.base import Codec, latent_shape
from model.tensor_payload import TensorReader
from model.text.cache import CachedTextEncoder
from model.windows import ClipFacts, Window, WindowConfig, plan_windows, window_id

if TYPE_CHECKING:
    from curate.tables import Dataset

_SCORE_TABLES = {
    column.name: table.name
    for table in reversed(TABLES.values())  # the clips' own scores first
    if table.key == ("clip_id",) and table.name != "decisions"
    for column in table.columns
    if column.nullable and pa.types.is_floating(column.type)
}
"""Scores that a model can be told, and the table of each."""
_FACTS = ("clip_id", "start_pts", "end_pts", "num_frames", "fps", "width_px", "height_px")
_CONTENT = ("content_x_px", "content_y_px", "content_width_px", "content_height_px")
_CHUNK = 20_000

_WINDOW = [
    ("first", pa.int64()),
    ("num_frames", pa.int64()),
    ("fps", pa.float64()),
    ("every_frame", pa.bool_()),
    *((f"crop_{name}_px", pa.int64()) for name in ("x", "y", "width", "height")),
    ("width_px", pa.int64()),
    ("height_px", pa.int64()),
]
_CLIP = [
    ("clip_id", pa.string()),
    ("start_pts", pa.int64()),
    ("end_pts", pa.int64()),
    ("time_base", pa.float64()),
    ("num_frames", pa.int64()),
    ("fps", pa.float64()),
    ("width_px", pa.int64()),
    ("height_px", pa.int64()),
    ("content", pa.list_(pa.int64())),
]
SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),  # clip and first frame: the same whatever the codec
        ("clip", pa.struct(_CLIP)),
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("window", pa.struct(_WINDOW)),
        ("latent_id", pa.string()),
        ("shape", pa.list_(pa.int32())),  # latent frames, rows, columns
        ("path", pa.string()),  # of the cached latent, relative to the root; null: encoded when it is read
        ("row", pa.int64()),
        ("captions", pa.map_(pa.string(), pa.string())),
        ("scores", pa.map_(pa.string(), pa.float32())),
        ("weight", pa.float32()),
    ]
)
"""One row per training item; also the schema of the plain file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionConfig:
    """Which clips of a dataset are trained on, and with what."""

    split: Literal["train", "val", "all"] = "train"
    captions: tuple[str, ...] = ()
    """Kinds of captions that are read; none means all."""
    captioners: tuple[str, ...] = ()
    """Where several captioners wrote the same kind for a clip, those named first win."""
    require_caption: bool = True
    """Whether clips without any of these captions are left out."""
    scores: tuple[str, ...] = ("motion", "sharpness")
    """Scores that the model is told: columns of `clips`, of another table with a row per clip, or the user's own."""
    cache: Literal["prefer", "only", "never"] = "prefer"
    """Cached latents, with the rest encoded while training; only cached ones; or always from the video."""
    keep_mib: int = 1024
    """Memory for latents that were read once."""

    def __post_init__(self) -> None:
        for name in self.captions:
            if name not in CAPTION_KINDS:
                raise ConfigError(f"selection: no {name!r}; {nearest(name, CAPTION_KINDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One training item. Sizes are height, width; the crop is top, left, height, width in displayed pixels."""

    sample_id: str
    clip_id: str
    latent: Tensor  # [z, t, h, w], normalised posterior mean
    logvar: Tensor | None  # its spread, where the codec has one
    fps: float
    native_size: tuple[int, int]
    crop: tuple[int, int, int, int]
    captions: Mapping[str, str]
    scores: Mapping[str, float | None]
    weight: float = 1.0

    def draw(self, seed: int, epoch: int) -> Tensor:
        """A latent from the posterior: another one each epoch, the same on every machine."""
        if self.logvar is None:
            return self.latent
        noise = generator(seed, "posterior", epoch, self.sample_id).standard_normal(self.latent.shape, np.float32)
        return self.latent + (0.5 * self.logvar).exp() * torch.from_numpy(noise)


@dataclass(slots=True)
class Report:
    """What became of every clip of the dataset. `clips` is `used` and all of `dropped`."""

    clips: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    not_encoded: int = 0
    """Windows that were left out because only cached ones were asked for."""
    cached: int = 0
    captions: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [
            f"{self.used} of {self.clips} clips are used, as {self.windows} windows ({self.cached} from the cache)"
        ]
        lines += [f"  {count:>8}  {reason}" for reason, count in self.dropped.most_common()]
        if self.not_encoded:
            lines.append(f"  {self.not_encoded:>8}  windows of used clips are not encoded")
        if self.captions:
            lines.append("captions: " + ", ".join(f"{kind} {count}" for kind, count in self.captions.most_common()))
        return "\n".join(lines)


class NothingToTrainOnError(DatasetError):
    """A selection that leaves no training item."""


class TrainingSet:
    """Training items by index. Cheap to pickle and to open in every worker; reads a latent when it is asked for."""

    def __init__(self, root: str, samples: pa.Table, report: Report, codec: Codec, selection: SelectionConfig) -> None:
        self.samples = samples
        self.report = report
        self.selection = selection
        self.sample_ids: list[str] = samples["sample_id"].to_pylist()
        shapes = samples["shape"].combine_chunks().flatten().to_numpy()
        self.latent_shapes: np.ndarray = shapes.reshape(-1, 3)
        """Latent frames, rows and columns of each item."""
        self._codec = codec
        self._reader = TensorReader(root, keep_mib=selection.keep_mib)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        row = self.samples.slice(range(len(self))[index], 1).to_pylist()[0]
        window, clip = Window(**row["window"]), row["clip"]
        latent, logvar = self._latent(row, window)
        return Sample(
            sample_id=row["sample_id"],
            clip_id=clip["clip_id"],
            latent=latent,
            logvar=logvar,
            fps=window.fps,
            native_size=(clip["height_px"], clip["width_px"]),
            crop=(window.crop_y_px, window.crop_x_px, window.crop_height_px, window.crop_width_px),
            captions=dict(row["captions"]),
            scores=dict(row["scores"]),
            weight=row["weight"],
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def _latent(self, row: dict[str, Any], window: Window) -> tuple[Tensor, Tensor | None]:
        if row["path"] is not None:
            tensors = self._reader.read(row["path"], row["row"], row["latent_id"])
            return tensors["mean"], tensors.get("logvar")
        from model.clip_frames import clip_frames
        from model.pixels import to_video

        (frames,) = clip_frames(row["uri"], _facts(row["clip"]), [window])
        mean, logvar = self._codec.moments(to_video(frames))
        return mean[0], None if logvar is None else logvar[0]


def open_training_set(
    source: str | Path | Dataset, selection: SelectionConfig, *, codec: Codec, windows: WindowConfig | None = None
) -> TrainingSet:
    """The training items of a dataset, or of a folder of `training_files.py`.

    `windows` None takes those of the cache. Raises NothingToTrainOnError, with reasons and counts, when none is left.
    """
    from model.training_files import has_training_files, read_training_files

    if isinstance(source, (str, Path)) and has_training_files(Path(source), selection.split):
        if windows is not None:
            raise ConfigError(f"{source}: the windows of training files were decided when they were written")
        return read_training_files(Path(source), selection, codec)
    from curate.tables import Dataset

    dataset = (source if isinstance(source, Dataset) else Dataset(source)).require()
    cache = {} if selection.cache == "never" else _cached(dataset, codec)
    windows = windows or _windows_of(cache.values(), dataset)
    report = Report()
    tables = [
        _samples(clips, windows, codec, cache, selection, report) for clips in kept_clips(dataset, selection, report)
    ]
    samples = pa.concat_tables([SAMPLES.empty_table(), *tables])
    report.windows, report.cached = len(samples), len(samples) - samples["path"].null_count
    if not len(samples):
        raise NothingToTrainOnError(f"{dataset.uri}: nothing to train on.\n{report}")
    return TrainingSet(dataset.uri, samples, report, codec, selection)


def open_text_cache(source: str | Path | Dataset, encoder_id: str | None = None) -> CachedTextEncoder:
    """Cached states of captions; `encoder_id` None takes the only encoder that is there.

    Raises ConfigError when there is none, or more than one to choose from.
    """
    from model.training_files import has_training_files, read_texts

    if isinstance(source, (str, Path)) and has_training_files(Path(source), "train"):
        root, rows = str(source), read_texts(Path(source))
    else:
        from curate.tables import Dataset

        dataset = (source if isinstance(source, Dataset) else Dataset(source)).require()
        columns = ["text_id", "encoder", "dim", "path", "row"]
        root, rows = dataset.uri, dataset.read("text_embeddings", columns, where=pc.field("status") == "ok").to_pylist()
    encoders = {row["encoder"] for row in rows} if encoder_id is None else {encoder_id}
    rows = [row for row in rows if row["encoder"] in encoders]
    if len(encoders) != 1 or not rows:
        found = f"made by {', '.join(sorted(encoders))}" if rows else "none"
        raise ConfigError(
            f"{root}: cached text of one encoder is needed, found {found}; see `reelwright encode --text`"
        )
    places = {row["text_id"]: (row["path"], row["row"]) for row in rows}
    return CachedTextEncoder(TensorReader(root, keep_mib=256), places, dim=rows[0]["dim"], encoder_id=encoders.pop())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptClip:
    """A clip that passed the selection."""

    facts: ClipFacts
    video_id: str
    uri: str
    captions: Mapping[str, str]
    scores: Mapping[str, float | None]


def kept_clips(dataset: Dataset, selection: SelectionConfig, report: Report) -> Iterator[list[KeptClip]]:
    """Selected clips in chunks, in the order of their ids. Counts every clip in `report`, once."""
    columns = [*_FACTS, "video_id", "time_base_num", "time_base_den", *_CONTENT]
    by_table: dict[str, list[str]] = {"clips": []}
    own = [name for name in selection.scores if name not in _SCORE_TABLES]
    for name in selection.scores:
        if name not in own:
            by_table.setdefault(_SCORE_TABLES[name], []).append(name)
    joined = dataset.read("clips", [*columns, *(set(by_table.pop("clips")) - set(columns))])
    for table, names in by_table.items():
        joined = joined.join(dataset.read(table, ["clip_id", *names]), "clip_id")
    for name in own:
        joined = joined.join(_own_score(dataset, name), "clip_id")
    decisions = dataset.read("decisions", ["clip_id", "state", "reason", "split"])
    videos = dataset.read("videos", ["video_id", "uri"])
    joined = joined.join(decisions, "clip_id").join(videos, "video_id").sort_by("clip_id")
    captions = _captions(dataset, selection)
    originals = _original_captions(dataset) if not selection.captions or "alt" in selection.captions else {}
    report.clips += len(joined)
    for batch in joined.to_batches(max_chunksize=_CHUNK):
        chunk = []
        for row in batch.to_pylist():
            texts = captions.get(row["clip_id"], {})
            if "alt" not in texts and row["video_id"] in originals:
                texts = {**texts, "alt": originals[row["video_id"]]}
            reason = _why_not(row, texts, selection)
            if reason is not None:
                report.dropped[reason] += 1
                continue
            scores = {name: row[name] for name in selection.scores}
            facts = _facts(
                {
                    **{name: row[name] for name in _FACTS},
                    "time_base": row["time_base_num"] / row["time_base_den"],
                    "content": None if row["content_width_px"] is None else [row[name] for name in _CONTENT],
                }
            )
            chunk.append(KeptClip(facts=facts, video_id=row["video_id"], uri=row["uri"], captions=texts, scores=scores))
        yield chunk


def _samples(
    clips: Sequence[KeptClip],
    windows: WindowConfig,
    codec: Codec,
    cache: Mapping[str, Mapping[str, Any]],
    selection: SelectionConfig,
    report: Report,
) -> pa.Table:
    rows = []
    codec_id = codec.fingerprint()
    for clip in clips:
        planned = plan_windows(clip.facts, windows, codec.stride)
        if isinstance(planned, str):
            report.dropped[planned] += 1
            continue
        items = [(window, window_id(clip.facts.clip_id, window, codec_id)) for window in planned]
        if selection.cache == "only":
            stored = [item for item in items if item[1] in cache]
            if not stored:
                report.dropped["not encoded (run `reelwright encode`)"] += 1
                continue
            report.not_encoded += len(items) - len(stored)
            items = stored
        report.used += 1
        report.captions.update(clip.captions.keys())
        rows += [_row(clip, window, latent_id, codec, cache.get(latent_id, {})) for window, latent_id in items]
    return pa.Table.from_pylist(rows, SAMPLES)


def _row(clip: KeptClip, window: Window, latent_id: str, codec: Codec, cached: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sample_id": f"{clip.facts.clip_id}:{window.first}",
        "clip": asdict(clip.facts),
        "video_id": clip.video_id,
        "uri": clip.uri,
        "window": asdict(window),
        "latent_id": latent_id,
        "shape": latent_shape(codec.stride, window.num_frames, window.height_px, window.width_px),
        "path": cached.get("path"),
        "row": cached.get("row"),
        "captions": list(clip.captions.items()),
        "scores": list(clip.scores.items()),
        "weight": 1.0,
    }


def _cached(dataset: Dataset, codec: Codec) -> dict[str, dict[str, Any]]:
    where = (pc.field("codec") == codec.fingerprint()) & (pc.field("status") == "ok")
    rows = dataset.read("latents", ["latent_id", "path", "row", "windows"], where=where)
    return {row["latent_id"]: row for row in rows.to_pylist()}


def _windows_of(cached: Iterable[Mapping[str, Any]], dataset: Dataset) -> WindowConfig:
    found = {row["windows"] for row in cached}
    if len(found) > 1:
        raise ConfigError(
            f"{dataset.uri}: latents of this codec were made with {len(found)} settings for windows; say which is "
            "meant: " + " or ".join(sorted(found))
        )
    return build(WindowConfig, json.loads(found.pop())) if found else WindowConfig()


def _own_score(dataset: Dataset, name: str) -> pa.Table:
    """A score that a function of the user's own computed, by clip."""
    found = dataset.read("scores", ["clip_id", "value"], where=pc.field("name") == name)
    if not len(found):
        own = pc.unique(dataset.read("scores", ["name"])["name"]).to_pylist()
        raise ConfigError(f"selection.scores: no {name!r} in {dataset.uri}; {nearest(name, [*_SCORE_TABLES, *own])}")
    return found.rename_columns(["clip_id", name])


def _captions(dataset: Dataset, selection: SelectionConfig) -> dict[str, dict[str, str]]:
    columns = ["clip_id", "kind", "captioner", "status", "text", "alignment_margin", "created"]
    where = pc.field("status") == "ok"
    if selection.captions:
        where &= pc.field("kind").isin(selection.captions)
    rows = dataset.read("captions", columns, where=where).to_pylist()
    return best_captions(rows, prefer=selection.captioners)


def _original_captions(dataset: Dataset) -> dict[str, str]:
    rows = dataset.read("sources", ["video_id", "original_caption"]).to_pylist()
    return {row["video_id"]: row["original_caption"] for row in rows if row["video_id"] and row["original_caption"]}


def _why_not(row: Mapping[str, Any], captions: Mapping[str, str], selection: SelectionConfig) -> str | None:
    if row["state"] is None:
        return "pending: not decided yet (run `reelwright decide`)"
    if row["state"] != "kept":
        return f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
    if selection.split not in ("all", row["split"]):
        return f"split {row['split']}"
    if row["uri"] is None:
        return "failed: its video is not in the table of videos"
    if selection.require_caption and not captions:
        return "no caption"
    return None


def _facts(clip: Mapping[str, Any]) -> ClipFacts:
    content = clip["content"]
    return ClipFacts(**{**clip, "content": None if content is None else tuple(content)})
