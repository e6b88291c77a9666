"""Verbs of the model half."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.tables import Dataset
from pipelines.cli.options import AddressOpt, DatasetArg, DryRunOpt, JsonOpt, LocalOpt, RetryOpt, StrictOpt
from pipelines.cli.output import write_json

OutOpt = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run to begin or go on with.")]
ConfigOpt = Annotated[Path | None, typer.Option("--config", help="TOML file with the settings.")]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, for example vae.width=64.")
]
PresetOpt = Annotated[str, typer.Option(help="tiny, small, base or large.")]
CodecOpt = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Codec run or file; default: the linear codec, fitted here in seconds."),
]


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    app.command("train-codec")(train_codec)
    app.command()(encode)
    app.command()(plan)
    app.command()(train)
    app.command()(sample)
    verbs = typer.Typer(help="Examine a trained video model.", no_args_is_help=True)
    verbs.command("eval")(evaluate)
    verbs.command("share")(share)
    app.add_typer(verbs, name="model")


def train_codec(
    dataset: DatasetArg,
    out: OutOpt,
    preset: Annotated[str, typer.Option(help="tiny, small or base.")] = "tiny",
    linear: Annotated[bool, typer.Option("--linear", help="Fit the linear codec alone: seconds.")] = False,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: DryRunOpt = False,
    json: JsonOpt = False,
) -> int:
    """Train the video codec on the kept clips of a dataset; run again, it goes on where it stopped.

    Example: reelwright train-codec dataset --out runs/codec --set steps=8000
    """
    from curate.config import to_toml, to_tree
    from model.codec_train import CodecTrainConfig, codec_preset
    from model.footage import read_footage
    from pipelines.train_codec import run_training

    overrides = [*(set_ or []), *(['kind="pca"'] if linear else [])]
    settings = _settings(CodecTrainConfig, config, overrides, base=to_tree(codec_preset(preset)))
    footage, held_out = read_footage(Dataset(dataset), settings.windows, settings.vae.stride)
    if dry_run:
        print(to_toml(settings))
        print(f"# windows to train on: {len(footage)}\n# windows held out: {len(held_out)}")
        return 0
    measured = run_training(footage, held_out, settings, out, quiet=json)
    if json:
        write_json(measured)
    else:
        codec, floor = measured["codec"], measured["linear"]
        print(f"{out}: codec {measured['fingerprint']}, {measured['parameters']} parameters")
        print(f"PSNR on {codec['windows']} held-out windows: {codec['psnr_db']} dB; linear floor {floor['psnr_db']} dB")
    return 0


def encode(
    dataset: DatasetArg,
    codec: Annotated[str, typer.Option(metavar="RUN", help="Codec run or file, or diffusers:FOLDER_OR_REPOSITORY.")],
    preset: Annotated[
        str, typer.Option(help="Preset of `train` whose sizes, rate and lengths are taken: tiny, small, base or large.")
    ] = "tiny",
    text: Annotated[
        str | None, typer.Option(help="Text encoder whose states to cache: a folder or repository.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="Copy what is trained on into this folder of plain Parquet.")
    ] = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    retry: RetryOpt = False,
    dry_run: DryRunOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Encode kept clips with a codec, once; run again, it does only what is missing.

    With --files, a machine that has torch and pyarrow alone can train on that folder.

    Example: reelwright encode dataset --codec runs/codec --set encode.windows.fps=8
    """
    from curate.config import to_toml, to_tree
    from pipelines.encode import EncodeSettings, copy_training_files, encode_captions, encode_latents, plan_encode
    from pipelines.engine import Engine
    from pipelines.run import recorded_run

    flags = [*(["engine.local=true"] if local else []), *([f'engine.address="{address}"'] if address else [])]
    flags += [f'text.name="{text}"'] if text else []
    windows = to_tree(_preset(preset).data.windows)
    settings = _settings(EncodeSettings, config, [*(set_ or []), *flags], base={"encode": {"windows": windows}})
    target = Dataset(dataset)
    if dry_run:
        _, report = plan_encode(target, codec, settings.encode, retry=retry)
        print(to_toml(settings))
        print(f"# windows to encode: {report.total}\n# unchanged: {report.unchanged}")
        return 0
    with recorded_run(target, "encode", to_toml(settings)) as run, Engine(settings.engine) as engine:
        encode_latents(target, codec, settings.encode, run, engine, retry=retry, quiet=json)
        if settings.text is not None:
            encode_captions(target, settings.text, run, engine, retry=retry, quiet=json)
    if files is not None:
        copy_training_files(target, codec, settings, files)
    if json:
        write_json({"run_id": run.run_id, "stages": {report.stage: report.as_dict() for report in run.reports}})
    return 1 if strict and any(report.failed for report in run.reports) else 0


def train(
    dataset: DatasetArg,
    out: OutOpt,
    preset: PresetOpt = "tiny",
    codec: CodecOpt = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps of the whole run.")] = None,
    start_from: Annotated[
        str | None, typer.Option(metavar="RUN", help="Trained run whose weights, codec and words this one begins with.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, by Ray Train; 1 trains in this one.")] = 1,
    most_workers: Annotated[int | None, typer.Option(help="Elastic: up to so many processes.")] = None,
    address: AddressOpt = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: DryRunOpt = False,
    json: JsonOpt = False,
) -> int:
    """Train the video model on the kept clips of a dataset; run again, it goes on where it stopped, to the bit.

    Example: reelwright train dataset --preset tiny --out runs/first --set optim.lr=0.002
    """
    from curate.config import to_toml
    from pipelines.ray_launch import LaunchConfig
    from pipelines.ray_train import launch
    from pipelines.train import plan_training, show_training

    begins = [f'start_from="{start_from}"'] if start_from else []
    settings = _train_settings(preset, config, [*(set_ or []), *begins], codec, steps)
    if dry_run:
        print(to_toml(settings))
        print(plan_training(dataset, out, settings, probe=False)[1])
        return 0
    places = LaunchConfig(workers=workers, most_workers=most_workers, address=address)
    with show_training(settings.steps, quiet=json) as report:
        record = launch(dataset, out, settings, places, report=report)
    if json:
        write_json(record)
    return 0


def plan(
    dataset: DatasetArg,
    preset: PresetOpt = "tiny",
    codec: CodecOpt = None,
    probe: Annotated[bool, typer.Option(help="Time a few steps here.")] = True,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    json: JsonOpt = False,
) -> int:
    """Say what training on a dataset will cost: parameters, memory, operations, waste and time. Changes nothing.

    Example: reelwright plan dataset --preset small --set packs.token_budget=8192
    """
    from pipelines.train import plan_training

    figures, text = plan_training(dataset, None, _train_settings(preset, config, set_, codec, None), probe=probe)
    if json:
        write_json(figures)
    else:
        print(text)
    return 0


def sample(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="Run folder of `reelwright train`, or a checkpoint in it; default the tiny model that is included.",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Argument(metavar="[PROMPT]", help="What is to be seen.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Video or image; the suffix says which.")] = Path("out.mp4"),
    task: Annotated[
        str,
        typer.Option(
            help="make, loop, roll (long videos), animate, extend, extend-before, connect, close-loop, interpolate, "
            "restyle, repaint, outpaint, refine."
        ),
    ] = "make",
    input: Annotated[list[Path] | None, typer.Option("--input", "-i", help="Image or video to begin with.")] = None,
    size: Annotated[str | None, typer.Option(help="Width x height in pixels, for example 96x64.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of what is made or added.")] = None,
    frames: Annotated[int | None, typer.Option(help="The same in frames; 1 is an image.")] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frame rate; default that of the input, or of the training.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What guidance leads away from.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same video.")] = 0,
    step: Annotated[int | None, typer.Option(help="Checkpoint of this step; default the newest.")] = None,
    width: Annotated[
        float | None, typer.Option("--ema", help="Width of the averaged weights; 0: not averaged.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default a GPU where there is one.")] = None,
    expander: Annotated[
        str | None,
        typer.Option(
            help="Who expands the prompt: lm:FOLDER, chat:URL#MODEL, hf:NAME, or none. Default: RUN/expander, if any."
        ),
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Resize inputs to the size asked for.")] = False,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: DryRunOpt = False,
    json: JsonOpt = False,
) -> int:
    """Make a video from a trained run: of any size and length, from text, images or videos.

    Example: reelwright sample runs/first "a red circle moves to the left" --out red.mp4 --size 48x32 --seconds 2
    """
    from curate.config import to_toml
    from pipelines.train import SampleSettings, expander_of, make_sample

    run, prompt = _run_and_prompt(run, prompt)
    flags = {
        "task": task, "prompt": prompt, "inputs": [str(path) for path in input or []], "seconds": seconds,
        "frames": frames, "fps": fps, "negative": negative, "seed": seed, "resize": resize, **_parsed_size(size),
    }  # fmt: skip
    base = {"request": {key: value for key, value in flags.items() if value is not None}}
    settings = _settings(SampleSettings, config, set_ or [], base=base)
    if dry_run:
        print(to_toml(settings))
        return 0
    expander = expander_of(run) if expander is None else expander if expander != "none" else None
    record = make_sample(run, settings, out, step=step, width=width, device=device, expander=expander)
    if json:
        write_json(record)
    else:
        if "expansion" in record:
            print(f"prompt: {record['expansion']['prompt']}")
        print(f"{out}: {record['frames']} frames; beside it are a contact sheet and the request")
    return 0


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of `reelwright train`.")],
    dataset: Annotated[str | None, typer.Argument(metavar="[DATASET]", help="For held-out loss and distances.")] = None,
    drawn: Annotated[
        int, typer.Option(help="Prompts of the demo's drawn world, judged by their facts; 0 for none.")
    ] = 0,
    clips: Annotated[int, typer.Option(min=1, help="Held-out clips for the distances.")] = 64,
    step: Annotated[int | None, typer.Option(help="Checkpoint of this step; default the newest.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    clip: Annotated[
        str | None, typer.Option(help="CLIP score, and distances in features of CLIP: MODEL:WEIGHTS of open_clip.")
    ] = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    json: JsonOpt = False,
) -> int:
    """Measure a run: held-out loss at fixed times, distances to held-out clips, facts shown of drawn prompts.

    Held-out clips are compared as the codec gives them back, so distances are those of the transformer alone.

    Example: reelwright model eval runs/first dataset --drawn 128
    """
    from model.sample import SampleConfig
    from pipelines.train import evaluate_run

    settings = _settings(SampleConfig, config, set_ or [])
    result = evaluate_run(run, dataset, settings, drawn=drawn, clips=clips, step=step, device=device, clip=clip)
    write_json(result)
    return 0


def share(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder of `reelwright train`, or a checkpoint in it.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="New folder for the small copy.")],
    step: Annotated[int | None, typer.Option(help="Checkpoint of this step; default the newest.")] = None,
    width: Annotated[float | None, typer.Option("--ema", help="Width of the averaged weights.")] = None,
) -> int:
    """Copy what sampling needs of a run, in half precision: a tenth of a checkpoint. It can be sampled from like a run.

    Example: reelwright model share runs/first --out first-small
    """
    from model.share import share as share_run

    print(f"{out}: {share_run(run, out, step=step, width=width) / 1e6:.1f} MB")
    return 0


def _run_and_prompt(run: str | None, prompt: str | None) -> tuple[str, str | None]:
    """Of a single argument, an existing folder is the run, and anything else a prompt for the included model.

    Raises UsageError for a path that leads nowhere.
    """
    from curate.errors import UsageError
    from model.bundled import BUNDLED

    if prompt is None and run is not None and not os.path.exists(run):  # which takes a prompt of any length
        if "/" in run and " " not in run:
            raise UsageError(f"no run folder {run}; of a run, give RUN and PROMPT")
        run, prompt = None, run
    return run or str(BUNDLED), prompt


def _train_settings(
    preset: str, path: Path | None, sets: list[str] | None, codec: str | None, steps: int | None
) -> Any:
    from curate.config import to_tree
    from model.train_config import TrainConfig

    flags = [*([f'data.codec="{codec}"'] if codec else []), *([f"steps={steps}"] if steps else [])]
    return _settings(TrainConfig, path, [*(sets or []), *flags], base=to_tree(_preset(preset)))


def _preset(name: str) -> Any:
    from curate.config import nearest
    from curate.errors import ConfigError
    from model.train_config import PRESETS

    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]()


def _parsed_size(size: str | None) -> dict[str, int]:
    from curate.errors import UsageError

    if size is None:
        return {}
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UsageError(f"--size {size}: expected width x height in pixels, for example 96x64")
    return {"width": int(width), "height": int(height)}


def _settings(cls: Any, path: Path | None, overrides: list[str], *, base: dict[str, Any] | None = None) -> Any:
    """Settings of a class: `base`, under a TOML file, under --set."""
    from curate.config import build, load_toml, with_overrides

    return build(cls, with_overrides(_merged(base or {}, load_toml(path) if path else {}), overrides))


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
