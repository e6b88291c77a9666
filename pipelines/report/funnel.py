"""The funnel: where the hours of footage went, step by step, and how many sources, scenes and clips ended how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.rules import DecideConfig, steps
from curate.schema import STATES
from pipelines.report.clip_facts import dicts
from pipelines.report.page import number, score_title

if TYPE_CHECKING:
    import duckdb

_WORDS = {
    "source_missing": "source is gone",
    "too_short": "too short",
    "decide": "not decided yet",
    "split": "not split yet",
    "scan": "not scanned yet",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the funnel: what was lost, and what was left then. The first loses nothing."""

    label: str
    lost_s: float
    left_s: float
    count: int | None = None
    """Items lost, where they are countable."""
    item: str = ""
    state: str = "kept"
    group: str | None = None
    """Name of the contact sheet that shows what was lost."""


def hours(db: duckdb.DuckDBPyConnection, config: DecideConfig) -> list[Step]:
    """From decoded footage to kept clips. The losses add up to the difference, or `check` would not hold."""
    [total] = dicts(
        db,
        """select coalesce(sum(duration_s), 0) as decoded_s, coalesce(sum(duration_s) filter (used), 0) as used_s,
                  count(*) filter (not used) as copies
           from (select duration_s, state <> 'duplicate' as used from source_states where duration_s is not null)""",
    )
    [scenes] = dicts(
        db,
        """select coalesce(sum(duration_s), 0) as all_s, coalesce(sum(duration_s) filter (has_clips), 0) as used_s
           from (select scene_states.duration_s, num_clips > 0 as has_clips
                 from scene_states join scenes using (scene_id))""",
    )
    empty = dicts(
        db,
        """select reason, count(*) as number, sum(end_s - start_s) as lost_s
           from scenes where num_clips = 0 group by reason order by lost_s desc, reason""",
    )
    clips = dicts(
        db,
        """select state, reason, any_value(threshold) as threshold, count(*) as number, sum(length_s) as lost_s
           from facts where state <> 'kept' group by all""",
    )
    clips_s = dicts(db, "select coalesce(sum(length_s), 0) as total_s from facts")[0]["total_s"]
    left = total["decoded_s"]
    found = [Step("decoded footage", 0.0, left)]

    def lose(label: str, lost_s: float, **more: Any) -> None:
        nonlocal left
        if lost_s > 0.0005 or more.get("count"):
            left = max(0.0, left - lost_s)
            found.append(Step(label, lost_s, left, **more))

    lose("copies of other sources", left - total["used_s"], count=total["copies"], item="source", state="duplicate")
    lose("within transitions, or not split yet", left - scenes["all_s"], state="pending")
    for row in empty:
        lose(f"scenes {say_reason(row['reason'])}", row["lost_s"], count=row["number"], item="scene", state="filtered")
    lose("trimmed from the ends of scenes", scenes["used_s"] - clips_s, state="filtered")
    for row in in_order(clips, config):
        label = say_reason(row["reason"], row["threshold"])
        group = group_name(row["state"], row["reason"])
        lose(label, row["lost_s"], count=row["number"], item="clip", state=row["state"], group=group)
    return found


def levels(db: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Sources, scenes and clips: how many in which state, and the reasons with their number and length."""
    found = []
    for level in ("source", "scene", "clip"):
        rows = dicts(
            db,
            f"""select state, case when state <> 'duplicate' then reason end as reason,
                       count(*) as number, sum(duration_s) as length_s
                from {level}_states group by all order by number desc, reason""",
        )
        by_state = {state: sum(row["number"] for row in rows if row["state"] == state) for state in STATES}
        rows.sort(key=lambda row: STATES.index(row["state"]))
        for row in rows:
            row["words"] = say_reason(row["reason"]) if row["reason"] else ""
        found.append(
            {
                "level": level,
                "number": sum(by_state.values()),
                "length_s": sum(row["length_s"] or 0 for row in rows),
                "states": {state: count for state, count in by_state.items() if count},
                "rows": rows,
            }
        )
    return found


def in_order(rows: Sequence[dict[str, Any]], config: DecideConfig) -> list[dict[str, Any]]:
    """Reasons in the order in which the rules were tried; what no rule knows comes first, by length."""
    known = {step.reason: index for index, step in enumerate(steps(config, _any_quantile(config)))}
    return sorted(rows, key=lambda row: (known.get(row["reason"], -1), -(row["lost_s"] or 0), str(row["reason"])))


def _any_quantile(config: DecideConfig) -> Mapping[tuple[str, float], float]:
    """Stand-ins for values that only a dataset has: the order of the questions does not depend on them."""
    return {
        (name, quantile): 0.0
        for name, rule in config.rules.items()
        for quantile in (rule.min_quantile, rule.max_quantile)
        if quantile is not None
    }


def say_reason(reason: str | None, threshold: float | None = None) -> str:
    """A reason in words: `motion.min` with 0.002 is "motion below 0.002"."""
    if reason is None:
        return ""
    name, _, side = reason.rpartition(".")
    limit = "" if threshold is None else f" {number(threshold)}"
    spoken = {
        "min": f"below{limit}" if limit else "too low",
        "max": f"above{limit}" if limit else "too high",
        "min_quantile": f"in the lowest part, below{limit}" if limit else "in the lowest part",
        "max_quantile": f"in the highest part, above{limit}" if limit else "in the highest part",
        "best_hours": f"not among the best{limit} hours",
        "missing": "missing",
    }
    if name and side in spoken:
        return f"{score_title(name).partition(',')[0]} {spoken[side]}"
    return _WORDS.get(reason, reason.replace("_", " "))


def group_name(state: str, reason: str | None) -> str:
    """Name of a contact sheet, to which a page can link: of a state, or of a state and a reason."""
    return re.sub(r"[^\w.-]+", "-", f"{state}-{reason}" if reason else state)
