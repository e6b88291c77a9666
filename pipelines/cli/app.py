"""The command itself: verbs from the modules beside it, errors as one line, exit statuses 0, 1 and 2."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from typer.main import get_command

from curate.errors import ReelwrightError

app = typer.Typer(
    name="reelwright",
    help="Turns raw footage into a trained video model: curate, caption, query, train, sample.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for _module in ("recipe", "curation", "questions", "captioner", "model", "report"):  # each offers `add_verbs(app)`
    import_module(f"pipelines.cli.{_module}").add_verbs(app)


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit: 0 done, 1 could not finish or a check does not hold, 2 bad usage."""
    # Some releases of typer bring click, others stand on it: these are the classes that this one raises.
    bad_usage: type[BaseException] = next(
        base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
    )
    try:
        status = get_command(app)(args=arguments, prog_name="reelwright", standalone_mode=False)
    except ReelwrightError as error:
        sys.exit(_fail(str(error), error.exit_status))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(_fail("stopped; run the same command again to go on", 130))
    except bad_usage as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> int:
    print(f"reelwright: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
