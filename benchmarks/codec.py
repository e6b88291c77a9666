"""The codec table: what the trained codec keeps of a video beside the linear one of equal latent size, and its cost.

python -m benchmarks.codec --runs runs/codecs                     train what is missing there, then print the table
python -m benchmarks.codec --runs runs/codecs --only 4x8x8z16 --steps 300
python -m benchmarks.codec --runs runs/codecs --sheet docs/images/codec.png     and a sheet: original, linear, trained
python -m benchmarks.codec --runs runs/codecs --media             the same on real footage (REELWRIGHT_MEDIA)

Drawn footage of the tiny world, mixed sizes and lengths; it is measured on combinations of shape, colour and motion
that were never trained on. Times are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.counter_random import generator
from curate.drawn.judge import JUDGED_SLOTS, score
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import Shot, facts, tiny_world
from model.codec.files import load_codec
from model.codec.pca import PCACodec
from model.codec.stream import decode_stream, encode_stream
from model.codec.units import UnitCodec
from model.codec.vae import VAEConfig
from model.codec_train import LINEAR_NAME, CodecTrainConfig, measure, train_codec
from model.frame_bank import BatchConfig, Footage, whole_video
from model.pixels import to_frames

ARMS = {
    "4x8x8z8": VAEConfig(stride=(4, 8, 8), z_dim=8),
    "4x8x8z16": VAEConfig(stride=(4, 8, 8), z_dim=16),
    "4x4x4z4": VAEConfig(stride=(4, 4, 4), z_dim=4),
    "8x8x8z16": VAEConfig(stride=(8, 8, 8), z_dim=16),
    "8x8x8z32": VAEConfig(stride=(8, 8, 8), z_dim=32),
}
SIZES = ((32, 32), (24, 40), (40, 24), (48, 32))
FPS = 8


class DrawnFootage:
    """Clips of the tiny world: sizes in turn, 1, 5, 9 or 17 frames."""

    def __init__(self, name: str, count: int, *, held_out: bool) -> None:
        self.shots: list[Shot] = []
        self.frames: list[np.ndarray] = []
        for index in range(count):
            random = generator(0, "codec footage", name, index)
            num_frames = int(random.choice([1, 5, 9, 17]))
            shot = sample_shot(random, tiny_world(), held_out=held_out, duration_s=max(0.5, (num_frames - 1) / FPS))
            self.shots.append(shot)
            self.frames.append(render_shot(shot, *SIZES[index % len(SIZES)], fps=FPS, num_frames=num_frames))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.frames[index]


class MediaFootage:
    """The first second or so of real files, reduced to about 128 pixels."""

    def __init__(self, folder: Path, *, held_out: bool) -> None:
        from curate.errors import VideoError
        from curate.video import open_video
        from model.windows import ClipFacts, WindowConfig, plan_windows, read_windows

        self.frames: list[np.ndarray] = []
        for index, path in enumerate(sorted([*folder.glob("captioned/*"), *folder.glob("single/*")])):
            if (index % 6 == 0) != held_out:
                continue
            try:
                with open_video(path) as video:
                    head = [pts for (pts, _), _ in zip(video.frames(), range(34), strict=False)]
                    info = video.info
                clip = ClipFacts(
                    clip_id=path.name,
                    start_pts=head[0],
                    end_pts=head[-1],
                    time_base=float(info.time_base),
                    num_frames=len(head) - 1,
                    fps=24.0,
                    width_px=info.width_px,
                    height_px=info.height_px,
                )
                planned = plan_windows(clip, WindowConfig(max_area_px=128 * 128, max_frames=17), (4, 8, 8))
                self.frames += [] if isinstance(planned, str) else list(read_windows(str(path), clip, planned))
            except VideoError as error:
                print(f"passed over: {error}")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.frames[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the trained codecs")
    parser.add_argument("--only", nargs="*", choices=ARMS, default=list(ARMS), help="latent sizes")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--clips", type=int, default=200, help="clips to measure on")
    parser.add_argument("--media", action="store_true", help="real footage instead of drawn")
    parser.add_argument("--sheet", type=Path, help="write a picture of reconstructions there")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train: Footage
    held_out: Footage
    if options.media:
        folder = Path(os.environ.get("REELWRIGHT_MEDIA", "../shared/media"))
        train, held_out = MediaFootage(folder, held_out=False), MediaFootage(folder, held_out=True)
    else:
        train = DrawnFootage("train", 2000, held_out=False)
        held_out = DrawnFootage("test", options.clips, held_out=True)
    rows = []
    columns = {}
    for name in options.only:
        vae = replace(ARMS[name], width=options.width)
        crops = (64, 128) if options.media else (32, 48)
        batches = BatchConfig(bank_windows=len(train), crops_px=crops)
        config = CodecTrainConfig(vae=vae, batches=batches, steps=options.steps)
        run = options.runs / f"{'media' if options.media else 'drawn'}-{name}-w{options.width}-{options.steps}"
        started = time.monotonic()
        found = train_codec(train, held_out, config, run, on_step=_tell(name, started))
        linear, trained = load_codec(run / LINEAR_NAME), load_codec(run)
        for kind, codec in (("linear", linear), ("linear, slots not eased", not_eased(linear)), ("trained", trained)):
            assert isinstance(codec, UnitCodec)
            row = {"latent": name, "codec": kind, **figures(codec, held_out)}
            row["train cpu s"] = found["cpu_s"] if kind == "trained" else 0
            rows.append(row)
            columns[f"{name} {kind}"] = codec
    if not options.media:
        rows.insert(
            0, {"latent": "", "codec": "original", **judged(held_out, [held_out[i] for i in range(len(held_out))])}
        )
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1))
    if options.sheet:
        write_sheet(options.sheet, held_out, columns)


def not_eased(linear: Any) -> PCACodec:
    """The linear codec as it would be if each slot were decoded by itself."""
    plain = copy.deepcopy(linear)
    plain.missed.zero_()
    return plain


def figures(codec: UnitCodec, footage: Footage) -> dict[str, Any]:
    """All columns of a codec."""
    videos = [whole_video(footage[index], codec.stride) for index in range(len(footage))]
    pixels = sum(video[0, 0].numel() for video in videos)
    start = time.process_time()
    latents = [codec.encode(video) for video in videos]
    encoded = time.process_time()
    decoded = [codec.decode(latent) for latent in latents]
    done = time.process_time()
    row: dict[str, Any] = {"parameters": sum(parameter.numel() for parameter in codec.parameters())}
    row["values/pixel"] = codec.z_dim / (codec.stride[0] * codec.stride[1] * codec.stride[2])
    quality = measure(codec, footage)
    row |= {"PSNR dB": quality["psnr_db"], "first frame dB": quality["first_frame_psnr_db"]}
    row["change where slots meet / elsewhere"] = slot_change(decoded, codec.stride[0])
    row |= judged(footage, [to_frames(video) for video in decoded])
    row |= latent_figures(latents)
    row["encode ms/Mpx"] = (encoded - start) * 1e9 / pixels
    row["decode ms/Mpx"] = (done - encoded) * 1e9 / pixels
    row["chunks exact"] = all(chunked_equals_whole(codec, video) for video in videos[:8])
    return row


def slot_change(videos: Sequence[torch.Tensor], stride: int) -> float:
    """Median of what changes from the last picture of a slot to the first of the next, over what changes elsewhere."""
    shares = []
    for video in videos:
        changes = video[:, :, 1:].diff(dim=2).abs().mean((0, 1, 3, 4))  # the first slot is a single picture
        between = torch.arange(1, len(changes) + 1) % stride == 0
        if between.any():
            shares.append(float(changes[between].mean() / changes[~between].mean().clamp(min=1e-6)))
    return float(np.median(shares))


def judged(footage: Footage, frames: Sequence[np.ndarray]) -> dict[str, float]:
    """Share of the facts of drawn clips that the judge reads back; nothing for real footage."""
    if not isinstance(footage, DrawnFootage):
        return {}
    hits: dict[str, list[bool]] = defaultdict(list)
    for shot, video in zip(footage.shots, frames, strict=True):
        for slot, right in score(video, facts(shot)).items():
            hits[slot].append(right)
    return {slot: float(np.mean(hits[slot])) for slot in JUDGED_SLOTS}


def latent_figures(latents: Sequence[torch.Tensor]) -> dict[str, float]:
    """What makes latents easy or hard to model: evenness, tails, smoothness in space."""
    cells = torch.cat([latent.transpose(0, 1).flatten(1) for latent in latents], 1).double()
    centred = cells - cells.mean(1, keepdim=True)
    variance = centred.square().mean(1)
    kurtosis = (centred.pow(4).mean(1) / variance.square() - 3).median().item()
    left, right = (
        torch.cat([part(latent).transpose(0, 1).flatten(1) for latent in latents], 1).double()
        for part in (lambda latent: latent[..., :-1], lambda latent: latent[..., 1:])
    )
    mean = cells.mean(1, keepdim=True)
    alike = (((left - mean) * (right - mean)).mean(1) / variance).median().item()
    spread = (variance.max() / variance.min()).sqrt().item()
    return {"std max/min": spread, "kurtosis": kurtosis, "neighbours": alike}


def chunked_equals_whole(codec: UnitCodec, video: torch.Tensor) -> bool:
    latent = codec.encode(video)
    pieces = torch.cat(list(encode_stream(codec, video.split(3, 2))), 2)
    back = torch.cat(list(decode_stream(codec, latent.split(1, 2))), 2)
    return torch.equal(pieces, latent) and torch.equal(back, codec.decode(latent))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_shown(row.get(name)) for name in names) + " |")


def write_sheet(path: Path, footage: Footage, codecs: dict[str, UnitCodec], clips: int = 6, scale: int = 3) -> None:
    """A column per codec and the original first; per clip its first, middle and last frame."""
    import cv2

    chosen = [index for index in range(len(footage)) if len(footage[index]) >= 9][:clips]
    side = max(max(footage[index].shape[1:3]) for index in chosen)
    rows = []
    for index in chosen:
        versions = []
        for codec in (None, *codecs.values()):
            stride = next(iter(codecs.values())).stride if codec is None else codec.stride
            video = whole_video(footage[index], stride)
            versions.append(to_frames(video if codec is None else codec.decode(codec.encode(video))))
        for moment in (0, len(versions[0]) // 2, len(versions[0]) - 1):
            cells = []
            for frames in versions:
                cell = np.full((side + 2, side + 2, 3), 255, np.uint8)
                picture = frames[moment]
                cell[: picture.shape[0], : picture.shape[1]] = picture
                cells.append(cell)
            rows.append(np.concatenate(cells, 1))
    sheet = np.concatenate(rows, 0)
    sheet = cv2.resize(sheet, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sheet[:, :, ::-1])
    print(f"{path}: columns are original, {', '.join(codecs)}")


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _tell(name: str, started: float) -> Any:
    def tell(step: Any) -> None:
        if step.step % 250 == 0:
            print(
                f"# {name} step {step.step}: batch PSNR {step.psnr_db:.1f} dB, {time.monotonic() - started:.0f} s",
                flush=True,
            )

    return tell


if __name__ == "__main__":
    main()
