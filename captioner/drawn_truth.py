"""What clips of drawn footage show, from the truth that was written when it was drawn: for the template captioner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from curate.drawn.shot import facts
from curate.errors import ConfigError, UsageError
from curate.sources import local_path

if TYPE_CHECKING:  # these write video, and load what that needs
    from curate.drawn.film import SceneTruth
    from curate.drawn.footage import FileTruth

_MIN_INSIDE = 0.8
"""Share of a clip that must lie in one scene; else no one truth is told of it."""


class DrawnTruth:
    """Facts of clips of a folder of drawn footage."""

    def __init__(self, path: str | Path) -> None:
        """`path` is truth.json or its folder. Raises UsageError when there is no such truth."""
        from curate.drawn.footage import read_truth

        self._folder = Path(path).resolve()
        if self._folder.name == "truth.json":
            self._folder = self._folder.parent
        try:
            truth = read_truth(self._folder)
        except (OSError, ValueError, ConfigError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"template:{path}: no truth.json of drawn footage there: {reason}") from None
        self._files = {file.path: file for file in truth.files}

    def slots(self, uri: str, start_s: float, end_s: float) -> str | None:
        """Visible facts of a clip as JSON, slot by slot; None when it is of no file here or of several scenes."""
        path = local_path(uri)
        try:
            name = path.resolve().relative_to(self._folder).as_posix() if path else None
        except ValueError:
            return None
        file = self._files.get(name or "")
        scene = _scene_of(file, start_s, end_s) if file else None
        return json.dumps(facts(scene.shot, hidden=scene.hidden)) if scene else None


def _scene_of(file: FileTruth, start_s: float, end_s: float) -> SceneTruth | None:
    if file.film is None:
        return None
    frame_s = file.film.fps_den / file.film.fps_num
    for scene in file.film.scenes:
        inside_s = min(end_s, scene.end * frame_s) - max(start_s, scene.start * frame_s)
        if inside_s >= _MIN_INSIDE * (end_s - start_s):
            return scene
    return None
