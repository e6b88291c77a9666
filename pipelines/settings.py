"""One configuration for all curation verbs: a TOML file with a section per stage, and --set on top."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from curate.config import build, load_toml, nearest, to_toml, to_tree, with_overrides
from curate.cut import CutConfig
from curate.errors import ConfigError
from curate.own_scores import ScoreConfig
from curate.rules import DecideConfig
from curate.scan import ScanConfig
from curate.split import SplitConfig
from pipelines.engine import EngineConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a curation run can be told."""

    scan: ScanConfig = field(default_factory=ScanConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    decide: DecideConfig = field(default_factory=DecideConfig)
    cut: CutConfig = field(default_factory=CutConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        overrides: Sequence[str] = (),
        *,
        section: str | None = None,
        own_scores: Collection[str] = (),
        **given: Any,
    ) -> Settings:
        """Read a TOML file (or none), apply `--set` values, then `given` sections from flags.

        With a `section`, overrides may leave its name out: `decide --set motion.min=0.5` is `decide.motion.min`.
        Rules may be about `own_scores`, those that the dataset has, beside those of the functions in `score`.
        """
        names = [entry.name for entry in fields(cls)]
        tree = load_toml(path) if path else {}
        if section:
            overrides = [text if _first_key(text) in names else f"{section}.{text}" for text in overrides]
        tree = with_overrides(tree, overrides)
        for name, values in given.items():
            tree[name] = {**tree.get(name, {}), **values}
        for name, value in tree.items():
            if name not in names:
                raise ConfigError(f"unknown section [{name}]; {nearest(name, names)}")
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} is {value!r}; expected a section, for example {name}.key = value")
        score = build(ScoreConfig, tree.get("score", {}), where="score")
        return cls(
            scan=build(ScanConfig, tree.get("scan", {}), where="scan"),
            split=build(SplitConfig, tree.get("split", {}), where="split"),
            score=score,
            decide=DecideConfig.from_tree(tree.get("decide", {}), own={*own_scores, *score.names}),
            cut=build(CutConfig, tree.get("cut", {}), where="cut"),
            engine=build(EngineConfig, tree.get("engine", {}), where="engine"),
        )

    def to_toml(self) -> str:
        """The resolved configuration, which `load` reads back."""
        return to_toml({**to_tree(self), "decide": self.decide.to_tree()})


def _first_key(override: str) -> str:
    return override.partition("=")[0].partition(".")[0].strip()
