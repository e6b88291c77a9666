"""Fits the weights of dissolves and wipes in `curate/transitions.py` on composed and drawn films, and prints them.

    python -m benchmarks.shot_training --films 12 --seeds 0,1,2,3        # needs REELWRIGHT_MEDIA

Only the tune half of the single-shot clips is used: none of the marked real films, and nothing of the test half. A
positive example is a frame near the middle of a transition, at the scale that fits its length; a negative one is any
frame at any scale whose window holds no boundary. Few negatives are hard and many are easy, so the fit is repeated with
three quarters of their weight on the hard ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.shot_gold import halves, load_clip, make_drawn_film, make_film
from benchmarks.shot_runs import signals_of
from benchmarks.shot_scoring import Marks
from benchmarks.shots import film_material
from curate.evidence import SCALES_S
from curate.signals import seconds_of
from curate.transitions import NEEDED, WEIGHTS, Columns, Course, Thresholds, gradual_features, lasting

KINDS = {"dissolve": ("dissolve",), "wipe": ("wipe", "iris")}
CAUTION = {"dissolve": 0.25, "wipe": 0.0}
"""Taken off the bias: a false split costs more than the balanced fit assumes."""

DRAWN_SEED = 100

Film = tuple[Columns, np.ndarray, Marks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=24, help="per seed, and drawn")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2, 3])
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "reelwright-shots"), help="keeps the films")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    tune, _ = halves(film_material(Path(os.environ.get("REELWRIGHT_MEDIA", "../shared/media"))))
    clips = [load_clip(path, max_px=480) for path in tune]
    films = []
    for seed in (*options.seeds, None):  # None: the drawn ones
        folder = Path(options.work) / ("tune-drawn" if seed is None else f"tune-{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(options.films):
            path = folder / f"{index:02d}.mp4"
            if seed is None:
                marks = make_drawn_film(path, DRAWN_SEED, f"t{index}")
            else:
                marks = make_film(path, clips, seed, f"tune{index}")
            signals = signals_of(path)
            films.append(({name: signals.column(name).to_numpy() for name in NEEDED}, seconds_of(signals), marks))
    for kind in WEIGHTS:
        weights = fit(*examples(films, kind))
        weights[0] -= CAUTION[kind]
        names = ["bias", *(name for name in WEIGHTS[kind] if name != "bias")]
        print(f'"{kind}":', dict(zip(names, np.round(weights, 2).tolist(), strict=True)))


def examples(films: list[Film], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Features `[N, F]` of frames at all scales, and whether they are in the middle of a transition of the kind."""
    names = [name for name in WEIGHTS[kind] if name != "bias"]
    all_features, all_labels = [], []
    for columns, seconds, marks in films:
        course = Course(columns, seconds)
        for scale_s in SCALES_S:
            labels = _labels(seconds, marks, KINDS[kind], scale_s)
            by_name = gradual_features(course, scale_s)
            features = np.stack([by_name[name] for name in names], axis=1)
            candidate = course.gradual("apart", scale_s) > 2 / 3 * Thresholds().apart * course.contrast(scale_s)
            candidate &= lasting(course, scale_s) > Thresholds().lasting
            used = (labels == 1) | ((labels == 0) & candidate)
            used &= np.isfinite(features).all(axis=1)
            all_features.append(features[used])
            all_labels.append(labels[used])
    return np.concatenate(all_features), np.concatenate(all_labels)


def _labels(seconds: np.ndarray, marks: Marks, kinds: tuple[str, ...], scale_s: float) -> np.ndarray:
    """1 in the middle of a transition that the scale fits, 0 where no boundary is near, -1 elsewhere."""
    last = len(seconds) - 1
    spans = [(seconds[min(mark.start, last)], seconds[min(mark.end, last)]) for mark in marks.boundaries]
    labels = np.zeros(len(seconds), int)
    for start_s, end_s in spans:
        labels[(seconds + scale_s >= start_s - 0.05) & (seconds - scale_s <= end_s + 0.05)] = -1
    for index, (mark, (start_s, end_s)) in enumerate(zip(marks.boundaries, spans, strict=True)):
        length_s, middle_s = end_s - start_s, (start_s + end_s) / 2
        fitting_s = next((scale for scale in SCALES_S if scale >= 0.42 * length_s), SCALES_S[-1])
        others = spans[:index] + spans[index + 1 :]
        alone = all(end < middle_s - scale_s or start > middle_s + scale_s for start, end in others)
        if mark.kind in kinds and scale_s == fitting_s and alone:
            labels[np.abs(seconds - middle_s) <= 0.12 * length_s + 0.02] = 1
    return labels


def fit(features: np.ndarray, labels: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Bias and weights of a logistic regression in which negatives weigh three times as much as positives."""
    mean, spread = features.mean(0), features.std(0) + 1e-6
    scaled = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    positive = labels == 1
    hard = ~positive  # in the first round all are alike
    for _ in range(rounds):
        weight = np.where(positive, 1 / positive.sum(), 0.75 / (~positive).sum())
        weight[hard & ~positive] += 2.25 / max(1, (hard & ~positive).sum())
        beta = _regress(scaled, positive.astype(float), 1000 * weight)
        hard = scaled @ beta > -3
    return np.concatenate([[beta[0] - (beta[1:] * mean / spread).sum()], beta[1:] / spread])


def _regress(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Newton's method for weighted logistic regression with a small penalty on all but the bias."""
    penalty = ridge * weight.sum() * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weight * (y - p)) - penalty @ beta
        step = np.linalg.solve((x * (weight * p * (1 - p))[:, None]).T @ x + penalty, gradient)
        beta += step
        if np.abs(step).max() < 1e-6:
            break
    return beta


if __name__ == "__main__":
    main()
