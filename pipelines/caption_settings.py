"""What the caption verb can be told: a TOML file with the sections caption, estimate and engine, flags, and --set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.caption_job import CaptionConfig
from captioner.estimate import EstimateConfig
from captioner.makers.by_name import EXAMPLES
from curate.config import build, load_toml, to_toml, with_overrides
from curate.errors import UsageError
from pipelines.engine import EngineConfig

_SECTIONS = ("caption", "estimate", "engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSettings:
    """All that a caption job can be told."""

    caption: CaptionConfig
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)

    @classmethod
    def load(cls, path: Path | None, overrides: Sequence[str], **given: Mapping[str, Any]) -> CaptionSettings:
        """Read a TOML file (or none), whose other sections belong to other verbs; then `--set`; then flags.

        Overrides may leave out `caption.`. Raises UsageError when no captioner is named anywhere.
        """
        tree = load_toml(path) if path else {}
        dotted = [text if text.partition(".")[0].strip() in _SECTIONS else f"caption.{text}" for text in overrides]
        tree = with_overrides({name: tree.get(name, {}) for name in _SECTIONS}, dotted)
        for name, values in given.items():
            tree[name] |= {key: value for key, value in values.items() if value is not None}
        if not tree["caption"].get("captioner"):
            raise UsageError(
                f"no captioner given: name one with --captioner, for example {', '.join(EXAMPLES.values())}"
            )
        return build(cls, tree)

    def to_toml(self) -> str:
        """The resolved configuration, which `load` reads back."""
        return to_toml(self)
