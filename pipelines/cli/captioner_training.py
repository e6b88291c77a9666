"""`reelwright captioner train | eval | expand`: making a captioner, and finding out how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.errors import UsageError
from pipelines.cli.options import AddressOpt, ConfigOpt, JsonOpt, SetOpt
from pipelines.cli.output import write_json

if TYPE_CHECKING:
    from captioner.base import Clip
    from captioner.evaluate.suite import Evaluation
    from captioner.training_config import TrainingConfig

verbs = typer.Typer(help="Train a captioner, examine captioners, expand prompts.", no_args_is_help=True)

DataArg = Annotated[
    str | None,
    typer.Argument(metavar="[DATASET]", help="Dataset to take clips and captions from; without, footage is drawn."),
]


@verbs.command()
def train(
    dataset: DataArg = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the captioner.")] = None,
    preset: Annotated[str, typer.Option(help="smoke (seconds), minutes (five) or full (twenty).")] = "minutes",
    expander: Annotated[
        bool, typer.Option("--expander", help="Train the language model of `captioner expand` instead.")
    ] = False,
    start_from: Annotated[
        str | None,
        typer.Option(help="CoCa of open_clip to fine-tune: NAME#WEIGHTS, for example coca_ViT-L-14#laion2b_s13b_b90k."),
    ] = None,
    captioner: Annotated[
        list[str] | None, typer.Option(help="Captioners of the dataset to learn from, best first. May be repeated.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="For example cuda or cpu. Default: a GPU when there is one.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, by Ray Train; 1 trains in this one.")] = 1,
    loaders: Annotated[int, typer.Option(min=0, help="Processes that prepare batches ahead, beside each.")] = 0,
    address: AddressOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the settings and stop.")] = False,
) -> None:
    """Train a captioner in stages: original text, short captions, descriptive ones. Run again, it goes on.

    With --workers, each batch is shared between so many processes, which take a GPU each where there are any.

    Example: reelwright captioner train --preset minutes --out runs/captioner
    """
    from curate.config import to_toml

    if expander:
        _train_expander(dataset, out, captioner or [], config, set_, dry_run)
        return
    settings = _training_settings(preset, start_from, config, set_)
    if dry_run:
        print(to_toml(settings))
        return
    folder = _needs(out, "captioner train", "runs/captioner")
    from pipelines.ray_launch import LaunchConfig
    from pipelines.train_captioner import launch_captioner

    where = LaunchConfig(workers=workers, address=address, gpu=None if device is None else device.startswith("cuda"))
    launch_captioner(dataset, captioner or [], folder, settings, where, device=_device(device), loaders=loaders)
    print(f"done: caption with --captioner coca:{folder}")


@verbs.command(name="eval")
def evaluate(
    captioners: Annotated[
        list[str], typer.Argument(metavar="CAPTIONER...", help="coca:PATH, hf:NAME, openai:URL#MODEL")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset whose kept clips to caption; without, footage is drawn and the truth known."),
    ] = None,
    kind: Annotated[str, typer.Option(help="Kind of caption: alt, short, descriptive.")] = "descriptive",
    clips: Annotated[int, typer.Option(min=2, help="Number of clips.")] = 256,
    seed: Annotated[int, typer.Option(help="Other drawn clips.")] = 0,
    seen: Annotated[bool, typer.Option("--seen", help="Drawn clips of combinations that were trained on.")] = False,
    scorer: Annotated[
        str | None, typer.Option(help="Captioner that compares clips with texts, if not each its own.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Chat server that compares captions of drawn clips with the truth: openai:URL#MODEL."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for evaluation.json and evaluation.html.")
    ] = None,
    json: JsonOpt = False,
) -> None:
    """Examine captioners on the same clips: facts by slot, controls, similarity, diversity.

    Example: reelwright captioner eval coca:runs/captioner --out runs/captioner/examination
    """
    from captioner.evaluate.report import slot_rows, summary, write_report

    results, shown = _evaluate(captioners, dataset, kind, clips, seed, seen, scorer, judge)
    page = write_report(results, shown, out) if out else None
    if json:
        write_json([{**summary(each), "slots": slot_rows(each.facts) if each.facts else []} for each in results])
        return
    _print_evaluations(results)
    if page:
        print(f"examples: {page}")


@verbs.command()
def expand(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="Prompts as users write them.")],
    by: Annotated[str, typer.Option(help="lm:FOLDER (ours), chat:URL#MODEL, or hf:NAME_OR_PATH.")],
    seed: Annotated[int, typer.Option(help="Another seed, another expansion.")] = 0,
    json: JsonOpt = False,
) -> None:
    """Put short prompts into the manner of the captions; what the user said stays, in front and unchanged.

    Example: reelwright captioner expand "a red ball" --by lm:runs/expander
    """
    from dataclasses import asdict

    from captioner.expand import open_expander

    expansions = open_expander(by).expand(prompts, seed=seed)
    if json:
        write_json([asdict(expansion) for expansion in expansions])
        return
    for expansion in expansions:
        print(expansion.prompt)
        if expansion.reason:
            print(f"  (as it was: no expansion keeps what it says; in the last, {expansion.reason})")


def _training_settings(
    preset: str, start_from: str | None, config: Path | None, set_: list[str] | None
) -> TrainingConfig:
    from captioner.training_config import PRESETS, TrainingConfig, fine_tune
    from curate.config import build, load_toml, nearest, to_tree, with_overrides

    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; {nearest(preset, PRESETS)}")
    base = fine_tune(*start_from.partition("#")[::2]) if start_from else PRESETS[preset]()
    tree = load_toml(config) if config else to_tree(base)
    return build(TrainingConfig, with_overrides(tree, set_ or []))


def _train_expander(
    dataset: str | None,
    out: Path | None,
    prefer: list[str],
    config: Path | None,
    set_: list[str] | None,
    dry_run: bool,
) -> None:
    from captioner.expand_lm import ExpanderTraining, train_expander
    from captioner.frames import FrameConfig
    from captioner.training_data import DrawnSource
    from curate.config import build, load_toml, to_toml, with_overrides

    settings = build(ExpanderTraining, with_overrides(load_toml(config) if config else {}, set_ or []))
    if dry_run:
        print(to_toml(settings))
        return
    folder = _needs(out, "captioner train --expander", "runs/expander")
    source: Any = DrawnSource(FrameConfig(), seed=settings.seed)
    if dataset is not None:
        from pipelines.train_captioner import dataset_source

        source = dataset_source(dataset, FrameConfig(), prefer, None, settings.seed, print)
    train_expander(settings, source, folder)
    print(f"done: expand prompts with --by lm:{folder}")


def _evaluate(
    names: list[str],
    dataset: str | None,
    kind: str,
    count: int,
    seed: int,
    seen: bool,
    scorer: str | None,
    judge: str | None,
) -> tuple[list[Evaluation], list[Clip]]:
    from captioner.base import CaptionRequest
    from captioner.evaluate.drawn_clips import drawn_clips
    from captioner.evaluate.judge import Judge
    from captioner.evaluate.suite import evaluate
    from captioner.makers.by_name import open_captioner
    from captioner.prompts import NO_PROMPT, PROMPTS

    truth = references = None
    if judge and dataset is not None:
        raise UsageError("--judge compares with references, which a dataset lacks; leave out --dataset")
    judging = Judge(judge) if judge else None  # before any work: it may be down
    if dataset is None:
        known = drawn_clips(count, kind=kind, held_out=not seen, seed=seed)
        clips, truth, references = [k.clip for k in known], [k.truth for k in known], [k.reference for k in known]
    else:
        from captioner.training_clips import load_clips
        from curate.tables import Dataset

        clips = load_clips(Dataset(dataset), count)
    comparing = open_captioner(scorer) if scorer else None
    results = []
    for name in names:
        captioner = open_captioner(name)
        request = CaptionRequest(kind=kind, prompt=PROMPTS.get(kind, NO_PROMPT), decode=captioner.identity.decode)
        result = evaluate(
            captioner, clips, request, truth=truth, references=references, scorer=comparing, judge=judging
        )
        results.append(result)
        captioner.close()
    for opened in (comparing, judging):
        if opened:
            opened.close()
    return results, clips


def _print_evaluations(results: list[Evaluation]) -> None:
    import pyarrow as pa

    from captioner.evaluate.report import slot_rows, summary
    from captioner.evaluate.suite import compare_f1
    from pipelines.cli.output import write_table

    figures = [summary(each) for each in results]
    columns = {f"{index + 1}": [_figure(each[key]) for key in each] for index, each in enumerate(figures)}
    write_table(pa.table({"measure": list(figures[0]), **columns}))
    for each in results:
        if each.facts:
            rows = slot_rows(each.facts)
            print()
            write_table(pa.table({key: [_figure(row[key]) for row in rows] for key in rows[0]}))
    for index, other in enumerate(results[1:], start=2):
        if other.facts:
            gain, low, high = compare_f1(results[0], other)
            print(f"\n{index} against 1: fact F1 per caption {gain:+.3f} (95 % between {low:+.3f} and {high:+.3f})")


def _figure(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _device(name: str | None) -> str:
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _needs(out: Path | None, verb: str, example: str) -> Path:
    if out is None:
        raise UsageError(f"name the folder to write: reelwright {verb} --out {example}")
    return out
