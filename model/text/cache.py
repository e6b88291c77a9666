"""The cache of text: each distinct caption goes through a text encoder once, so that training does not need it.

plan_texts      which captions are missing, in tasks       (arithmetic)
encode_texts    one task: encode, write one Parquet file   (a stage function)
CachedTextEncoder                                           reads them back, as a TextEncoder
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor

from curate.config import fingerprint
from curate.errors import UsageError, WeightsError
from curate.payload import payload_path
from model.tensor_payload import TensorReader, write_tensors
from model.text.base import TextTooLongError, check_length
from model.text.pretrained import PretrainedTextConfig, PretrainedTextEncoder, load_text_encoder


@dataclass(frozen=True, slots=True)
class TextTask:
    """Captions that are encoded into one file."""

    texts: tuple[str, ...]
    encoder_id: str


def text_id(text: str, encoder_id: str) -> str:
    """Key of the states of a text."""
    return fingerprint("text", text, encoder_id)


def plan_texts(
    texts: Iterable[str], encoder_id: str, done: Collection[str], *, texts_per_file: int = 256
) -> list[TextTask]:
    """Tasks for the texts that are missing; the empty text, which is the prompt of none, is always one of them."""
    missing = [text for text in dict.fromkeys(["", *texts]) if text_id(text, encoder_id) not in done]
    parts = (missing[start : start + texts_per_file] for start in range(0, len(missing), texts_per_file))
    return [TextTask(tuple(part), encoder_id) for part in parts]


def encode_texts(
    task: TextTask, *, root: str, config: PretrainedTextConfig, dtype: str = "float16", device: str = "cpu"
) -> list[dict[str, Any]]:
    """Encode a task into one payload file and return the rows of `text_embeddings` for it; failures are rows too."""
    encoder = _encoder(config, task.encoder_id, device)
    rows: list[dict[str, Any]] = []
    fitting: list[str] = []
    for text in task.texts:
        key = text_id(text, task.encoder_id)
        row: dict[str, Any] = {"text_id": key, "encoder": task.encoder_id, "fingerprint": key, "status": "ok"}
        try:
            check_length(text, encoder.num_tokens(text), encoder.max_tokens)
        except TextTooLongError as error:
            row |= {"status": "failed", "error_kind": "too_long", "error": str(error)}
        else:
            row["row"] = len(fitting)
            fitting.append(text)
        rows.append(row)
    states = encoder.encode(fitting)
    good = [row for row in rows if row["status"] == "ok"]
    if good:
        ids = [row["text_id"] for row in good]
        path = payload_path("texts", fingerprint(*ids), task.encoder_id)
        write_tensors(root, path, ids, {"states": states}, dtype=dtype)
        for row, found in zip(good, states, strict=True):
            row |= {"path": path, "num_tokens": len(found), "dim": encoder.dim, "dtype": dtype}
    return rows


class CachedTextEncoder:
    """A text encoder that only looks up. Raises UsageError for a text that was not encoded."""

    def __init__(
        self, reader: TensorReader, places: Mapping[str, tuple[str, int]], *, dim: int, encoder_id: str
    ) -> None:
        self.dim = dim
        self._reader = reader
        self._places = places
        self._encoder_id = encoder_id

    def encode(self, texts: list[str]) -> list[Tensor]:
        return [self._read(text) for text in texts]

    def takes(self, text: str) -> bool:
        return text_id(text, self._encoder_id) in self._places

    def fingerprint(self) -> str:
        return self._encoder_id

    def _read(self, text: str) -> Tensor:
        key = text_id(text, self._encoder_id)
        if key not in self._places:
            raise UsageError(
                f"the caption {text[:60]!r} is not among the cached texts; run `reelwright encode --text` again, and "
                "leave the form of captions unvaried"
            )
        return self._reader.read(*self._places[key], key)["states"]


@lru_cache(maxsize=1)  # one per process: it stays loaded between tasks
def _encoder(config: PretrainedTextConfig, encoder_id: str, device: str) -> PretrainedTextEncoder:
    encoder = load_text_encoder(config)
    if encoder.fingerprint() != encoder_id:
        raise WeightsError(
            f"{config.name}: the text encoder changed while captions were being encoded; run encode again"
        )
    return encoder.to(device)
