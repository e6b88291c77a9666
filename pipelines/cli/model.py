"""Verbs of the model half."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.tables import Dataset
from pipelines.cli.output import write_json

DatasetArg = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or s3:// prefix of the dataset.")]
OutOpt = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run to begin or go on with.")]
ConfigOpt = Annotated[Path | None, typer.Option("--config", help="TOML file with the settings.")]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, for example vae.width=64.")
]
AddressOpt = Annotated[str | None, typer.Option(help="Ray cluster to run on, for example auto. Default: this machine.")]
LocalOpt = Annotated[bool, typer.Option("--local", help="Run in this process, without Ray.")]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Print settings and what would be done; change nothing.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StrictOpt = Annotated[bool, typer.Option("--strict", help="Exit with status 1 when any footage is broken.")]
RetryOpt = Annotated[bool, typer.Option("--retry", help="Do again what failed before.")]


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    app.command("train-codec")(train_codec)
    app.command()(encode)


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
    from curate.config import to_toml
    from pipelines.encode import EncodeSettings, copy_training_files, encode_captions, encode_latents, plan_encode
    from pipelines.engine import Engine
    from pipelines.run import recorded_run

    flags = [*(["engine.local=true"] if local else []), *([f'engine.address="{address}"'] if address else [])]
    flags += [f'text.name="{text}"'] if text else []
    settings = _settings(EncodeSettings, config, [*(set_ or []), *flags])
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
