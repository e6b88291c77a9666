"""What the verbs of the video model call: planning, showing progress, sampling and measuring."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from curate.drawn.shot import TINY_UNTOLD
from model.evaluate import (
    ClipFeatures,
    Features,
    RandomFeatures,
    attribute_accuracy,
    clip_score,
    distances,
    drawn_questions,
)
from model.parallel import World
from model.plan import describe_plan, plan_run, time_step
from model.requests import Request, fulfil
from model.run import HeldOut, load_studio, open_parts
from model.sample import SampleConfig
from model.train_config import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSettings:
    """What `reelwright sample` is told."""

    request: Request = field(default_factory=Request)
    sampling: SampleConfig = field(default_factory=SampleConfig)


def plan_training(source: str, out: Path | None, config: TrainConfig, *, probe: bool) -> tuple[dict[str, Any], str]:
    """Figures of a run and their description. `out` is that of a run under way, whose codec is taken."""
    with tempfile.TemporaryDirectory() as scratch:
        home = out if out is not None and out.exists() else Path(scratch)
        parts = open_parts(source, home, config, world=World.alone(), store=False)
        stride = parts.codec.stride[0]
        seconds = time_step(parts.data, parts.text, parts.config, stride=stride) if probe else None
        plan = plan_run(parts.data, parts.text, parts.config, stride=stride, seconds_per_step=seconds)
    return plan, f"{parts.data.report}\n{describe_plan(plan)}"


@contextmanager
def show_training(steps: int, *, quiet: bool = False) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """A bar on a terminal; anywhere else a line for each measurement, and one at the end."""
    if quiet:
        yield None
        return
    last: dict[str, Any] = {}

    def on_line(record: dict[str, Any]) -> None:
        last.update(record)
        if record["event"] != "step":
            print(_line(record), file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield on_line
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
            TextColumn("[dim]left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=steps)

            def on_bar(record: dict[str, Any]) -> None:
                last.update(record)
                progress.update(task, completed=record["step"], description=_figures(record))
                if record["event"] not in ("step", "started"):
                    progress.console.print(_line(record))

            yield on_bar
    if last:
        total = last["total"]
        print(
            f"train   {last['step']} steps, {total['samples']:.0f} samples, {total['tokens']:.3g} tokens, "
            f"{total['flops']:.3g} operations, {total['skipped']:.0f} skipped, {total['seconds']:.1f} s",
            file=sys.stderr,
        )


def make_sample(
    run: str, settings: SampleSettings, out: Path, *, step: int | None = None, width: float | None = None,
    device: str | None = None, expander: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Load a run and fulfil a request with it. `expander` is that of `expander_of`."""
    studio = load_studio(run, step=step, width=width, device=device, config=settings.sampling)
    request, notes = expanded(settings.request, expander)
    return fulfil(studio, request, out, notes=notes)


def expander_of(run: str | Path) -> str | None:
    """The expander in a run folder, `RUN/expander`, where there is one."""
    from captioner.expand_lm import is_expander

    folder = Path(run) / "expander"
    return f"lm:{folder}" if is_expander(folder) else None


def expanded(request: Request, expander: str | None) -> tuple[Request, dict[str, Any]]:
    """The request with its prompt in the manner of the captions, and a record of what was asked and what came of it."""
    if expander is None or not request.prompt:
        return request, {}
    from captioner.expand import open_expander

    (expansion,) = open_expander(expander).expand([request.prompt], seed=request.seed)
    return replace(request, prompt=expansion.prompt), {"expansion": asdict(expansion)}


def evaluate_run(
    run: str, source: str | None, sampling: SampleConfig | None = None, *, drawn: int, clips: int,
    step: int | None = None, device: str | None = None, clip: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Everything that can be measured with what is given."""
    studio = load_studio(run, step=step, device=device, config=sampling)
    result: dict[str, Any] = {"made_by": studio.provenance}
    if source is not None:
        held_out = HeldOut.open(studio, source, run)
        result["held_out"] = held_out.loss()
        real, canvases = zip(*islice(held_out.pairs(), clips), strict=True)
        made = studio.draw(canvases)
        features: Features = RandomFeatures()
        if clip is not None:
            name, _, weights = clip.partition(":")
            features = fitting = ClipFeatures(name, weights)
            result["clip_score"] = clip_score(made, [canvas.prompt or "" for canvas in canvases], fitting)
        if len(real) > 1:  # one has no spread
            result["distances"] = distances(real, made, features)
    if drawn:
        usual = studio.usual
        questions = drawn_questions(
            drawn,
            sizes=[(int(usual["height"]), int(usual["width"]))],
            frames=[int(usual["frames"])],
            fps=usual["fps"],
            hidden=TINY_UNTOLD,
        )
        result["facts"] = attribute_accuracy(studio, questions)
    return result


def _line(record: dict[str, Any]) -> str:
    return f"step {record['step']:>7}  {record['event']:<12} {_figures(record)}"


def _figures(record: dict[str, Any]) -> str:
    parts = []
    if "loss" in record:
        parts.append(f"loss {record['loss']:.4f}")
    if record["event"] == "validation":
        parts.append(f"not averaged {record['raw_loss']:.4f}")
    if record["event"] == "step":
        parts.append(f"{record['tokens'] / max(record['seconds'], 1e-9):.0f} tokens/s")
        parts.append(f"{record['flops'] / max(record['seconds'], 1e-9):.3g} operations/s")
        parts.append(f"wait {record['data_wait_s'] / max(record['seconds'], 1e-9):.0%}")
    if record["event"] == "skipped":
        parts.append(f"samples {', '.join(record['skipped']) or 'unknown'}")
    if "parameters" in record:
        parts.append(f"{record['parameters'] / 1e6:.2f}M parameters")
    return ", ".join(parts)
