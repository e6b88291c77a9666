"""How good samples are: facts of drawn footage read back by a judge, and distances between sets of videos.

    clip_score             how well videos fit their prompts, where weights of a CLIP are at hand (Hessel et al. 2021)
    attribute_accuracy     on prompts whose facts are known, with 95 % intervals
    frechet_distance       of Gaussians fitted to features (Heusel et al. 2017); biased for few videos
    kernel_distance        unbiased, polynomial kernel (Binkowski et al. 2018)

A distance means nothing without its extractor: `Features` carries the name, and every result does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from curate.counter_random import generator
from curate.errors import WeightsError
from model.canvas import Canvas
from model.pixels import to_video
from model.studio import Studio

if TYPE_CHECKING:
    from curate.drawn.shot import World


class Features(Protocol):
    """Turns a video uint8 `[T, H, W, 3]` of any size into a vector."""

    name: str

    def __call__(self, video: np.ndarray) -> np.ndarray: ...


class RandomFeatures:
    """A fixed random 3-D convolutional network: no weights to fetch, the same on every machine.

    Random features tell sets of videos apart by colour, texture, layout and motion; they know nothing of meaning.
    """

    name = "random-conv3d/1"

    def __init__(self, width: int = 48) -> None:
        random = generator(0, self.name)
        channels = (3, width, width, width)
        self._layers = []
        for inputs, outputs in pairwise(channels):
            weight = random.standard_normal((outputs, inputs, 3, 3, 3), dtype=np.float32) * math.sqrt(2 / (27 * inputs))
            bias = random.standard_normal(outputs, dtype=np.float32) * 0.1
            self._layers.append(
                (torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32)))
            )

    @torch.no_grad()
    def __call__(self, video: np.ndarray) -> np.ndarray:
        x = F.interpolate(to_video(video)[0].transpose(0, 1), (32, 32), mode="area").transpose(0, 1)[None]
        found: list[Tensor] = []
        for weight, bias in self._layers:
            x = F.relu(F.conv3d(x, weight, bias, stride=(1, 2, 2), padding=1))
            found += [x.mean(dim=(2, 3, 4)), x.mean(dim=(3, 4)).std(dim=2, correction=0)]
        return torch.cat(found, dim=1)[0].numpy()


class ClipFeatures:
    """Mean image features of a CLIP of open_clip over frames; `weights` is a name or file that open_clip knows.

    Raises WeightsError for a file that is not safetensors: others can hold code.
    """

    def __init__(self, model: str, weights: str) -> None:
        import open_clip

        if Path(weights).is_file() and Path(weights).suffix != ".safetensors":
            raise WeightsError(f"{weights}: weights are read from .safetensors only; convert them first")
        self.name = f"open_clip/{model}/{weights}"
        self._tokenize = open_clip.get_tokenizer(model)
        self._clip, _, self._prepare = open_clip.create_model_and_transforms(model, pretrained=weights)
        self._clip.eval()

    @torch.no_grad()
    def __call__(self, video: np.ndarray) -> np.ndarray:
        from PIL import Image

        pictures = torch.stack([self._prepare(Image.fromarray(frame)) for frame in video[:: max(len(video) // 8, 1)]])
        features = F.normalize(self._clip.encode_image(pictures).float(), dim=-1).mean(dim=0)
        return features.numpy()

    @torch.no_grad()
    def of_text(self, text: str) -> np.ndarray:
        """Features of a text, of length 1."""
        return F.normalize(self._clip.encode_text(self._tokenize([text])).float(), dim=-1)[0].numpy()


def clip_score(videos: Sequence[np.ndarray], prompts: Sequence[str], features: ClipFeatures) -> dict[str, Any]:
    """Mean cosine of the frames of each video and its prompt, and of the same videos and the next one's prompt.

    Only the difference between the two says something: the height of a cosine is that of the CLIP.
    """
    seen = np.stack([features(video) for video in videos])
    told = np.stack([features.of_text(prompt) for prompt in prompts])
    return {
        "features": features.name,
        "videos": len(videos),
        "cosine": float((seen * told).sum(1).mean()),
        "cosine_other_prompt": float((seen * np.roll(told, -1, axis=0)).sum(1).mean()),
    }


def distances(real: Sequence[np.ndarray], made: Sequence[np.ndarray], features: Features) -> dict[str, Any]:
    """Frechet and kernel distance between two sets of videos, with the extractor and their sizes."""
    one, other = (np.stack([features(video) for video in videos]) for videos in (real, made))
    return {
        "features": features.name,
        "real": len(real),
        "made": len(made),
        "frechet": frechet_distance(one, other),
        "kernel": kernel_distance(one, other),
    }


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features `[N, D]`."""
    difference = one.mean(0) - other.mean(0)
    first, second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other))
    # tr((C1 C2)^(1/2)) by the symmetric form, which has real eigenvalues: C1^(1/2) C2 C1^(1/2).
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    return float(difference @ difference + np.trace(first) + np.trace(second) - 2 * cross)


def kernel_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of features `[N, D]` with the kernel (x.y / D + 1)^3.

    Around zero, and as often below as above, for two sets from one distribution.
    """

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(features: np.ndarray) -> float:
        products = kernel(features, features)
        n = len(features)
        return float((products.sum() - np.trace(products)) / (n * (n - 1)))

    return within(one) + within(other) - 2 * float(kernel(one, other).mean())


def wilson_interval(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not total:
        return 0.0, 1.0
    share = hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True)
class Question:
    """A canvas, and which of its facts a video of it shows."""

    canvas: Canvas
    judge: Callable[[np.ndarray], Mapping[str, bool]]


def attribute_accuracy(studio: Studio, questions: Sequence[Question], *, together: int = 64) -> dict[str, Any]:
    """The share of videos that show each fact, and all of them, with 95 % intervals."""
    hits: dict[str, list[bool]] = {}
    for start in range(0, len(questions), together):
        part = questions[start : start + together]
        for question, video in zip(part, studio.draw([question.canvas for question in part]), strict=True):
            shown = question.judge(video)
            for name, holds in {**shown, "all": all(shown.values())}.items():
                hits.setdefault(name, []).append(bool(holds))
    return {
        name: {
            "share": sum(values) / len(values),
            "interval": wilson_interval(sum(values), len(values)),
            "videos": len(values),
        }
        for name, values in hits.items()
    }


def drawn_questions(
    num: int, *, sizes: Sequence[tuple[int, int]], frames: Sequence[int], fps: float, seed: int = 0,
    held_out: bool = True, hidden: Sequence[str] = (), world: World | None = None,
) -> list[Question]:  # fmt: skip
    """Questions of a drawn world, the tiny one if none is given, on combinations that are never drawn for training.

    `sizes` are height, width. Slots in `hidden` are not told in the prompt.
    """
    from curate.drawn.describe import describe
    from curate.drawn.judge import score
    from curate.drawn.sample import sample_shot
    from curate.drawn.shot import MOVING_SLOTS, facts, tiny_world

    world = world or tiny_world()
    questions = []
    for index in range(num):
        (height, width), length = sizes[index % len(sizes)], frames[index % len(frames)]
        duration_s = max((length - 1) / fps, 0.5)
        shot = sample_shot(generator(seed, "question", index), world, held_out=held_out, duration_s=duration_s)
        untold = (*hidden, *(MOVING_SLOTS if length == 1 else ()))
        prompt = describe(shot, "descriptive", seed=index, hidden=untold)
        wanted = facts(shot)
        canvas = Canvas(
            frames=length, height=height, width=width, fps=fps, prompt=prompt, seed=1_000_000 * seed + index
        )
        questions.append(Question(canvas, lambda video, wanted=wanted: score(video, wanted, world)))  # type: ignore[misc]
    return questions
