"""The answer of `explain` on a terminal."""

from __future__ import annotations

from typing import Any

_HIDDEN = {"fingerprint", "run_id"}


def print_explained(found: dict[str, Any]) -> None:
    """Print rows from the source down, then what it consists of, or its captions and the rules that it met."""
    for name, row in found["rows"].items():
        print(name)
        width = max(len(key) for key in row)
        for key, value in row.items():
            if key not in _HIDDEN and value is not None:
                print(f"  {key:<{width}}  {_text(value)}")
    for scene in found.get("scenes", []):
        reason = f" ({scene['reason']})" if scene["reason"] else ""
        print(
            f"scene {scene['scene_id']}  {scene['start_s']:.2f} to {scene['end_s']:.2f} s, {scene['start_kind']} to "
            f"{scene['end_kind']}, {scene['num_clips']} clips: {scene['state']}{reason}"
        )
    for clip in found.get("clips", []):
        print(f"clip {clip['clip_id']}: {clip['state']}" + (f" ({clip['reason']})" if clip["reason"] else ""))
    for caption in found.get("captions", []):
        why = ", ".join(caption["reasons"] or []) or caption["error"]
        state = caption["status"] + (f" ({why})" if why else "")
        print(f"{caption['kind']} caption by {caption['captioner']}: {state}\n  {_text(caption['text'])}")
    if "rules" in found:
        print("rules")
        for rule in found["rules"]:
            print(f"  {_verdict(rule):<4}  {rule['rule']:<20} {_text(rule['score']):>10}  {_limits(rule)}")


def _verdict(rule: dict[str, Any]) -> str:
    score = rule["score"]
    if score is None:
        return "none"
    below = rule["min"] is not None and score < rule["min"]
    above = rule["max"] is not None and score > rule["max"]
    return "FAIL" if below or above else "ok"


def _limits(rule: dict[str, Any]) -> str:
    parts = [f"{side} {_text(rule[side])}" for side in ("min", "max") if rule[side] is not None]
    return ", ".join(parts)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
