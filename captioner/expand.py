"""A user's short prompt in the manner of the captions that the video model was trained on.

    expander = open_expander("lm:RUN")                 or "chat:URL#MODEL", or "hf:NAME_OR_PATH"
    expander.expand(["a red ball"], seed=0)[0].prompt   "a red ball. A large scarlet round ball is ... The camera ..."

A model that was trained on long captions draws badly from short prompts (Betker et al. 2023, section 3.5). As in the
prompts published with that paper, the user's words stay in front, unchanged; what is added must not contradict them. An
expansion that loses or changes what the user said is asked for again, and then left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from captioner.base import Decode
from captioner.chat import ChatClient, ChatConfig, ChatServer, Unanswered, choose_model
from captioner.evaluate.ngram import words
from captioner.fact_parser import parse_facts, unknown_text
from captioner.hygiene import clean
from captioner.prompts import Prompt
from curate.config import nearest
from curate.errors import CaptionerError, UsageError

EXPAND_PROMPT = Prompt(
    "expand-1",
    "You prepare prompts for a model that makes short videos. It was trained on long, exact descriptions, and needs "
    "them. Rewrite the user's prompt as one such description of {low} to {high} words: plain present-tense sentences "
    "that say what can be seen. Keep everything that the user said: every subject, number, colour, action, place, "
    "style, and quoted words exactly. Add what is missing and plausible: size and material, the background, the light, "
    "how the motion goes on, and how the camera moves or that it does not. Add no further main subjects. Do not praise "
    "and do not speak of feelings. Answer with the description alone.",
)

_STOP_WORDS = frozenset(
    words(
        "a an the and or of in on at to from by with for as is are was were be been being it its this that these those "
        "there then than into onto over under up down very some any while which who whose their his her they he she i "
        "we you video clip scene shot show shows showing make please says saying reads reading written word words"
    )
)
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”')
_ENDING = re.compile(r"(?:([^aeiou])\1)?(?:ing|ed|es|s)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A prompt to sample with, and where it came from."""

    prompt: str
    original: str
    status: Literal["expanded", "long enough", "kept"]
    """`kept`: no expansion could be had, or none that keeps what the user said; the prompt is the original."""
    expander: str
    reason: str | None = None
    """Why the original was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandConfig:
    """How prompts are expanded."""

    attempts: int = 8
    """Expansions to try before the original is kept."""
    keep_original: bool = True
    """Whether the user's words stay in front."""
    decode: Decode = field(default_factory=lambda: Decode(temperature=0.8, top_p=0.95, repetition_penalty=1.0))

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")


class Writer(Protocol):
    """Something that writes one expansion per prompt; None where it failed."""

    name: str
    min_words: int
    """Prompts of so many words are long enough."""

    def write(self, prompts: Sequence[str], decode: Decode) -> list[str | None]: ...


class PromptExpander:
    """Checks what a writer writes, and asks again where it must."""

    def __init__(self, writer: Writer, config: ExpandConfig | None = None) -> None:
        self.writer, self.config = writer, config or ExpandConfig()

    def expand(self, prompts: Sequence[str], *, seed: int = 0) -> list[Expansion]:
        """One expansion per prompt, in order; the same seed gives the same ones."""
        results: dict[int, Expansion] = {}
        for index, prompt in enumerate(prompts):
            if len(words(prompt)) >= self.writer.min_words:
                results[index] = self._unchanged(prompt, "long enough")
        reasons: dict[int, str] = {}
        for attempt in range(self.config.attempts):
            open_ones = [index for index in range(len(prompts)) if index not in results]
            if not open_ones:
                break
            decode = replace(self.config.decode, seed=seed * self.config.attempts + attempt)
            written = self.writer.write([prompts[index] for index in open_ones], decode)
            for index, text in zip(open_ones, written, strict=True):
                text = clean(text)[0] if text else ""
                reason = why_not(prompts[index], text)
                if reason is None:
                    results[index] = self._expanded(prompts[index], text)
                else:
                    reasons[index] = reason
        return [
            results.get(index) or self._unchanged(prompt, "kept", reasons[index])
            for index, prompt in enumerate(prompts)
        ]

    def _expanded(self, original: str, text: str) -> Expansion:
        prompt = join(original, text) if self.config.keep_original else text
        return Expansion(prompt=prompt, original=original, status="expanded", expander=self.writer.name)

    def _unchanged(self, original: str, status: Literal["long enough", "kept"], reason: str | None = None) -> Expansion:
        return Expansion(prompt=original, original=original, status=status, expander=self.writer.name, reason=reason)


def join(original: str, text: str) -> str:
    """The user's words, then the expansion."""
    head = original.strip()
    return f"{head} {text}" if head.endswith((".", "!", "?")) else f"{head}. {text}"


def why_not(original: str, text: str) -> str | None:
    """What is wrong with an expansion, or None. It must keep every fact, content word and quotation of the original.

    Facts that the parser of the drawn world knows may be put in other words; all other words must be there.
    """
    if not text:
        return "nothing was written"
    quotes = {(a or b).strip() for a, b in _QUOTED.findall(original)}
    missing_quote = next((quote for quote in sorted(quotes) if quote not in text), None)
    if missing_quote is not None:
        return f"the quoted {missing_quote!r} is missing"
    said, kept = parse_facts(original), parse_facts(text)
    if said and kept is not None:
        kept = {"count": "1", **kept}  # what is said without a number is one
        lost = [slot for slot, value in said.items() if kept.get(slot) != value]
        if lost:
            return f"{lost[0]} was {said[lost[0]]}, and became {kept.get(lost[0], 'nothing')}"
    stems = {_stem(word) for word in words(text)}
    to_keep = unknown_text(original) if kept is not None else _QUOTED.sub(" ", original)
    missing = [word for word in words(to_keep) if word not in _STOP_WORDS and _stem(word) not in stems]
    return f"{missing[0]!r} is missing" if missing else None


class ChatWriter:
    """Expansions by any server that speaks OpenAI's chat protocol."""

    def __init__(self, spec: str, config: ChatConfig | None = None, *, low: int = 40, high: int = 100) -> None:
        server, config = ChatServer.parse(spec), config or ChatConfig()
        model, revision = choose_model(server, config)
        self.name = f"chat:{model}@{revision}/{EXPAND_PROMPT.id}"
        self.min_words = low
        self._instruction = EXPAND_PROMPT.text.format(low=low, high=high)
        self._client = ChatClient(ChatServer(server.url, model), config)

    def write(self, prompts: Sequence[str], decode: Decode) -> list[str | None]:
        answers = self._client.ask_all({str(i): self._request(prompt, decode) for i, prompt in enumerate(prompts)})
        hopeless = next((a for a in answers.values() if isinstance(a, Unanswered) and a.is_hopeless), None)
        if hopeless is not None:
            raise CaptionerError(f"prompts cannot be expanded: {hopeless}")
        texts = (answers[str(index)] for index in range(len(prompts)))
        return [None if isinstance(answer, Unanswered) else answer.text for answer in texts]

    def _request(self, prompt: str, decode: Decode) -> Any:
        messages = [{"role": "system", "content": self._instruction}, {"role": "user", "content": prompt}]
        return lambda: {
            "messages": messages,
            "max_tokens": decode.max_new_tokens,
            "temperature": decode.temperature,
            "top_p": decode.top_p,
            "seed": decode.seed,
        }


class HfWriter:
    """Expansions by an instruction-following text model of transformers."""

    def __init__(self, name: str, *, device: str = "cpu", low: int = 40, high: int = 100) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, padding_side="left")
            self._model: Any = AutoModelForCausalLM.from_pretrained(name, dtype="auto").eval()
            self._model.to(device)
        except (OSError, ValueError) as error:
            raise UsageError(f"hf:{name}: {str(error).splitlines()[0]}") from None
        if not self._tokenizer.chat_template:
            raise UsageError(f"hf:{name} has no chat template, so it cannot be told what to do; take an instruct model")
        self.name, self.min_words = f"hf:{name}/{EXPAND_PROMPT.id}", low
        self._instruction = EXPAND_PROMPT.text.format(low=low, high=high)

    def write(self, prompts: Sequence[str], decode: Decode) -> list[str | None]:
        import torch

        chats = [
            [{"role": "system", "content": self._instruction}, {"role": "user", "content": prompt}]
            for prompt in prompts
        ]
        inputs = self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
        ).to(self._model.device)
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(decode.seed)
            rows = self._model.generate(
                **inputs,
                max_new_tokens=decode.max_new_tokens,
                do_sample=decode.temperature > 0,
                temperature=float(decode.temperature) or None,
                top_p=float(decode.top_p),
            )
        return self._tokenizer.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def open_expander(spec: str, config: ExpandConfig | None = None) -> PromptExpander:
    """An expander by name: `lm:FOLDER` (ours), `chat:URL#MODEL` or `hf:NAME_OR_PATH`."""
    maker, _, name = spec.partition(":")
    if maker == "lm":
        from captioner.expand_lm import LmWriter

        return PromptExpander(LmWriter(name), config)
    if maker == "chat":
        return PromptExpander(ChatWriter(name), config)
    if maker == "hf":
        return PromptExpander(HfWriter(name), config)
    raise UsageError(f"no expander {spec!r}; {nearest(maker, ('lm', 'chat', 'hf'))}. Example: lm:runs/captioner")


def _stem(word: str) -> str:
    """Enough to see that "runs" and "running" are one word."""
    stem = _ENDING.sub(lambda match: match.group(1) or "", word)
    return stem if len(stem) >= 3 else word
