"""The verb that runs the whole recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import AddressOpt, DryRunOpt, LocalOpt, SetOpt


def add_verbs(app: typer.Typer) -> None:
    """Add the verb of this module to the command."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for all that is made.")] = Path("demo-out"),
    size: Annotated[str, typer.Option(help="smoke, small (a quarter of an hour), medium or large.")] = "small",
    source: Annotated[
        str | None, typer.Option(help="Your footage: a file, folder, glob or list. Default: some is drawn.")
    ] = None,
    captioner: Annotated[
        str | None, typer.Option(help="Who describes your footage, as for `caption`. Default: ours learns to.")
    ] = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    dry_run: DryRunOpt = False,
) -> int:
    """Run the whole recipe: raw footage, clips, captions, a trained model, new videos, a report.

    Run again, it goes on where it stopped. --set changes how much of everything, for example model_steps=5000.

    Example: reelwright demo --out demo-out
    """
    from curate.config import build, nearest, to_toml, to_tree, with_overrides
    from curate.errors import ConfigError, UsageError
    from pipelines.recipe import SIZES, STAGES, RecipeConfig, run_recipe

    if size not in SIZES:
        raise ConfigError(f"no size {size!r}; {nearest(size, SIZES)}")
    if captioner is not None and source is None:
        raise UsageError("--captioner describes footage of your own: name it with --source")
    tree = to_tree(SIZES[size])
    tree["engine"] |= {"local": local, "address": address}
    config = build(RecipeConfig, with_overrides(tree, set_ or []))
    if dry_run:
        print(to_toml(config))
        for stage in STAGES:
            print(f"# {stage.__name__}: {(stage.__doc__ or '').splitlines()[0]}")
        return 0
    run_recipe(out, config, source=source, captioner=captioner)
    return 0
