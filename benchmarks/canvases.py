"""Every way of prompting on one trained model: what comes out, and whether it keeps what it promises.

    python -m benchmarks.canvases RUN --out canvases.json --figure docs/images/canvases.png

RUN is a run of `benchmarks.learning`. Draws clips of the tiny world on combinations that were never trained on, puts
them through every task of `model/edit.py`, `Canvas(loop=True)` and `roll`, and measures:

    held        given pixels come back to the bit; given latents are equal to the bit after sampling, and their slots
                decode to what the codec makes of the given pixels
    seam        distance of the last frame to the first, or over a join, divided by the mean distance of neighbours
    motion      the direction that the judge reads in given and made frames together
    facts       what the judge reads in the result, against the prompt or against what was given
    memory      resident memory after 10 and after 60 seconds of a rolling canvas
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.learning import FPS
from curate.config import build, with_overrides
from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.judge import judge
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import MOVING_SLOTS, TINY_UNTOLD, Shot, facts, tiny_world
from model import edit
from model.canvas import Box, Canvas, Pin, make_job, to_pictures
from model.long import Panel, roll
from model.pixels import to_frames, to_video
from model.run import load_studio
from model.sample import SampleConfig, draw_samples
from model.studio import Studio
from model.tokens import patchify

HEIGHT, WIDTH = 32, 48
SIZES = ((32, 32), (24, 40), (40, 24), (32, 48))
_GIVEN, _MADE = "#1b7837", "0.8"


@dataclass
class Row:
    """A task in the table and in the picture."""

    task: str
    says: str
    measured: dict[str, Any]
    frames: np.ndarray
    given: np.ndarray
    """Which frames were given, bool `[T]`."""
    holds: list[bool] = field(default_factory=list)
    """The promises of the task, in the order of its measurements that end in a question mark."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("canvases.json"))
    parser.add_argument("--figure", type=Path, default=Path("canvases.png"))
    parser.add_argument("--clips", type=int, default=32, help="requests of each task")
    parser.add_argument("--sampling", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    studio = load_studio(arguments.run, config=build(SampleConfig, with_overrides({}, arguments.sampling)))
    rows = []
    for task in TASKS:
        began = time.process_time()
        rows.append(task(studio, arguments.clips))
        row = rows[-1]
        print(f"| {row.task} | {told(row.measured)} | {time.process_time() - began:.0f} s |", flush=True)
    arguments.out.write_text(json.dumps([{"task": row.task, **row.measured} for row in rows], indent=1))
    draw(rows, arguments.figure)


# What is given


def shots(num: int, *, motions: Sequence[str] | None = None, seed: int = 0, seconds: float = 2.0) -> list[Shot]:
    """Shots of combinations that were never trained on."""
    found: list[Shot] = []
    index = 0
    while len(found) < num:
        shot = sample_shot(generator(seed, "canvas", index), tiny_world(), held_out=True, duration_s=seconds)
        if motions is None or shot.subject.motion in motions:
            found.append(shot)
        index += 1
    return found


def clip_of(shot: Shot, num_frames: int = 17, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return render_shot(shot, width, height, FPS, num_frames=num_frames)


def prompt_of(shot: Shot, *, still: bool = False) -> str:
    return describe(shot, "descriptive", seed=0, hidden=(*TINY_UNTOLD, *(MOVING_SLOTS if still else ())))


# What is measured


def share(values: Sequence[bool]) -> float:
    return round(float(np.mean(values)), 3)


def middle(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 2)


def neighbours(video: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame to the next."""
    return np.abs(np.diff(video.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))


def seam(video: np.ndarray) -> float:
    """Distance of the last frame to the first, over the mean distance of neighbours."""
    over = np.abs(video[-1].astype(np.float32) - video[0]).mean()
    return float(over / max(neighbours(video).mean(), 1e-6))


def join(video: np.ndarray, at: int) -> float:
    """Distance of frame `at` to the frame before, over the mean distance of neighbours."""
    steps = neighbours(video)
    return float(steps[at - 1] / max(steps.mean(), 1e-6))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.square(one.astype(np.float32) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def shown(video: np.ndarray, shot: Shot, names: Sequence[str] = ("shape", "color", "size", "background_color")) -> bool:
    seen, wanted = judge(video).facts(), facts(shot)
    return all(seen.get(name) == wanted[name] for name in names)


def same_motion(video: np.ndarray, shot: Shot) -> bool:
    return judge(video).facts().get("motion") == shot.subject.motion


ALL = ("shape", "color", "size", "background_color", "motion")


# The tasks


def text_to_video(studio: Studio, num: int) -> Row:
    some = shots(num)
    sizes = [SIZES[index % len(SIZES)] for index in range(num)]
    canvases = [
        Canvas(frames=17, height=height, width=width, fps=FPS, prompt=prompt_of(shot), seed=index)
        for index, (shot, (height, width)) in enumerate(zip(some, sizes, strict=True))
    ]
    videos = studio.draw(canvases)
    alone = studio.draw([canvases[1]])[0]
    apart = int(np.abs(alone.astype(int) - videos[1]).max())
    right = [shown(video, shot, ALL) for video, shot in zip(videos, some, strict=True)]
    pick = next((i for i, good in enumerate(right) if good and sizes[i] == (32, 48)), 0)
    return Row(
        "text to video",
        prompt_of(some[pick]),
        {"all facts as told": share(right), "most that a neighbour in the batch changes (of 255)": apart},
        videos[pick],
        np.zeros(17, bool),
    )


def text_to_image(studio: Studio, num: int) -> Row:
    some = shots(num)
    canvases = [
        Canvas(frames=1, height=32, width=48, fps=FPS, prompt=prompt_of(shot, still=True), seed=index)
        for index, shot in enumerate(some)
    ]
    images = studio.draw(canvases)
    right = [shown(image, shot) for image, shot in zip(images, some, strict=True)]
    return Row(
        "text to image",
        "eight prompts, one image each",
        {"all facts as told": share(right)},
        np.concatenate(images[:8]),
        np.zeros(8, bool),
    )


def image_to_video(studio: Studio, num: int) -> Row:
    some = shots(num)
    held, bits, codec_bits, facts_kept, moves = [], [], [], [], []
    results = []
    for index, shot in enumerate(some):
        image = clip_of(shot)[0]
        made = edit.animate(studio, image, frames=17, fps=FPS, prompt=prompt_of(shot), seed=index)
        results.append(made)
        held.append(bool((made[0] == image).all()))
        canvas = Canvas(
            frames=17,
            height=HEIGHT,
            width=WIDTH,
            fps=FPS,
            prompt=prompt_of(shot),
            seed=index,
            pins=(Pin(frames=image),),
        )
        latent_equal, decoded_equal = pinned_equal(studio, canvas, image[None])
        bits.append(latent_equal)
        codec_bits.append(decoded_equal)
        facts_kept.append(shown(made, shot))
        moves.append(same_motion(made, shot))
    return Row(
        "image to video",
        prompt_of(some[0]),
        {
            "given frame to the bit": share(held),
            "pinned latents to the bit": share(bits),
            "pinned frames decode as the codec alone decodes them": share(codec_bits),
            "facts of the image kept": share(facts_kept),
            "motion as told": share(moves),
        },
        results[0],
        np.arange(17) == 0,
    )


def pinned_equal(studio: Studio, canvas: Canvas, given: np.ndarray) -> tuple[bool, bool]:
    """Whether the latents of frames given at the start are the codec's to the bit, and decode to its frames."""
    job = make_job(canvas, studio.codec, studio.patch)
    (tokens,) = draw_samples(studio.model, [job], studio.config)
    latent = studio.codec.encode(to_video(given))
    expected = patchify(latent[0], studio.patch)
    decoded = to_pictures(tokens, canvas, studio.codec, studio.patch)[: len(given)]
    return (
        torch.equal(tokens[: len(expected)], expected),
        bool((decoded == to_frames(studio.codec.decode(latent))).all()),
    )


def extend_after(studio: Studio, num: int) -> Row:
    return _extended(studio, num, "after")


def extend_before(studio: Studio, num: int) -> Row:
    return _extended(studio, num, "before")


def _extended(studio: Studio, num: int, side: Any) -> Row:
    """Half of a two-second shot is given, the other half is made."""
    some = shots(num, motions=("left", "right", "up", "down"))
    held, joins, moves, kept, speeds = [], [], [], [], []
    results = []
    for index, shot in enumerate(some):
        whole = clip_of(shot)
        given = whole[:9] if side == "after" else whole[8:]
        made = edit.extend(studio, given, frames=8, fps=FPS, prompt=prompt_of(shot), side=side, seed=index)
        results.append(made)
        at = 9 if side == "after" else 8
        held.append(bool((made[:9] == given).all() if side == "after" else (made[8:] == given).all()))
        joins.append(join(made, at))
        moves.append(same_motion(made, shot))
        kept.append(shown(made, shot))
        part = made[8:] if side == "after" else made[:9]
        speeds.append(speed_ratio(part, given))
    return Row(
        f"extend {'forward' if side == 'after' else 'backward'}",
        prompt_of(some[0]),
        {
            "given frames to the bit": share(held),
            "motion goes on": share(moves),
            "speed of the made part over that of the given (median)": middle(speeds),
            "facts kept": share(kept),
            "distance over the join / mean (median)": middle(joins),
        },
        results[0],
        np.arange(17) < 9 if side == "after" else np.arange(17) >= 8,
    )


def speed_ratio(made: np.ndarray, given: np.ndarray) -> float:
    """Speed along the direction of the given part; 1 goes on alike, 0 stands still, below 0 turns round."""
    velocities = []
    for part in (made, given):
        seen = judge(part)
        track = np.array([(x, y) for x, y in zip(seen.x, seen.y, strict=True) if x is not None and y is not None])
        velocities.append((track[-1] - track[0]) / max(len(track) - 1, 1) if len(track) > 1 else np.zeros(2))
    v, w = velocities
    return float(v @ w / max(w @ w, 1e-9))


def loop(studio: Studio, num: int) -> Row:
    """Prompts that say nothing of movement: what moves to one side all the time cannot come back, and is told apart."""
    some = shots(num)

    def drawn(prompts: Sequence[str]) -> list[np.ndarray]:
        size = {"frames": 16, "height": HEIGHT, "width": WIDTH}
        return studio.draw(
            [Canvas(**size, fps=FPS, prompt=prompt, seed=seed, loop=True) for seed, prompt in enumerate(prompts)]
        )

    calm = drawn([prompt_of(shot, still=True) for shot in some])
    one_way = drawn([prompt_of(shot) for shot in some])
    seams = [seam(video) for video in calm]
    pick = int(np.argmax([neighbours(video).mean() for video in calm]))
    return Row(
        "seamless loop",
        prompt_of(some[pick], still=True),
        {
            "seam / mean distance (median)": middle(seams),
            "seam at most 1.5 x mean": share([value <= 1.5 for value in seams]),
            "mean distance of neighbours, of 255 (median)": middle([neighbours(video).mean() for video in calm]),
            "facts as told": share([shown(v, s) for v, s in zip(calm, some, strict=True)]),
            "told to move one way: seam (median)": middle(
                [seam(v) for v, s in zip(one_way, some, strict=True) if s.subject.motion != "still"]
            ),
        },
        calm[pick],
        np.zeros(16, bool),
    )


def close_loop(studio: Studio, num: int) -> Row:
    some = shots(num, motions=("left", "right", "up", "down"), seconds=1.0)
    held, seams, kept = [], [], []
    results = []
    for index, shot in enumerate(some):
        given = clip_of(shot, 9)
        made = edit.close_loop(studio, given, frames=8, fps=FPS, prompt=None, seed=index)
        results.append(made)
        held.append(bool((made[:9] == given).all()))
        seams.append(seam(made))
        kept.append(shown(made, shot))
    return Row(
        "close a loop",
        "no prompt: nine frames are given, eight lead back to their start",
        {
            "given frames to the bit": share(held),
            "seam / mean distance (median)": middle(seams),
            "seam at most 1.5 x mean": share([value <= 1.5 for value in seams]),
            "facts kept": share(kept),
        },
        results[0],
        np.arange(17) < 9,
    )


def connect(studio: Studio, num: int) -> Row:
    """The first and last third of a shot are given; the time between is made."""
    some = shots(num, motions=("left", "right", "up", "down"))
    held, moves, kept, joins, near = [], [], [], [], []
    results = []
    for index, shot in enumerate(some):
        whole = clip_of(shot)
        first, second = whole[:5], whole[12:]
        made = edit.connect(studio, first, second, frames=7, fps=FPS, prompt=prompt_of(shot), seed=index)
        results.append(made)
        held.append(bool((made[:5] == first).all() and (made[-5:] == second).all()))
        moves.append(same_motion(made, shot))
        kept.append(shown(made, shot))
        joins += [join(made, 5), join(made, 12)]
        near.append(psnr(made[5:12], whole[5:12]))
    return Row(
        "connect two videos",
        prompt_of(some[0]),
        {
            "given frames to the bit": share(held),
            "motion goes on": share(moves),
            "facts kept": share(kept),
            "distance over a join / mean (median)": middle(joins),
            "PSNR of the made part to what was left out, dB (median)": middle(near),
        },
        results[0],
        (np.arange(17) < 5) | (np.arange(17) >= 12),
    )


def interpolate(studio: Studio, num: int) -> Row:
    some, others = shots(num, motions=("still",)), shots(num, motions=("still",), seed=1)
    ends, sharper = [], []
    results = []
    for index, (one, other) in enumerate(zip(some, others, strict=True)):
        first, second = clip_of(one), clip_of(other)
        made = edit.interpolate(studio, first, second, fps=FPS, prompt=None, seed=index)
        results.append(made)
        ends.append(
            judge(made[:3]).facts().get("color") == one.subject.color
            and judge(made[-3:]).facts().get("color") == other.subject.color
        )
        sharper.append(judge(made[7:10]).color is not None)
    return Row(
        "interpolate",
        "no prompt: one video turns into another",
        {"begins as one, ends as the other": share(ends), "one clear subject half-way": share(sharper)},
        results[0],
        (np.arange(17) == 0) | (np.arange(17) == 16),
    )


def restyle(studio: Studio, num: int) -> Row:
    """The subject in another colour, by prompt; less and less of the video is kept."""
    some = shots(num)
    measured: dict[str, Any] = {}
    row = None
    for strength in (0.5, 0.3, 0.2, 0.1):
        told_color, moved = [], []
        for index, shot in enumerate(some):
            video = clip_of(shot)
            wanted = recolored(shot)
            made = edit.restyle(studio, video, fps=FPS, prompt=prompt_of(wanted), strength=strength, seed=index)
            told_color.append(judge(made).color == wanted.subject.color)
            moved.append(path_distance(made, video))
            if row is None and strength == 0.2 and told_color[-1]:
                row = made, prompt_of(wanted)
        measured[f"strength {strength:g}: new colour"] = share(told_color)
        measured[f"strength {strength:g}: distance of the path, in short sides (median)"] = middle(moved)
    frames, says = row or (made, prompt_of(wanted))
    return Row("video to video", says, measured, frames, np.zeros(17, bool))


def recolored(shot: Shot) -> Shot:
    """The same shot in another colour that its background allows."""
    world = tiny_world()
    colors = [c for c in world.colors if c != shot.subject.color and shot.background_color in world.backgrounds_for(c)]
    return replace(shot, subject=replace(shot.subject, color=colors[0]))


def path_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance between the tracks of two subjects, in short sides; 1 where one is missing."""
    tracks = [judge(video) for video in (one, other)]
    gaps = [
        np.hypot(x1 - x2, y1 - y2)
        for x1, y1, x2, y2 in zip(tracks[0].x, tracks[0].y, tracks[1].x, tracks[1].y, strict=False)
        if None not in (x1, y1, x2, y2)
    ]
    return float(np.mean(gaps)) if gaps else 1.0


def repaint(studio: Studio, num: int) -> Row:
    some = shots(num, motions=("still",))
    outside, colors = [], []
    results = []
    for index, shot in enumerate(some):
        video = clip_of(shot)
        box = subject_box(video)
        wanted = recolored(shot)
        made = edit.repaint(studio, video, box, fps=FPS, prompt=prompt_of(wanted), seed=index)
        results.append(made)
        untouched = made == video
        untouched[:, box.top : box.top + box.height, box.left : box.left + box.width] = True
        outside.append(bool(untouched.all()))
        colors.append(judge(made).color == wanted.subject.color)
    return Row(
        "repaint a region",
        prompt_of(recolored(some[0])),
        {"pixels outside to the bit": share(outside), "new colour in the region": share(colors)},
        results[0],
        np.zeros(17, bool),
    )


def subject_box(video: np.ndarray) -> Box:
    """The latent cells that the subject touches."""
    ground = np.median(video[0, :2].reshape(-1, 3), axis=0)
    rows, columns = np.nonzero(np.abs(video[0] - ground).max(axis=-1) > 12)
    top, left = int(rows.min()) // 8 * 8, int(columns.min()) // 8 * 8
    bottom, right = -(-int(rows.max() + 1) // 8) * 8, -(-int(columns.max() + 1) // 8) * 8
    return Box(top=top, left=left, height=bottom - top, width=right - left)


def outpaint(studio: Studio, num: int) -> Row:
    some = shots(num, motions=("still",))
    inside, kept = [], []
    results = []
    for index, shot in enumerate(some):
        video = clip_of(shot, 9, 24, 24)
        made = edit.outpaint(
            studio, video, height=32, width=48, top=8, left=16, fps=FPS, prompt=prompt_of(shot), seed=index
        )
        results.append(made)
        inside.append(bool((made[:, 8:32, 16:40] == video).all()))
        seen, wanted = judge(made).facts(), facts(shot)
        kept.append(all(seen[name] == wanted[name] for name in ("shape", "color", "background_color")))
    return Row(
        "outpaint",
        prompt_of(some[0]),
        {"given pixels to the bit": share(inside), "the same scene, larger": share(kept)},
        results[0],
        np.zeros(9, bool),
    )


def refine(studio: Studio, num: int) -> Row:
    some = shots(num)
    kept, before = [], []
    results = []
    for index, shot in enumerate(some):
        canvas = Canvas(frames=9, height=24, width=32, fps=FPS, prompt=prompt_of(shot), seed=index)
        (small,) = studio.draw([canvas])
        made = edit.refine(studio, small, height=48, width=64, fps=FPS, prompt=prompt_of(shot), seed=index)
        results.append(made)
        before.append(shown(small, shot, ("shape", "color", "background_color")))
        kept.append(shown(made, shot, ("shape", "color", "background_color")))
    return Row(
        "refine a prototype",
        prompt_of(some[0]),
        {"facts at 32x24": share(before), "facts at 64x48, twice the trained size": share(kept)},
        results[0],
        np.zeros(9, bool),
    )


def storyboard(studio: Studio, num: int) -> Row:
    (shot,) = shots(1, motions=("still",))
    told_shots = [shot, replace(shot, subject=replace(shot.subject, motion="right")), recolored(shot)]
    panels = [Panel(prompt=prompt_of(one), seconds=3.0) for one in told_shots]
    right: list[bool] = []
    video = np.empty(0)
    for seed in range(max(num // 4, 1)):
        video = np.concatenate(list(roll(studio, panels, height=HEIGHT, width=WIDTH, fps=FPS, seed=seed)))
        ends = [video[start + 16 : start + 24] for start in (0, 24, 48)]
        right += [judge(end).color == one.subject.color for end, one in zip(ends, told_shots, strict=True)]
    return Row(
        "storyboard",
        " | ".join(panel.prompt or "" for panel in panels),
        {"colour of each panel as told, in its last second": share(right), "frames": len(video)},
        video,
        np.zeros(len(video), bool),
    )


def minute(studio: Studio, num: int) -> Row:
    """Sixty seconds of one prompt; identity is judged each second."""
    seconds = 60
    memory: dict[int, float] = {}
    same: list[bool] = []
    video = np.empty(0)
    for seed, shot in enumerate(shots(max(num // 8, 1), motions=("still",))):
        pieces, frames = [], 0
        panel = Panel(prompt=prompt_of(shot), seconds=seconds)
        for piece in roll(studio, [panel], height=HEIGHT, width=WIDTH, fps=FPS, seed=seed):
            pieces.append(piece)
            frames += len(piece)
            if not seed:
                memory[frames] = resident_mib()
        made = np.concatenate(pieces)
        same += [shown(part, shot, ("shape", "color", "size", "background_color")) for part in by_second(made)]
        if not seed:
            video, first = made, shot
    early = next(value for frames, value in sorted(memory.items()) if frames >= 10 * FPS)
    return Row(
        "60 seconds",
        prompt_of(first),
        {
            "frames": len(video),
            "memory after 10 s, MiB": round(early),
            "memory after 60 s, MiB": round(memory[max(memory)]),
            "seconds whose shape, colour, size and background are as told": share(same),
            "the same in the last ten seconds": share([same[i] for i in range(len(same)) if i % seconds >= 50]),
        },
        video,
        np.zeros(len(video), bool),
    )


def by_second(video: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(video), int(FPS)):
        yield video[start : start + int(FPS)]


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


TASKS = (
    text_to_video, text_to_image, image_to_video, extend_after, extend_before, loop, close_loop, connect, interpolate,
    restyle, repaint, outpaint, refine, storyboard, minute,
)  # fmt: skip


# What is shown


def told(measured: dict[str, Any]) -> str:
    return "; ".join(f"{name} **{value}**" for name, value in measured.items())


def draw(rows: Sequence[Row], path: Path) -> None:
    """A row for each task: what was asked for, and frames over time; given ones have a green border."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 8
    figure, grid = pyplot.subplots(
        len(rows), columns + 1, figsize=(11, 0.84 * len(rows)), width_ratios=[3.1] + [1] * columns
    )
    for row, line in zip(rows, grid, strict=True):
        line[0].text(0, 0.85, row.task, fontsize=8, weight="bold", va="center")
        line[0].text(0, 0.66, "\n".join(textwrap.wrap(row.says, 50)[:4]), fontsize=6.2, va="top")
        line[0].axis("off")
        chosen = np.linspace(0, len(row.frames) - 1, columns).round().astype(int)
        for axes, index in zip(line[1:], chosen, strict=True):
            axes.imshow(row.frames[index], interpolation="nearest")
            for spine in axes.spines.values():
                spine.set(color=_GIVEN if row.given[index] else _MADE, lw=2.2 if row.given[index] else 0.6)
            if len(row.frames) > 40:
                axes.text(0.03, 0.05, f"{index / FPS:.0f} s", transform=axes.transAxes, fontsize=5.5, color="0.4")
            axes.set(xticks=[], yticks=[])
    figure.subplots_adjust(left=0.01, right=0.995, top=0.995, bottom=0.005, hspace=0.1, wspace=0.05)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
