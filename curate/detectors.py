"""PySceneDetect's detectors by name, fed with the reduced frames of a scan, beside the detector of our own.

detectors = Detectors(["adaptive", "content:threshold=31"], time_base)
detectors.push(frame)  ...                        # each frame of the scan
signals = detectors.mark(extractor.finish())      # one more column each, which `curate.shots` can read
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from curate.config import nearest
from curate.errors import ConfigError
from curate.signals import seconds_of
from curate.video import ReducedFrame, to_bgr

CLASSES = {
    "content": ("scenedetect.detectors", "ContentDetector"),
    "adaptive": ("scenedetect.detectors", "AdaptiveDetector"),
    "hash": ("scenedetect.detectors", "HashDetector"),
    "histogram": ("scenedetect.detectors", "HistogramDetector"),
    "threshold": ("scenedetect.detectors", "ThresholdDetector"),
    "transnetv2": ("scenedetect.detectors.transnet_v2", "TransnetV2Detector"),  # needs onnxruntime and model_path=FILE
}
"""Where each detector is, by the name that users give. Settings follow a colon: `adaptive:window_width=3`."""


def column_of(spec: str) -> str:
    """The column of the signals table that holds what the detector found."""
    return f"cut_by_{spec}"


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and settings of `name:key=value,key=value`. Raises ConfigError for what no detector is called."""
    name, _, text = spec.partition(":")
    if name not in CLASSES:
        raise ConfigError(f"no detector {name!r}; {nearest(name, CLASSES)}")
    settings: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"detector {spec}: expected name:key=value,key=value, for example content:threshold=31")
        settings[key.strip()] = _number(value.strip())
    return name, settings


class Detectors:
    """Some detectors of PySceneDetect, looking at the same frames."""

    def __init__(self, specs: Iterable[str], time_base: Fraction) -> None:
        self._time_base = time_base
        self._detectors = {spec: _make(spec) for spec in specs}
        self._found: dict[str, list[Any]] = {spec: [] for spec in self._detectors}
        self._start_pts: int | None = None
        self._rate = Fraction(25)
        self._last: Any = None

    def push(self, frame: ReducedFrame) -> None:
        """Show the next frame to every detector."""
        if not self._detectors:
            return
        from scenedetect.common import FrameTimecode, Timecode

        if self._start_pts is None:
            self._start_pts = frame.pts
            if frame.duration:  # only the threshold detector counts frames; the others compare exact times
                self._rate = 1 / (frame.duration * self._time_base)
        time = Timecode(pts=frame.pts - self._start_pts, time_base=self._time_base)
        self._last = FrameTimecode(time, fps=self._rate)
        picture = to_bgr(frame)
        for spec, detector in self._detectors.items():
            self._found[spec] += detector.process_frame(self._last, picture)

    def mark(self, signals: pa.Table) -> pa.Table:
        """The signals with a boolean column per detector: whether it saw a new scene begin at the frame."""
        seconds = seconds_of(signals)
        for spec, detector in self._detectors.items():
            if self._last is not None:
                self._found[spec] += detector.post_process(self._last)
            marks = np.zeros(len(seconds), bool)
            for cut in self._found[spec]:
                marks[np.argmin(np.abs(seconds - seconds[0] - cut.seconds))] = True
            if len(marks):
                marks[0] = False
            field = pa.field(column_of(spec), pa.bool_(), False, {"doc": f"PySceneDetect's {spec} saw a cut here."})
            signals = signals.append_column(field, pa.array(marks))
        return signals


def _make(spec: str) -> Any:
    name, settings = parse_spec(spec)
    module, class_name = CLASSES[name]
    cls = getattr(__import__(module, fromlist=[class_name]), class_name)
    known = inspect.signature(cls).parameters
    for key in settings:
        if key not in known:
            raise ConfigError(f"detector {spec}: no setting {key!r}; {nearest(key, known)}")
    if name == "transnetv2" and "model_path" not in settings:
        raise ConfigError("detector transnetv2 needs its weights: transnetv2:model_path=FILE.onnx")
    # In seconds, because the library's default of 15 frames means another length at each frame rate.
    settings.setdefault("min_scene_len", 0.6)
    try:
        return cls(**settings)
    except ImportError as error:
        raise ConfigError(f"detector {name} needs a library that is not installed: {error.name}") from None
    except Exception as error:  # whatever the library or its runtime thinks of the settings
        raise ConfigError(f"detector {spec}: {error}") from None


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
