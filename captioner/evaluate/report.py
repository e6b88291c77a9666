"""An examination as a table, as JSON and as a page that shows the clips beside what was written about them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from captioner.base import Clip
from captioner.evaluate.facts import FactScore
from captioner.evaluate.suite import Evaluation, Written

_SHOWN = 12
_FRAMES = 6


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The figures that one looks at first, by name."""
    facts, controls, found = evaluation.facts, evaluation.controls, evaluation.retrieval
    score, overlap, judged = evaluation.clip_score, evaluation.overlap, evaluation.judged
    per_s = (evaluation.clips - evaluation.failed) / evaluation.seconds if evaluation.seconds else None
    return {
        "captioner": f"{evaluation.captioner}@{evaluation.revision}",
        "kind": evaluation.kind,
        "clips": evaluation.clips,
        "failed": evaluation.failed,
        "cut off": evaluation.truncated,
        "fact F1": facts and facts.f1,
        "fact precision": facts and facts.precision,
        "fact recall": facts and facts.recall,
        "hallucination": facts and facts.hallucination,
        "motion flips in reversed time": controls and controls.flipped.get("motion"),
        "camera flips in reversed time": controls and controls.flipped.get("camera"),
        "motion right with shuffled frames": controls and controls.shuffled_motion,
        "fact F1 of blank clips": controls and controls.blank_f1,
        "clip to text R@1": found and found.clip_to_text_r1,
        "text to clip R@1": found and found.text_to_clip_r1,
        "gallery": found and found.gallery,
        "similarity to own clip": score and score.whole,
        "similarity of worst sentence": score and score.sentence_min,
        "similarity to other clip": score and score.shuffled,
        "CIDEr-D": overlap and overlap.cider_d,
        "BLEU-4": overlap and overlap.bleu_4,
        "ROUGE-L": overlap and overlap.rouge_l,
        "events F1 by the judge": judged and judged.f1,
        "events precision by the judge": judged and judged.precision,
        "events recall by the judge": judged and judged.recall,
        "clips judged": judged and judged.clips,
        "answers of the judge lost": judged and judged.malformed + judged.unanswered,
        "different captions": evaluation.diversity.unique_share,
        "words": evaluation.diversity.words_mean,
        "confidence follows truth": evaluation.calibration and evaluation.calibration.rank_correlation,
        "captions per second": per_s,
    }


def slot_rows(facts: FactScore) -> list[dict[str, Any]]:
    """One row per slot, as plain values."""
    return [
        {
            "slot": slot,
            "facts": score.facts,
            "precision": score.precision,
            "recall": score.recall,
            "f1": score.f1,
            "balanced": score.balanced,
            "chance": score.chance,
            "commonest mistakes": ", ".join(f"{a} as {b} ({n})" for a, b, n in facts.confusions.get(slot, ())),
        }
        for slot, score in facts.slots.items()
    ]


def write_report(evaluations: Sequence[Evaluation], clips: Sequence[Clip], out: str | Path) -> Path:
    """Write evaluation.json and evaluation.html into a folder, and return the page."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    tree = [
        {"summary": summary(each), "slots": slot_rows(each.facts) if each.facts else [], **asdict(each)}
        for each in evaluations
    ]
    (folder / "evaluation.json").write_text(json.dumps(tree, indent=1, ensure_ascii=False), encoding="utf-8")
    page = folder / "evaluation.html"
    page.write_text(_page(evaluations, {clip.clip_id: clip for clip in clips}), encoding="utf-8")
    return page


def _page(evaluations: Sequence[Evaluation], clips: Mapping[str, Clip]) -> str:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = _figure
    return environment.from_string(_TEMPLATE).render(
        names=[f"{evaluation.captioner} {evaluation.kind}" for evaluation in evaluations],
        summaries=[summary(evaluation) for evaluation in evaluations],
        parts=[
            {
                "name": f"{evaluation.captioner}@{evaluation.revision}, {evaluation.kind}",
                "slots": slot_rows(evaluation.facts) if evaluation.facts else [],
                "examples": [(title, [_shown(one, clips) for one in chosen]) for title, chosen in _chosen(evaluation)],
            }
            for evaluation in evaluations
        ],
    )


def _chosen(evaluation: Evaluation) -> list[tuple[str, list[Written]]]:
    """The worst and the best where the truth is known, else the first."""
    if evaluation.facts is None:
        return [("Examples", list(evaluation.written[:_SHOWN]))]
    ordered = sorted(evaluation.written, key=lambda written: written.f1 or 0.0)
    return [("Worst", ordered[:_SHOWN]), ("Best", ordered[: -_SHOWN - 1 : -1])]


def _shown(written: Written, clips: Mapping[str, Clip]) -> dict[str, Any]:
    return {**asdict(written), "strip": _strip(clips[written.clip_id].frames)}


def _strip(frames: np.ndarray) -> str:
    """Some frames side by side, as a JPEG inside the page."""
    from PIL import Image

    chosen = frames[np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).astype(int)]
    picture = Image.fromarray(np.concatenate(list(chosen), axis=1))
    height = 96
    picture = picture.resize((round(picture.width * height / picture.height), height))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


_TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Captioner evaluation</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .8em .2em 0; text-align: left }
td { border-top: 1px solid #ddd; font-variant-numeric: tabular-nums } figure { margin: 1.2em 0 } img { max-width: 100% }
.reference { color: #777 } .figure { color: #777; font-size: 13px }
</style>
<h1>Captioner evaluation</h1>
<table><tr><th></th>{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr>
{% for key in summaries[0] %}
<tr><td>{{ key }}</td>{% for each in summaries %}<td>{{ each[key] | figure }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% for part in parts %}
<h2>{{ part.name }}</h2>
{% if part.slots %}
<table><tr>{% for key in part.slots[0] %}<th>{{ key }}</th>{% endfor %}</tr>
{% for row in part.slots %}
<tr>{% for value in row.values() %}<td>{{ value | figure }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endif %}
{% for title, shown in part.examples %}
<h3>{{ title }}</h3>
{% for one in shown %}
<figure><img src="{{ one.strip }}" alt="frames of {{ one.clip_id }}">
<figcaption>{{ one.text or "(no caption)" }}
{% if one.reference %}<div class="reference">{{ one.reference }}</div>{% endif %}
<div class="figure">{{ one.clip_id }}{% if one.f1 is not none %}, F1 {{ one.f1 | figure }}{% endif %}</div>
</figcaption></figure>
{% endfor %}
{% endfor %}
{% endfor %}
</html>
"""
