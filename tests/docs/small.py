"""What the pages take for granted, small: footage, a dataset, runs; each is made when it is first named."""

from __future__ import annotations

import csv
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.film import render_film
from curate.drawn.sample_film import sample_film
from curate.video_write import Encoding, write_video

FILES = ("holiday.mp4", "garden.mp4", "street.mp4", "harbour.mp4", "kitchen.mp4", "birds.mp4")


# At this size x264 with its default options writes other bytes each time; then other videos would be held out.
_SAME_BYTES = Encoding(options={"x264-params": "mbtree=0"})


def draw_footage(folder: Path) -> None:
    """Six films of a few seconds, an empty file, and a list that names them with licence, title and caption."""
    rows = []
    for name in FILES:
        film = sample_film(
            generator(0, "pages", name), width=192, height=128, fps=Fraction(10), seconds=5, mean_take_s=2.5,
            kinds=("cut",),
        )  # fmt: skip
        write_video(folder / name, render_film(film), fps=film.fps, encoding=_SAME_BYTES)
        caption = describe(film.takes[0].shot, "short", 0)
        rows.append({"uri": name, "license": "CC0-1.0", "title": Path(name).stem, "caption": caption})
    (folder / "broken.mp4").touch()
    write_video(folder / "grey.mp4", (np.full((128, 192, 3), 90, np.uint8) for _ in range(30)), fps=Fraction(10))
    write_video(folder / "lawn.mp4", (_lawn(step) for step in range(30)), fps=Fraction(10))
    with open(folder / "list.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _lawn(step: int) -> np.ndarray:
    """Green stripes that move."""
    x, y = np.meshgrid(np.arange(192), np.arange(128))
    green = 150 + 60 * np.sin(0.2 * x + 0.05 * y + 0.4 * step) + 30 * np.sin(0.13 * y)
    return np.stack([0.4 * green, green, 0.3 * green], -1).astype(np.uint8)


def _sets(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


_WINDOWS = ("max_area_px=768", "max_frames=5")
_MODEL = _sets(
    *("model.width=24", "model.depth=1", "model.heads=2", "model.ffn_width=48", "data.linear_z_dim=6"),
    *("data.text_encoder.dim=8", "data.text_encoder.layers=1", "data.text_encoder.heads=2", "packs.token_budget=64"),
    *("checkpoint_every=1", "log_every=1", "validation.num_clips=2", "validation.every=1"),
    *(f"data.windows.{value}" for value in _WINDOWS),
)
_EXPANDER = _sets("width=16", "layers=1", "heads=2", "context=64", "vocab_size=300", "steps=2", "batch_size=2")

FAST: dict[str, list[str] | Callable[[list[str]], list[str]]] = {
    "train": [*_MODEL, "--steps", "2"],
    "plan": _MODEL,
    "train-codec": _sets("steps=2", "vae.width=8", "vae.z_dim=4", *(f"windows.{value}" for value in _WINDOWS)),
    "encode": _sets(*(f"encode.windows.{value}" for value in _WINDOWS)),
    "sample": _sets("sampling.steps=1"),
    "model eval": ["--drawn", "2", "--clips", "2", *_sets("steps=1")],
    "captioner train": lambda words: _EXPANDER if "--expander" in words else ["--preset", "smoke"],
    "captioner eval": ["--clips", "2"],
}
"""Further words with which a verb ends within a second or two."""


class Shelf:
    """Makes what the pages take for granted when it is first asked for, each once."""

    def __init__(self, folder: Path, run: Callable[[list[str]], int]) -> None:
        self._folder, self._run = folder, run

    def get(self, name: str) -> Path:
        """Path of one of `GIVEN`."""
        path = self._folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            GIVEN[name](self, path)
        return path

    def make(self, *arguments: str) -> None:
        assert self._run(list(arguments)) == 0, arguments


def _footage(shelf: Shelf, path: Path) -> None:
    path.mkdir()
    draw_footage(path)


def _list(shelf: Shelf, path: Path) -> None:
    lines = (shelf.get("footage") / "list.csv").read_text().splitlines()
    path.write_text("".join(f"footage/{line}\n" if ".mp4" in line else f"{line}\n" for line in lines))


def _dataset(shelf: Shelf, path: Path) -> None:
    listed = shelf.get("list.csv")
    shelf.make("curate", str(listed), str(shelf.get("footage")), "--out", str(path), "--local")
    shelf.make("caption", str(path), "--captioner", "original", "--kind", "alt", "--local", "--json")


def _run(shelf: Shelf, path: Path) -> None:
    shelf.make("train", str(shelf.get("dataset")), "--out", str(path), *_MODEL, "--steps", "2", "--json")


def _codec(shelf: Shelf, path: Path) -> None:
    shelf.make("train-codec", str(shelf.get("dataset")), "--out", str(path), "--linear", "--json", *FAST["train-codec"])


def _captioner(shelf: Shelf, path: Path) -> None:
    shelf.make("captioner", "train", "--preset", "smoke", "--out", str(path))


def _expander(shelf: Shelf, path: Path) -> None:
    shelf.make("captioner", "train", "--expander", "--out", str(path), *_EXPANDER)


def _picture(shelf: Shelf, path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((24, 32, 3), (90, 140, 60), np.uint8)).save(path)


def _video(shelf: Shelf, path: Path) -> None:
    write_video(path, (np.full((24, 32, 3), 20 * step, np.uint8) for step in range(9)), fps=Fraction(8))


GIVEN: dict[str, Callable[[Shelf, Path], None]] = {
    "footage": _footage,
    "list.csv": _list,
    "dataset": _dataset,
    "runs/first": _run,
    "runs/codec": _codec,
    "runs/captioner": _captioner,
    "runs/expander": _expander,
    "photo.png": _picture,
    "red.mp4": _video,
    "before.mp4": _video,
    "after.mp4": _video,
}
"""What a page may name without having made it."""
