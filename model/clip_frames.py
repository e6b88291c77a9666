"""Frames of windows from video files, decoded in a child process that can be killed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from model.windows import ClipFacts, Window, read_windows

if TYPE_CHECKING:
    from curate.fetch import FetchConfig
    from curate.isolate import Child, Limits

_children: list[Child] = []  # one per process, started when first needed


def clip_frames(
    uri: str,
    clip: ClipFacts,
    windows: Sequence[Window],
    *,
    limits: Limits | None = None,
    fetch: FetchConfig | None = None,
) -> list[np.ndarray]:
    """Frames uint8 `[T, H, W, 3]` of each window of a clip, in order of time. Raises VideoError."""
    from curate.fetch import FetchConfig, local_copy
    from curate.isolate import Child
    from curate.sources import local_path

    if not _children:
        _children.append(Child())
    call = partial(_children[0].call, "model.clip_frames:decode", limits=limits)
    path = local_path(uri)
    if path is not None:
        return call(str(path), clip, windows)
    with local_copy(uri, fetch or FetchConfig()) as copy:
        return call(str(copy), clip, windows)


def decode(path: str, clip: ClipFacts, windows: Sequence[Window]) -> list[np.ndarray]:
    """The same from a local file, in this process; reports each frame as progress."""
    from curate.isolate import report_progress

    return list(read_windows(path, clip, windows, on_frame=report_progress))
