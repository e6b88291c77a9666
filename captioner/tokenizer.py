"""The captioner's own vocabulary: byte-pair encoding trained on its captions, kept beside the weights.

Captions of one domain need a few hundred tokens, not the 49,408 of CLIP, which would outweigh a small model. Pretrained
towers keep theirs: `clip_tokenizer` rebuilds CLIP's vocabulary from what open_clip ships.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from curate.errors import UsageError

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
TOKENIZER_FILE = "tokenizer.json"

# CLIP's vocabulary has no padding: CoCa was trained with id 0, which is its exclamation mark. It also forgets where
# spaces were, and would write "a cat ."
CLIP_PAD, CLIP_BOS, CLIP_EOS = "!", "<start_of_text>", "<end_of_text>"
_CLIP_WORDS = r"""<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_SPACE_BEFORE_STOP = re.compile(r"\s+(?=[.,;:!?'](?:\s|\w|$))")


class CaptionTokenizer:
    """Text to rows of token ids and back. Any text can be written: what has no token of its own becomes bytes."""

    def __init__(self, tokenizer: Tokenizer, *, pad: str = PAD, bos: str = BOS, eos: str = EOS) -> None:
        self.tokenizer = tokenizer
        self._is_clip = pad == CLIP_PAD
        self.pad_id, self.bos_id, self.eos_id = (_id_of(tokenizer, name) for name in (pad, bos, eos))

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str], *, max_tokens: int, keep_end: bool = False) -> np.ndarray:
        """Rows `[texts, tokens]` of int64, as wide as the longest: begin, text, end, padding.

        A text that is too long is cut and then has no end token, so that nobody learns to stop in mid-sentence;
        `keep_end` puts it there nevertheless, for a text that is only read.
        """
        rows = [[self.bos_id, *self._ids(text), self.eos_id] for text in texts]
        rows = [row[: max_tokens - keep_end] + row[-1:] * keep_end if len(row) > max_tokens else row for row in rows]
        width = max((len(row) for row in rows), default=0)
        result = np.full((len(rows), width), self.pad_id, np.int64)
        for index, row in enumerate(rows):
            result[index, : len(row)] = row
        return result

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, with its begin and end."""
        return [len(self._ids(text)) + 2 for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a row, without its special tokens and what follows the end."""
        kept: list[int] = []
        for index in ids:
            if index == self.eos_id:
                break
            if index not in (self.pad_id, self.bos_id):
                kept.append(int(index))
        text = self.tokenizer.decode(kept).strip()
        return _SPACE_BEFORE_STOP.sub("", text) if self._is_clip else text

    def save(self, folder: str | Path) -> None:
        self.tokenizer.save(str(Path(folder) / TOKENIZER_FILE))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def _id_of(tokenizer: Tokenizer, name: str) -> int:
    index: int | None = tokenizer.token_to_id(name)
    if index is None:
        raise UsageError(f"the tokenizer has no token {name!r}; it was not made by `train_tokenizer`")
    return index


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = 1024) -> CaptionTokenizer:
    """Learn a byte-level vocabulary from captions. The same texts give the same vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    # The space belongs to the word that follows, so the first word gets one too. Digits stand alone.
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return CaptionTokenizer(tokenizer)


def load_tokenizer(folder: str | Path) -> CaptionTokenizer:
    """The tokenizer that lies beside a model's weights."""
    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; is {folder} the folder of a trained captioner?")
    tokenizer = Tokenizer.from_file(str(path))
    if tokenizer.token_to_id(PAD) is None:
        return CaptionTokenizer(tokenizer, pad=CLIP_PAD, bos=CLIP_BOS, eos=CLIP_EOS)
    return CaptionTokenizer(tokenizer)


def clip_tokenizer() -> CaptionTokenizer:
    """CLIP's vocabulary of 49,408 tokens, for CoCa checkpoints that were trained with it."""
    from open_clip.tokenizer import SimpleTokenizer

    clip = SimpleTokenizer()
    merges = sorted(clip.bpe_ranks, key=clip.bpe_ranks.__getitem__)
    tokenizer = Tokenizer(models.BPE(vocab=clip.encoder, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("</w>", "Ġ"), decoders.ByteLevel()])
    return CaptionTokenizer(tokenizer, pad=CLIP_PAD, bos=CLIP_BOS, eos=CLIP_EOS)
