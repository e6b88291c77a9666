"""Shot detection: ours beside every CPU detector of PySceneDetect, on real and on synthetic footage, in one table.

    python -m benchmarks.shots                   # everything; all but drawn films needs REELWRIGHT_MEDIA
    python -m benchmarks.shots --sets real,uncut --peers none
    python -m benchmarks.shots --stability --sheets /tmp/errors --json shots.json

Sets: real (marked by eye), uncut (real files of a single shot), composed (films made of the test half of these single
shots, which no parameter was chosen on), drawn (films of the drawn world). Rules: `benchmarks/shot_scoring.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.shot_gold import halves, load_clip, make_drawn_film, make_film
from benchmarks.shot_runs import OURS, PEERS, decode_s, run_ours, run_peers
from benchmarks.shot_scoring import Errors, Found, Marked, Marks, Score, score
from curate.shots import decide
from curate.signals import seconds_of
from curate.transitions import NEEDED, Thresholds
from curate.video import open_video, to_rgb

SETS = ("real", "uncut", "composed", "drawn")
NOT_FOR_FILMS = ("pattern_", "newtons_cradle", "keyboard_rot")
"""Test patterns, and clips of a few frames: no material for films."""

Video = tuple[Path, Marks]


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    media = Path(os.environ.get("REELWRIGHT_MEDIA", "../shared/media"))
    peers = [] if options.peers == "none" else list(PEERS)
    results: dict[str, dict[str, Score]] = {}
    speeds: dict[str, dict[str, float]] = {}
    for name in options.sets.split(","):
        if name != "drawn" and not media.is_dir():
            print(f"{name}: skipped, no folder {media}; set REELWRIGHT_MEDIA")
            continue
        videos = list(_videos(name, media, options))
        results[name], speeds[name] = _run(name, videos, peers, options)
        _print_table(name, results[name], speeds[name])
    if options.json:
        rows = {name: {who: _row(total) for who, total in totals.items()} for name, totals in results.items()}
        Path(options.json).write_text(json.dumps({"scores": rows, "frames_per_cpu_s": speeds}, indent=1))


def _videos(name: str, media: Path, options: argparse.Namespace) -> Iterator[Video]:
    shots = json.loads((media / "shots.json").read_text()) if media.is_dir() else {}
    if name == "real":
        yield from ((media / entry["file"], _marks(entry)) for entry in shots["files"])
    elif name == "uncut":
        for file in shots["single_shot_files"]:
            _, count = decode_s(media / file)
            yield media / file, Marks(count, count / _duration_s(media / file))
    elif name == "composed":
        _, test = halves(film_material(media))
        clips = [load_clip(path, max_px=480) for path in test]
        for seed in options.seeds:
            folder = _folder(options, f"composed-{seed}")
            for index in range(options.films):
                path = folder / f"{index:02d}.mp4"
                yield path, make_film(path, clips, seed, f"test{index}")
    else:
        folder = _folder(options, "drawn")
        for index in range(options.films):
            path = folder / f"{index:02d}.mp4"
            yield path, make_drawn_film(path, 3, f"d{index}")


def film_material(media: Path) -> list[Path]:
    """The single-shot clips that films are composed from."""
    files = json.loads((media / "shots.json").read_text())["single_shot_files"]
    return [media / file for file in files if not Path(file).name.startswith(NOT_FOR_FILMS)]


def _run(
    set_name: str, videos: list[Video], peers: list[str], options: argparse.Namespace
) -> tuple[dict[str, Score], dict[str, float]]:
    totals: dict[str, Score] = {name: Score() for name in (OURS, *peers)}
    cpu_s: dict[str, float] = dict.fromkeys(("decoding alone", *totals), 0.0)
    tables = []
    for path, marks in videos:
        ours, signals = run_ours(path)
        runs = {OURS: ours, **(run_peers(path, marks.fps, peers) if peers else {})}
        for name, run in runs.items():
            result, errors = score(run.found, marks)
            totals[name].add(result)
            cpu_s[name] += run.cpu_s
            if name == OURS:
                _report(path, marks, errors, options)
        cpu_s["decoding alone"] += decode_s(path)[0]
        columns = {name: signals.column(name).to_numpy() for name in NEEDED}
        tables.append((columns, seconds_of(signals), marks))
    if options.stability:
        _print_stability(set_name, tables)
    frames = totals[OURS].frames
    return totals, {name: frames / seconds for name, seconds in cpu_s.items()}


def _print_table(name: str, totals: dict[str, Score], speeds: dict[str, float]) -> None:
    ours = totals[OURS]
    kinds = sorted(ours.kind_total)
    print(
        f"\n{name}: {ours.frames} frames, {ours.seconds / 60:.1f} min, {sum(ours.kind_total.values())} boundaries; ",
        end="",
    )
    print(f"decoding alone {speeds['decoding alone']:.0f} frames per CPU second")
    header = f"{'detector':<23}{'P':>6}{'R':>6}{'F1':>6}" + "".join(f"{kind[:11]:>12}" for kind in kinds)
    print(header + f"{'flash':>8}{'splits/10min':>14}{'contaminated':>14}{'retained':>10}{'frames/CPUs':>13}")
    for who, total in totals.items():
        row = _row(total)
        recalls = "".join(f"{total.kind_hits[kind]:>7}/{total.kind_total[kind]:<4}" for kind in kinds)
        print(
            f"{who:<23}{row['precision']:>6.3f}{row['recall']:>6.3f}{row['f1']:>6.3f}{recalls}"
            f"{total.decoy_alarms['flash']:>4}/{total.decoy_total['flash']:<3}{row['false_splits_per_10_min']:>14.2f}"
            f"{row['contaminated_clip_rate']:>14.3f}{row['retained']:>10.3f}{speeds[who]:>13.0f}"
        )
    if ours.decoy_total:
        print("our alarms at decoys:", {k: f"{ours.decoy_alarms[k]}/{n}" for k, n in sorted(ours.decoy_total.items())})


def _row(total: Score) -> dict[str, float]:
    return {
        "precision": total.precision,
        "recall": total.recall,
        "f1": total.f1,
        "false_splits_per_10_min": total.false_alarms / (total.seconds / 600),
        "contaminated_clip_rate": total.contaminated / max(1, total.clips),
        "retained": total.retained_frames / max(1, total.frames),
        **{f"recall_{kind}": total.kind_hits[kind] / count for kind, count in total.kind_total.items()},
        **{f"alarms_{kind}": total.decoy_alarms[kind] / count for kind, count in total.decoy_total.items()},
    }


def _print_stability(name: str, tables: list) -> None:  # type: ignore[type-arg]
    """F1 when one threshold at a time is a fifth lower or higher, and when any one video is left out."""

    def scores(thresholds: Thresholds) -> list[Score]:
        return [
            score([Found(b.start_index, b.end_index) for b in decide(c, s, 1.0, thresholds).boundaries], marks)[0]
            for c, s, marks in tables
        ]

    def f1(parts: list[Score]) -> float:
        total = Score()
        for part in parts:
            total.add(part)
        return total.f1

    usual = scores(Thresholds())
    print(f"\n{name}: F1 {f1(usual):.3f}; with one threshold 20 % lower, higher:")
    for field in fields(Thresholds):
        value = getattr(Thresholds(), field.name)
        low, high = (f1(scores(replace(Thresholds(), **{field.name: value * factor}))) for factor in (0.8, 1.2))
        print(f"  {field.name:<10}{low:.3f}  {high:.3f}")
    without = [f1(usual[:i] + usual[i + 1 :]) for i in range(len(usual))]
    print(f"  leaving out any one video: {min(without):.3f} to {max(without):.3f}")


def _report(path: Path, marks: Marks, errors: Errors, options: argparse.Namespace) -> None:
    wrong = [("missed", m.kind, m.start, m.end) for m in errors.missed]
    wrong += [("false", f.kind, f.start, f.end) for f in errors.false_alarms]
    for what, kind, start, end in wrong:
        if options.errors or options.sheets:
            print(f"  {path.name}: {what} {kind} at {start}-{end}")
        if options.sheets:
            sheet = contact_sheet(path, start - 8, max(end, start + 1) + 8, marks)
            folder = Path(options.sheets)
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{path.stem}-{start}-{what}-{kind}.png"), sheet)


def contact_sheet(path: Path, first: int, last: int, marks: Marks, columns: int = 8, width: int = 200) -> np.ndarray:
    """At most 48 frames, numbered, BGR."""
    step = max(1, (last - first) // 48)
    wanted = set(range(max(0, first), min(last, marks.num_frames), step))
    pictures: list[np.ndarray] = []
    with open_video(path) as video:
        for index, (_, frame) in enumerate(video.frames()):
            if index in wanted:
                picture = to_rgb(frame, video.info)[:, :, ::-1]
                height = max(1, round(picture.shape[0] * width / picture.shape[1]))
                picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
                pictures.append(cv2.putText(picture, str(index), (4, 16), 0, 0.5, (0, 255, 255), 1))
            if index > last:
                break
    pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])


def _marks(entry: dict) -> Marks:  # type: ignore[type-arg]
    boundaries = tuple(
        Marked(
            mark["kind"],
            mark["frame"],
            mark.get("start", mark["frame"]),
            mark.get("end", mark["frame"]),
            mark.get("required", True),
            mark.get("tolerance_frames", 1),
        )
        for mark in entry["boundaries"]
    )
    fps = (entry["frames"] - 1) / (entry["last_time_s"] - entry["first_time_s"])
    ignore, traps = (tuple((first, last) for first, last, _ in entry[name]) for name in ("ignore", "traps"))
    return Marks(entry["frames"], fps, boundaries, ignore, {"trap": traps} if traps else {})


def _duration_s(path: Path) -> float:
    with open_video(path) as video:
        times = [pts for pts, _ in video.frames()]
        return max(float((times[-1] - times[0]) * video.info.time_base) * len(times) / max(1, len(times) - 1), 0.01)


def _folder(options: argparse.Namespace, name: str) -> Path:
    folder = Path(options.work) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS), help="which footage, separated by commas")
    parser.add_argument("--peers", default="all", choices=("all", "none"))
    parser.add_argument("--films", type=int, default=24, help="composed films per seed, and drawn films")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[9, 10, 11])
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "reelwright-shots"), help="keeps the films")
    parser.add_argument("--stability", action="store_true", help="also vary each threshold, and leave videos out")
    parser.add_argument("--errors", action="store_true", help="name each of our errors")
    parser.add_argument("--sheets", help="folder for contact sheets of our errors")
    parser.add_argument("--json", help="file for all numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
