"""A tone: as a file of its own, or laid under a video without touching its pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from curate.video_write import SAME_BYTES

_RATE = 22050
_FRAME = 1024  # samples that AAC codes at once


def write_tone(path: Path, seconds: float) -> None:
    """A file that holds sound and nothing else."""
    with av.open(str(path), "w", options=SAME_BYTES) as container:
        stream = container.add_stream("aac", rate=_RATE)
        for frame in _tone(seconds):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def add_tone(path: Path) -> None:
    """Give a video a soundtrack as long as its pictures, which are copied as they are."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    with av.open(str(path)) as source, av.open(str(partial), "w", options=SAME_BYTES) as target:
        pictures = source.streams.video[0]
        seconds = float((pictures.duration or 0) * (pictures.time_base or 0))
        video = target.add_stream_from_template(pictures)
        sound = target.add_stream("aac", rate=_RATE)
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        for frame in _tone(seconds):
            target.mux(sound.encode(frame))
        target.mux(sound.encode())
    os.replace(partial, path)


def _tone(seconds: float, hertz: float = 220.0) -> Iterator[av.AudioFrame]:
    for start in range(0, int(seconds * _RATE), _FRAME):
        time_s = (start + np.arange(_FRAME)) / _RATE
        wave = (0.1 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = _RATE, start, Fraction(1, _RATE)
        yield frame
