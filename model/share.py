"""A run made small enough to hand on: one average of the weights in half precision, codec and words, nothing else.

share("runs/first", "first-small")           a tenth of a checkpoint
load_studio("first-small").draw([...])       like any run; it cannot be trained on
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from curate.errors import UsageError
from model.checkpoint import find_checkpoint, read_state, read_tensors, write_checkpoint
from model.run import RUN_FILES, weights_name

_KEPT_STATE = ("codec", "text", "usual", "tables", "config", "counts", "torch")


def share(run: str | Path, out: str | Path, *, step: int | None = None, width: float | None = None) -> int:
    """Copy what sampling needs of a run, or of a checkpoint, into the new folder `out`; return its bytes.

    `step` and `width` choose checkpoint and average as `load_studio` does. Weights are rounded to 16-bit floats, which
    changes a sample by no more than a level or two of 255.
    """
    folder, out = find_checkpoint(Path(run), step), Path(out)
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; name a new folder")
    name = weights_name(folder, width)
    tensors, metadata = read_tensors(folder / name)
    state = read_state(folder)
    halved = {key: tensor.to(torch.float16) for key, tensor in tensors.items()}
    kept = {key: state[key] for key in _KEPT_STATE if key in state}
    write_checkpoint(out, state["step"], {name: halved}, kept, metadata)
    for file in RUN_FILES:
        if (folder.parent / file).exists():
            shutil.copyfile(folder.parent / file, out / file)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
