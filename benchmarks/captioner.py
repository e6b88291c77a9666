"""What the captioner of this project must show, measured.

    python -m benchmarks.captioner bars --preset full --out runs/bars       three seeds; status 1 when a bar is missed
    python -m benchmarks.captioner stages --preset minutes --out runs/order what the order of the stages is worth
    python -m benchmarks.captioner seen runs/bars/seed-0                    what the encoder sees, said or not
    python -m benchmarks.captioner speed runs/bars/seed-0                   captions a second, and without the cache
    python -m benchmarks.captioner expander runs/expander                   prompts whose facts survive

A training that was stopped goes on where it was. Times are CPU seconds of all its processes and threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from captioner.base import CaptionRequest, Decode
from captioner.evaluate.drawn_clips import KnownClip, drawn_clips
from captioner.evaluate.facts import FactScore
from captioner.evaluate.report import slot_rows, summary, write_report
from captioner.evaluate.suite import Evaluation, evaluate
from captioner.makers.by_name import open_captioner
from captioner.prompts import NO_PROMPT
from captioner.training import stage_folder, train_captioner
from captioner.training_config import PRESETS, TrainingConfig
from captioner.training_data import DrawnSource, drawn_source

F1_BAR, HALLUCINATION_BAR, SLOT_BAR = 0.95, 0.06, 0.8
MINUTES_BAR = 60.0
KINDS = {"base": "alt", "short": "short", "descriptive": "descriptive"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    bars = verbs.add_parser("bars")
    bars.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    bars.set_defaults(run=run_bars)
    stages = verbs.add_parser("stages")
    stages.add_argument("--seeds", type=int, nargs="+", default=[0])
    stages.set_defaults(run=run_stages)
    for verb in (bars, stages):
        verb.add_argument("--preset", choices=PRESETS, default="full")
        verb.add_argument("--scale", type=float, default=1.0, help="share of the preset's steps")
        verb.add_argument("--clips", type=int, default=512)
        verb.add_argument("--out", type=Path, required=True)
    seen = verbs.add_parser("seen")
    seen.add_argument("captioner", type=Path)
    seen.add_argument("--clips", type=int, default=512)
    seen.set_defaults(run=run_seen)
    speed = verbs.add_parser("speed")
    speed.add_argument("captioner", type=Path)
    speed.set_defaults(run=run_speed)
    expander = verbs.add_parser("expander")
    expander.add_argument("expander", type=Path)
    expander.add_argument("--prompts", type=int, default=200)
    expander.set_defaults(run=run_expander)
    arguments = parser.parse_args()
    return int(arguments.run(arguments) or 0)


def run_bars(arguments: argparse.Namespace) -> int:
    """Train with every seed, examine every stage on held-out combinations, compare with the bars."""
    missed: list[str] = []
    lines: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        config = dataclasses.replace(scaled(PRESETS[arguments.preset](), arguments.scale), seed=seed)
        out = arguments.out / f"seed-{seed}"
        minutes = train(config, out)
        for name in config.stages:
            result = examine(stage_folder(out, name), KINDS[name], arguments.clips, out / "examination" / name)
            lines.append({"seed": seed, "stage": name, "train minutes": minutes, **summary(result)})
            show(f"seed {seed}, stage {name}", result)
        missed += [f"seed {seed}: {each}" for each in missed_bars(result.facts, minutes)]
    (arguments.out / "bars.json").write_text(json.dumps({"missed": missed, "stages": lines}, indent=1))
    (arguments.out / "bars.md").write_text(tables(arguments.out), encoding="utf-8")
    print("\n".join(["", *(missed or ["every bar is met"])]))
    return 1 if missed else 0


def run_stages(arguments: argparse.Namespace) -> None:
    """Chain or branch, with or without the base, the same number of steps of each stage."""
    preset = scaled(PRESETS[arguments.preset](), arguments.scale)
    stages = dict(preset.stages)
    orders = {
        "chain": stages,
        "branch": {**stages, "descriptive": dataclasses.replace(stages["descriptive"], init_from="base")},
        "no base": {name: stages[name] for name in ("short", "descriptive")},
        "descriptive alone": {"descriptive": stages["descriptive"]},
    }
    for seed in arguments.seeds:
        for order, chosen in orders.items():
            config = dataclasses.replace(preset, stages=chosen, seed=seed)
            out = arguments.out / f"{order.replace(' ', '-')}-{seed}"
            minutes = train(config, out)
            result = examine(out, "descriptive", arguments.clips, out / "examination")
            show(f"{order}, seed {seed}, {minutes:.1f} CPU minutes", result)


@torch.no_grad()
def run_seen(arguments: argparse.Namespace) -> None:
    """How often the encoder's fact heads are right: what is seen and not said, the decoder has not learnt to read."""
    from captioner.claims import VALUES, claimed_values
    from captioner.video_coca import VideoCoCa

    torch.set_num_threads(1)
    model = VideoCoCa.from_pretrained(arguments.captioner)
    known = drawn_clips(arguments.clips, kind="descriptive")
    truth = claimed_values([each.reference for each in known])
    frames = model._fit([each.clip.frames for each in known])
    tokens = torch.cat([model.encode_video(part)[1] for part in frames.split(64)])
    guesses = torch.stack([guess.argmax(-1) for guess in model.facts(tokens)], dim=1)
    right = guesses == truth.repeat(1, 2)
    print(f"{'':18} {'all tokens':>10} {'own token':>10}")
    for index, slot in enumerate(VALUES):
        told = truth[:, index] >= 0
        rates = (right[told, column].float().mean() for column in (index, index + len(VALUES)))
        print(f"{slot:18} " + " ".join(f"{rate:10.2f}" for rate in rates))


def run_speed(arguments: argparse.Namespace) -> None:
    """Captions a CPU second by way of writing; and what it would be if every token cost the whole text."""
    from captioner.video_coca import VideoCoCa

    torch.set_num_threads(1)
    model = VideoCoCa.from_pretrained(arguments.captioner)
    clips = [known.clip.frames for known in drawn_clips(64, kind="descriptive")]
    for name, decode in {
        "greedy": Decode(temperature=0, repetition_penalty=1),
        "top-p": Decode(temperature=1, top_p=0.9, repetition_penalty=1),
        "3 beams": Decode(temperature=0, num_beams=3, repetition_penalty=1),
    }.items():
        started = time.process_time()
        captions = model.caption(clips, kind="descriptive", decode=decode)
        seconds = time.process_time() - started
        tokens = sum(len(caption.token_ids) for caption in captions)
        print(f"{name:8}  {len(clips) / seconds:6.1f} captions/s  {tokens / seconds:8.0f} tokens/s")
    started = time.process_time()
    whole_text_greedy(model, clips, max(len(caption.token_ids) for caption in captions))
    print(f"{'no cache':8}  {len(clips) / (time.process_time() - started):6.1f} captions/s")


@torch.no_grad()
def whole_text_greedy(model: Any, clips: list[Any], length: int) -> None:
    video = model.as_kind(model.encode_video(model._fit(clips))[1], model.kind_index("descriptive"))
    ids = torch.full((len(clips), 1), model.tokenizer.bos_id)
    for _ in range(length):
        logits = model.decode_logits(model.encode_text(ids)[1], video)
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)


def run_expander(arguments: argparse.Namespace) -> None:
    """Short prompts about drawn shots: how many are expanded, in how many attempts, and what is added."""
    from captioner.expand import ExpandConfig, open_expander, why_not
    from captioner.fact_parser import parse_facts
    from captioner.frames import FrameConfig

    source = DrawnSource(FrameConfig(), seed=1000)
    prompts = [source.pair(index)[0] for index in range(arguments.prompts)]
    expander = open_expander(f"lm:{arguments.expander}", ExpandConfig())
    first = expander.writer.write(prompts, expander.config.decode)
    kept = sum(why_not(prompt, text or "") is None for prompt, text in zip(prompts, first, strict=True))
    started = time.process_time()
    expansions = expander.expand(prompts)
    seconds = time.process_time() - started
    done = [each for each in expansions if each.status == "expanded"]
    said = [len(parse_facts(each.original) or {}) for each in done]
    told = [len(parse_facts(each.prompt) or {}) for each in done]
    print(f"first attempts that keep everything: {kept / len(prompts):.1%}")
    print(
        f"prompts expanded: {len(done) / len(prompts):.1%} of {len(prompts)}, {len(prompts) / seconds:.1f} a CPU second"
    )
    print(f"facts: {sum(said) / len(done):.1f} said, {sum(told) / len(done):.1f} after expansion")


def scaled(config: TrainingConfig, scale: float) -> TrainingConfig:
    """A shorter or longer training of the same kind."""
    stages = {
        name: dataclasses.replace(stage, steps=max(1, round(stage.steps * scale)))
        for name, stage in config.stages.items()
    }
    return dataclasses.replace(config, stages=stages)


def train(config: TrainingConfig, out: Path) -> float:
    """Train in a folder and return the CPU minutes that it took, over all its restarts."""
    note = out / "cpu_minutes.json"
    before = json.loads(note.read_text()) if note.is_file() else 0.0
    started = cpu_seconds()

    def keep_time() -> float:
        minutes = before + (cpu_seconds() - started) / 60
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(minutes))
        return minutes

    def say(line: str) -> None:
        print(line, flush=True)
        keep_time()

    train_captioner(config, drawn_source(config), out, workers=1, say=say)
    return keep_time()


def cpu_seconds() -> float:
    """Of this process and of those that drew for it, once they have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def examine(folder: Path, kind: str, count: int, report: Path) -> Evaluation:
    known: list[KnownClip] = drawn_clips(count, kind=kind)
    captioner = open_captioner(f"coca:{folder}")
    clips = [each.clip for each in known]
    result = evaluate(
        captioner,
        clips,
        CaptionRequest(kind=kind, prompt=NO_PROMPT, decode=captioner.identity.decode),
        truth=[each.truth for each in known],
        references=[each.reference for each in known],
    )
    captioner.close()
    write_report([result], clips, report)
    return result


HEADLINES = (
    *("fact F1", "fact precision", "fact recall", "hallucination", "fact F1 of blank clips", "words"),
    *("different captions", "motion flips in reversed time", "camera flips in reversed time"),
    *("motion right with shuffled frames", "clip to text R@1", "CIDEr-D", "captions per second"),
)


def tables(out: Path) -> str:
    """The examinations of a run as two tables of Markdown: a column for each seed and stage."""
    found = sorted(out.glob("seed-*/examination/*/evaluation.json"), key=lambda path: path.stat().st_mtime)
    read = {f"{path.parts[-4]} {path.parent.name}": json.loads(path.read_text())[0] for path in found}
    slots = {name: {row["slot"]: row for row in each["slots"]} for name, each in read.items()}

    def row(title: str, cells: list[float | None]) -> str:
        return f"| {title} | " + " | ".join("" if cell is None else f"{cell:.2f}" for cell in cells) + " |"

    def head(title: str) -> list[str]:
        return [f"| {title} | " + " | ".join(read) + " |", "|---" * (len(read) + 1) + "|"]

    first = [row(key, [each["summary"].get(key) for each in read.values()]) for key in HEADLINES]
    second = []
    for slot in next(iter(slots.values())):
        chance = next(iter(slots.values()))[slot]["chance"]
        second.append(row(f"{slot} (chance {chance:.2f})", [each[slot]["recall"] for each in slots.values()]))
    return "\n".join([*head("all"), *first, "", *head("recall by slot"), *second, ""])


def missed_bars(facts: FactScore | None, minutes: float) -> list[str]:
    assert facts is not None
    missed = []
    if (facts.f1 or 0) < F1_BAR:
        missed.append(f"fact F1 is {facts.f1:.3f}, below {F1_BAR}")
    if (facts.hallucination or 0) > HALLUCINATION_BAR:
        missed.append(f"hallucination is {facts.hallucination:.3f}, above {HALLUCINATION_BAR}")
    for row in slot_rows(facts):
        if (row["recall"] or 0) < SLOT_BAR or (row["balanced"] or 0) < SLOT_BAR:
            missed.append(
                f"{row['slot']}: recall {row['recall']:.3f}, balanced {row['balanced']:.3f}, below {SLOT_BAR}"
            )
    if minutes > 2 * MINUTES_BAR:  # two cores
        missed.append(f"training took {minutes:.0f} CPU minutes, more than two cores have in {MINUTES_BAR:.0f} minutes")
    return missed


def show(title: str, result: Evaluation) -> None:
    print(f"\n{title}")
    for key, value in summary(result).items():
        if value is not None:
            print(f"  {key:34} {value:.3f}" if isinstance(value, float) else f"  {key:34} {value}")
    if result.facts:
        for row in slot_rows(result.facts):
            figures = "  ".join(
                f"{key} {row[key]:.2f}" for key in ("precision", "recall", "balanced", "chance") if row[key] is not None
            )
            print(f"    {row['slot']:18} {figures}  {row['commonest mistakes']}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
