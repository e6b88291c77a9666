"""A training run from a dataset to a folder that can be sampled from, and back from the folder.

RUN/codec.safetensors   our codec; or codec.json, which names a pretrained one
RUN/text.json           the text encoder: the built-in one by its words, or the name of a pretrained one
RUN/config.toml, train.jsonl, step-*/, LATEST       see train.py and checkpoint.py

train("footage", "runs/first", tiny())              again: goes on where it stopped
load_studio("runs/first").draw([Canvas(...)])
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from curate.blend import choose_caption, possible_captions
from curate.config import build, load_toml, to_tree
from curate.errors import ConfigError, DatasetError, WeightsError
from model.batches import batches_of
from model.canvas import Canvas, device_of
from model.checkpoint import find_checkpoint, list_checkpoints, put, read_state, read_tensors
from model.codec.base import Codec
from model.codec.files import FILE_NAME, load_codec, save_codec
from model.codec.units import UnitCodec
from model.dataset import NothingToTrainOnError, TrainingSet, open_text_cache, open_training_set
from model.dit import DiT, DiTConfig
from model.examples import Examples
from model.flow import FlowConfig
from model.parallel import World
from model.pixels import to_frames
from model.sample import SampleConfig
from model.studio import Studio
from model.text.base import TextEncoder
from model.text.pretrained import PretrainedTextConfig, load_text_encoder
from model.text.tiny import TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.train import Trainer
from model.train_config import DataConfig, TrainConfig, completed
from model.validate import Validator
from model.video_model import VideoModel

_CODEC_NAME, _TEXT_NAME = "codec.json", "text.json"
RUN_FILES = (FILE_NAME, _CODEC_NAME, _TEXT_NAME, "config.toml")
"""What a run folder can hold beside checkpoints and log."""
_FIT_WINDOWS = 256
_FIXED = (
    *("seed", "data.linear_stride", "data.linear_z_dim", "data.linear_balance", "data.text", "data.text_encoder"),
    *("model", "flow.prediction"),
)
"""Settings that a run keeps from its first step to its last."""


@dataclass(frozen=True)
class Parts:
    """What a run trains with."""

    data: TrainingSet
    val_data: TrainingSet | None
    codec: Codec
    text: TextEncoder
    config: TrainConfig
    provenance: dict[str, Any]
    start: VideoModel | None = None
    """The trained model whose weights the run begins with, if asked for."""


def train(
    source: str | Path,
    out: str | Path,
    config: TrainConfig,
    *,
    world: World | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train on a dataset, or on a folder of `training_files.py`, into a run folder. Returns the last record of the log.

    Raises NothingToTrainOnError, TrainingError or ConfigError, with reasons and counts, before anything is written.
    """
    world = world or World.current()
    parts = open_parts(source, Path(out), config, world=world)
    trainer = Trainer(
        parts.data,
        parts.text,
        parts.config,
        out,
        stride=parts.codec.stride[0],
        val_data=parts.val_data,
        provenance=parts.provenance,
        world=world,
        report=report,
    )
    if parts.start is not None:
        trainer.begin_with(parts.start.state_dict())
    return trainer.run()


def open_parts(source: str | Path, out: Path, config: TrainConfig, *, world: World, store: bool = True) -> Parts:
    """Data, codec and text encoder of a run, checked; what the run folder holds already is taken from there.

    The main rank goes first, and puts codec and text encoder into a new run folder (`store`), so that all others find
    the same. Raises what `train` raises.
    """
    if not world.is_main:
        world.wait()
    begun = (out / _TEXT_NAME).exists()  # written last
    start = None if config.start_from is None else load_studio(config.start_from, device="cpu")
    if start is not None:
        config = replace(config, model=start.model.dit.config, flow=start.model.flow)
    if begun:
        codec = _load_codec(out)
        if list_checkpoints(out):
            _check_codec(codec, read_state(find_checkpoint(out)), out)
    else:
        codec = _choose_codec(source, config) if start is None else start.codec
    if config.data.codec is not None and load_codec(config.data.codec).fingerprint() != codec.fingerprint():
        raise ConfigError(f"{out} was begun with another codec than {config.data.codec}; train into another folder")
    data = _open_data(source, codec, config)
    try:
        val_data = _open_data(source, codec, replace(config, data=_val(config.data)))
    except NothingToTrainOnError:
        val_data = None
    if start is not None and not begun and isinstance(start.model.text, TinyTextEncoder):
        text: TextEncoder = start.model.text
    else:
        text = _load_or_make_text(source, out, config, data)
    full = completed(config, latent_channels=codec.z_dim, text_dim=text.dim)
    if world.is_main:
        _check_captions(data, text, full)
        batches_of(data, full, World.alone(), stride=codec.stride[0])  # raises when nothing fits
        if begun:
            _check_unchanged(out, full)
        elif store:
            _store(out, codec, text, config)
        world.wait()
    provenance = {
        "source": str(source),
        "tables": _table_versions(source),
        "codec": codec.fingerprint(),
        "text": None if isinstance(text, TinyTextEncoder) else text.fingerprint(),
        "selected": data.report.used,
        "windows": data.report.windows,
        "usual": _usual(data),
    }
    return Parts(data, val_data, codec, text, full, provenance, None if start is None else start.model)


def load_studio(
    run: str | Path,
    *,
    step: int | None = None,
    width: float | None = None,
    device: str | None = None,
    config: SampleConfig | None = None,
) -> Studio:
    """What is needed to make videos from a run folder or a checkpoint.

    `width` is that of the averaged weights; None takes the narrowest, 0 the weights as they are.
    """
    folder = find_checkpoint(Path(run), step)
    home = folder.parent
    file = folder / weights_name(folder, width)
    tensors, metadata = read_tensors(file)
    if metadata.get("format") != "reelwright-model/1":
        raise WeightsError(
            f"{file}: its format is {metadata.get('format', 'not named')!r}; expected reelwright-model/1"
        )
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model_config = build(DiTConfig, json.loads(metadata["model"]))
    text = _load_text(home)
    model = VideoModel(DiT(model_config), text, build(FlowConfig, json.loads(metadata["flow"])))
    own = model.state_dict()
    if own.keys() != tensors.keys():
        raise WeightsError(f"{file}: these weights do not belong to the text encoder of {home / _TEXT_NAME}")
    for name, tensor in tensors.items():
        put(own[name], tensor)
    codec = _load_codec(home)
    state = read_state(folder)
    _check_codec(codec, state, home)
    if isinstance(codec, nn.Module):
        codec.to(target)
    known = {"run": home.name, "step": state["step"], "weights": file.name, "codec": state["codec"]}
    return Studio(model.to(target).eval(), codec, config or SampleConfig(), known, state["usual"])


@dataclass(frozen=True)
class HeldOut:
    """The validation split of a dataset, as a trained run sees it."""

    data: TrainingSet
    studio: Studio
    config: TrainConfig

    @staticmethod
    def open(studio: Studio, source: str | Path, run: str | Path) -> HeldOut:
        """Raises NothingToTrainOnError when nothing is held out."""
        home = find_checkpoint(Path(run)).parent
        config = build(TrainConfig, load_toml(home / "config.toml"))
        return HeldOut(_open_data(source, studio.codec, replace(config, data=_val(config.data))), studio, config)

    def loss(self) -> dict[str, Any]:
        """Loss at fixed times with fixed noise, and the gain from text: see `validate.py`."""
        model, world = self.studio.model, World.current()
        examples = Examples(
            self.config.examples, model.flow, patch=self.studio.patch, stride=self.studio.codec.stride[0],
            budget=self.config.packs.token_budget, seed=0,
        )  # fmt: skip
        device = next(model.parameters()).device
        validator = Validator(
            self.config.validation, self.data, examples, model.dit.config.conditions, replace(world, device=device)
        )
        return validator.measure(lambda batch: model(batch.to(device)))

    def pairs(self) -> Iterator[tuple[np.ndarray, Canvas]]:
        """Each clip, decoded from its latent, and a canvas of its size and length with its caption."""
        codec = self.studio.codec
        for index in range(len(self.data)):
            sample = self.data[index]
            frames = to_frames(codec.decode(sample.latent[None].to(device_of(codec))))
            caption = choose_caption(
                sample.captions, self.config.examples.captions, seed=0, epoch=0, sample_id=sample.sample_id
            )
            length, height, width = frames.shape[:3]
            yield (
                frames,
                Canvas(
                    frames=length, height=height, width=width, fps=sample.fps, prompt=caption.text or None, seed=index
                ),
            )


def weights_name(folder: Path, width: float | None) -> str:
    """The file of a checkpoint that `load_studio` reads."""
    averages = sorted(file.name for file in folder.glob("ema-*.safetensors"))
    if width == 0 or (width is None and not averages):
        return "model.safetensors"
    name = averages[0] if width is None else f"ema-{width:.3f}.safetensors"
    if name not in averages:
        raise WeightsError(f"{folder}: no average of width {width}; there are {', '.join(averages)}")
    return name


def _val(config: DataConfig) -> DataConfig:
    return replace(config, selection=replace(config.selection, split="val"))


def _open_data(source: str | Path, codec: Codec, config: TrainConfig) -> TrainingSet:
    data = open_training_set(source, config.data.selection, codec=codec)
    if data.report.cached or config.data.selection.cache == "only":
        return data
    return open_training_set(source, config.data.selection, codec=codec, windows=config.data.windows)


def _choose_codec(source: str | Path, config: TrainConfig) -> Codec:
    return _fit_codec(source, config) if config.data.codec is None else load_codec(config.data.codec)


def _fit_codec(source: str | Path, config: TrainConfig) -> Codec:
    from curate.tables import Dataset
    from model.codec.pca import fit_pca
    from model.footage import read_footage
    from model.pixels import to_video

    data = config.data
    footage, _ = read_footage(Dataset(source), data.windows, data.linear_stride)
    every = max(len(footage) // _FIT_WINDOWS, 1)
    videos = (to_video(footage[index]) for index in range(0, len(footage), every))
    return fit_pca(videos, stride=data.linear_stride, z_dim=data.linear_z_dim, balance=data.linear_balance)


def _load_codec(home: Path) -> Codec:
    if (home / _CODEC_NAME).exists():
        named = json.loads((home / _CODEC_NAME).read_text())
        codec: Codec = load_codec(named["codec"])
        if codec.fingerprint() != named["fingerprint"]:
            raise WeightsError(
                f"{named['codec']}: not the codec that {home} was trained with; its weights have changed"
            )
        return codec
    return load_codec(home)


def _check_codec(codec: Codec, state: dict[str, Any], run: Path) -> None:
    """Raise WeightsError when a checkpoint was trained with another codec than the one in its run folder."""
    if codec.fingerprint() != state["codec"]:
        raise WeightsError(
            f"{run}: its weights belong to the codec {state['codec']}, and the one in the folder is "
            f"{codec.fingerprint()}; put back the codec that it was trained with"
        )


def _check_captions(data: TrainingSet, text: TextEncoder, config: TrainConfig) -> None:
    """Raise ConfigError when there are captions that the text encoder cannot take."""
    refused = {
        sample_id: caption
        for sample_id, row in zip(data.sample_ids, data.samples["captions"].to_pylist(), strict=True)
        for caption in possible_captions(dict(row), config.examples.captions)
        if not text.takes(caption)
    }
    if refused:
        some = ", ".join(list(refused)[:3])
        remedy = (
            "give data.text_encoder more max_tokens"
            if isinstance(text, TinyTextEncoder)
            else "run `reelwright encode --text` again, with more text.max_tokens where captions are too long for it"
        )
        raise ConfigError(
            f"captions of {len(refused)} of {len(data)} samples ({some}, ...; the longest of "
            f"{max(len(caption.split()) for caption in refused.values())} words) cannot be taken by the text encoder: "
            f"{remedy}, or train on other kinds of captions (data.selection.captions)"
        )


def _check_unchanged(out: Path, config: TrainConfig) -> None:
    """Raise ConfigError when a run that was begun is told other settings that it could only ignore or betray."""
    file = out / "config.toml"
    if not file.is_file():
        return
    old, new = load_toml(file), to_tree(config)
    changed = [name for name in _FIXED if _at(old, name) != _at(new, name)]
    if changed:
        told = ", ".join(f"{name} = {_at(new, name)} (was {_at(old, name)})" for name in changed)
        raise ConfigError(f"{out} was begun with other settings: {told}; leave them, or choose a new folder")


def _at(tree: Any, name: str) -> Any:
    for key in name.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _load_or_make_text(source: str | Path, out: Path, config: TrainConfig, data: TrainingSet) -> TextEncoder:
    if config.data.text is not None:
        cached = open_text_cache(source)
        if (out / _TEXT_NAME).exists():
            known = json.loads((out / _TEXT_NAME).read_text())
            if known.get("fingerprint") != cached.fingerprint():
                raise ConfigError(f"{out} was begun with another text encoder than {config.data.text.name}")
        return cached
    torch.manual_seed(config.seed)  # every process, and every new start, begins with the same weights
    if (out / _TEXT_NAME).exists():
        return _load_text(out)
    texts = (text for row in data.samples["captions"].to_pylist() for _, text in row)
    return TinyTextEncoder(config.data.text_encoder, learn_vocabulary(texts))


def _store(out: Path, codec: Codec, text: TextEncoder, config: TrainConfig) -> None:
    """Put codec and text encoder into a new run folder. Raises ConfigError when another codec lies there."""
    if isinstance(codec, UnitCodec):
        if (out / FILE_NAME).exists() and load_codec(out).fingerprint() != codec.fingerprint():
            raise ConfigError(f"{out}: holds another codec than this run's; train into another folder")
        save_codec(codec, out)
    else:
        _write_json(out / _CODEC_NAME, {"codec": config.data.codec, "fingerprint": codec.fingerprint()})
    if isinstance(text, TinyTextEncoder):
        _write_json(out / _TEXT_NAME, {"built_in": text.config_tree()})
    else:
        assert config.data.text is not None
        _write_json(out / _TEXT_NAME, {"pretrained": to_tree(config.data.text), "fingerprint": text.fingerprint()})


def _load_text(home: Path) -> TextEncoder:
    file = home / _TEXT_NAME
    if not file.is_file():
        raise WeightsError(f"{home}: no {_TEXT_NAME} here; a run folder of `reelwright train` has one")
    named = json.loads(file.read_text())
    if "built_in" in named:
        return TinyTextEncoder.from_tree(named["built_in"])
    encoder = load_text_encoder(build(PretrainedTextConfig, named["pretrained"]))
    if encoder.fingerprint() != named["fingerprint"]:
        raise WeightsError(f"{named['pretrained']['name']}: not the text encoder that {home} was trained with")
    return encoder


def _usual(data: TrainingSet) -> dict[str, float]:
    """The most frequent size and length, and the rate of most of them."""
    windows = data.samples["window"].to_pylist()
    (height, width), _ = Counter((w["height_px"], w["width_px"]) for w in windows).most_common(1)[0]
    frames, _ = Counter(w["num_frames"] for w in windows).most_common(1)[0]
    fps = float(np.median([w["fps"] for w in windows]))
    return {"frames": frames, "height": height, "width": width, "fps": fps}


def _table_versions(source: str | Path) -> dict[str, int]:
    try:
        from curate.tables import Dataset

        return Dataset(source).versions()
    except (ImportError, DatasetError):  # a folder of plain files, perhaps on a machine without the table format
        return {}


def _write_json(file: Path, tree: dict[str, Any]) -> None:
    text = json.dumps(tree, indent=1)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
