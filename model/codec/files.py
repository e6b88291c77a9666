"""Codec files: weights, configuration and statistics in one safetensors file, known by its fingerprint.

RUN/codec.safetensors     tensors, and in the metadata: kind, configuration, latent statistics, fingerprint
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from curate.config import build, nearest
from curate.errors import WeightsError
from model.codec.pca import PCACodec
from model.codec.pretrained import PREFIX, PretrainedCodec, load_pretrained
from model.codec.units import UnitCodec
from model.codec.vae import CausalVAE, VAEConfig

FILE_NAME = "codec.safetensors"
_FORMAT = "reelwright-codec/1"


def save_codec(codec: UnitCodec, path: str | Path) -> Path:
    """Write a codec into a folder (as `codec.safetensors`) or to a file, whole or not at all; return the file."""
    from safetensors.torch import save_file

    file = _file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": _FORMAT,
        "kind": codec.kind,
        "config": json.dumps(codec.config_tree()),
        "statistics": json.dumps(asdict(codec.stats)),
        "fingerprint": codec.fingerprint(),
    }
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in codec.state_dict().items()}
    save_file(tensors, partial, metadata)
    os.replace(partial, file)
    return file


def load_codec(path: str | Path) -> UnitCodec | PretrainedCodec:
    """Read a codec from a run folder or file, or a pretrained one by `diffusers:` and its folder or repository.

    Raises WeightsError when it is missing, foreign or damaged.
    """
    if str(path).startswith(PREFIX):
        return load_pretrained(str(path))
    return _load_ours(_file(path))


def _load_ours(file: Path) -> UnitCodec:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise WeightsError(f"{file}: no codec here; make one with `reelwright train-codec DATASET --out {file.parent}`")
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise WeightsError(f"{file}: not a safetensors file, or a damaged one ({error})") from None
    if metadata.get("format") != _FORMAT:
        raise WeightsError(
            f"{file}: its format is {metadata.get('format', 'not named')!r}; a codec of ours is {_FORMAT!r}"
        )
    codec = _make(metadata["kind"], json.loads(metadata["config"]), file)
    try:
        codec.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(f"{file}: the weights do not fit their configuration: {error}") from None
    if codec.fingerprint() != metadata["fingerprint"]:
        raise WeightsError(f"{file}: the weights are not those that were saved; copy or train the codec again")
    return codec.eval().requires_grad_(False)


def _make(kind: str, config: dict, file: Path) -> UnitCodec:
    if kind == PCACodec.kind:
        return PCACodec(stride=tuple(config["stride"]), z_dim=config["z_dim"])
    if kind == CausalVAE.kind:
        return CausalVAE(build(VAEConfig, config))
    raise WeightsError(f"{file}: a codec of the kind {kind!r}; {nearest(kind, [PCACodec.kind, CausalVAE.kind])}")


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / FILE_NAME
