"""Rules over scores: what a configuration may ask of a clip, and how each rule is said in SQL.

[decide.motion]        # in TOML, every table below [decide] is a rule on the score of that name
min = 0.01
[decide]
contrast = false       # removes a default rule
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from curate.config import build, nearest, to_tree
from curate.errors import ConfigError
from curate.schema import CLIPS

SCORES: dict[str, str] = {
    "short_side_px": "least(width_px, height_px)",
    "pixels": "width_px * height_px",
    **{column.name: column.name for column in CLIPS.columns if not pa.types.is_string(column.type)},
}
"""What a rule may be about, and how it is computed: the numbers of `clips`, and a few made from them.

Scores of the user's own (`own_scores.py`) come beside them, each a column of the view `scored_clips`.
"""


def score_sql(name: str) -> str:
    """How a score is computed from a row of `scored_clips`."""
    return f"({SCORES[name]})" if name in SCORES else f'"{name}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition on one score. What is absent is not asked for."""

    min: float | None = None
    """Smaller values are filtered."""
    max: float | None = None
    """Larger values are filtered."""
    min_quantile: float | None = None
    """Values below this quantile of all clips are filtered, 0 to 1."""
    max_quantile: float | None = None
    """Values above this quantile of all clips are filtered, 0 to 1."""
    best_hours: float | None = None
    """Of the clips that passed all rules before, those with the highest values are kept, so many hours of them."""
    missing: Literal["reject", "keep"] = "reject"
    """What becomes of a clip without this score."""

    def __post_init__(self) -> None:
        for name in ("min", "max", "min_quantile", "max_quantile", "best_hours"):
            if getattr(self, name) is not None:  # 1 and 1.0 are the same rule, with the same fingerprint
                object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("min_quantile", "max_quantile"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}: nothing would be kept")
        if self.best_hours is not None and self.best_hours <= 0:
            raise ValueError(f"best_hours must be positive, got {self.best_hours}")


def default_rules() -> dict[str, Rule]:
    """Mild rules that remove what is broken or empty. Taste is better left to conditioning on the scores."""
    return {
        "short_side_px": Rule(min=128),
        "aspect": Rule(min=1 / 3, max=3),
        "fps": Rule(min=6),
        "duration_s": Rule(min=1.0),
        "damaged_frames": Rule(max=0),
        "black_fraction": Rule(max=0.5),
        "frozen_fraction": Rule(max=0.8),
        "luma": Rule(min=10, max=245),
        "contrast": Rule(min=5),
        "sharpness": Rule(min=10),
        "letterbox_fraction": Rule(max=0.4),
        "motion": Rule(min=0.002),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideConfig:
    """Which clips are kept."""

    rules: Mapping[str, Rule] = field(default_factory=default_rules)
    """Score to rule, in the order in which they are tried."""
    val_fraction: float = 0.05
    """Share of videos whose clips are for validation: of two kept videos or more at least one, and not all; 0 for none.
    A video never has clips on both sides."""
    seed: int = 0
    """Another seed draws other videos for validation."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"val_fraction must be at least 0 and below 1, got {self.val_fraction}")

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], own: Collection[str] = ()) -> DecideConfig:
        """From plain values: tables change or add rules after the default ones, `name = false` removes one.

        `own` names the scores of the user's own. Raises ConfigError for a rule on any other score.
        """
        rules = dict(default_rules())
        settings: dict[str, Any] = {}
        for name, value in tree.items():
            if value is False and name in rules:
                del rules[name]
            elif isinstance(value, Mapping):
                known = {key: getattr(rules[name], key) for key in Rule.__slots__} if name in rules else {}
                given = build(Rule, value, where=f"decide.{name}")
                changed = {key: getattr(given, key) for key in value}
                rules[name] = build(Rule, {**known, **changed}, where=f"decide.{name}")
            else:
                settings[name] = value
        if "rules" in settings:
            raise ConfigError("decide.rules: write each rule as a table of its own, for example [decide.motion]")
        require_scores(rules, own)
        config = build(cls, settings, where="decide")
        return cls(rules=rules, val_fraction=config.val_fraction, seed=config.seed)

    def to_tree(self) -> dict[str, Any]:
        """The plain values that `from_tree` reads."""
        removed = {name: False for name in default_rules() if name not in self.rules}
        return {"val_fraction": self.val_fraction, "seed": self.seed, **removed, **to_tree(self.rules)}


def require_scores(rules: Collection[str], own: Collection[str]) -> None:
    """Raise ConfigError for a rule on a score that there is not."""
    for name in rules:
        if name not in SCORES and name not in own:
            hint = nearest(name, [*SCORES, *own])
            raise ConfigError(
                f"no score {name!r} to decide on; {hint} A function of your own is named in score.functions"
            )


class Step(NamedTuple):
    """One question to a clip: the reason for which it fails, and the SQL of condition, score and limit."""

    reason: str
    fails: str
    score: str
    threshold: str


def steps(config: DecideConfig, quantiles: Mapping[tuple[str, float], float]) -> list[Step]:
    """The questions of all rules in order. `quantiles` maps (score, quantile) to its value over all clips."""
    found = []
    for name, rule in config.rules.items():
        score = score_sql(name)
        if rule.missing == "reject":
            found.append(Step(f"{name}.missing", f"{score} is null", "null", "null"))
        for side in ("min", "max"):
            sign = "<" if side == "min" else ">"
            limit = getattr(rule, side)
            if limit is not None:
                found.append(Step(f"{name}.{side}", f"{score} {sign} {limit!r}", score, repr(limit)))
            quantile = getattr(rule, f"{side}_quantile")
            limit = quantiles.get((name, quantile)) if quantile is not None else None
            if limit is not None:
                found.append(Step(f"{name}.{side}_quantile", f"{score} {sign} {limit!r}", score, repr(limit)))
        if rule.best_hours is not None:  # depends on all clips, not on one: `decide` fills it in
            found.append(Step(f"{name}.best_hours", "false", score, repr(rule.best_hours)))
    return found
