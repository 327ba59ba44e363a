"""`upkeep init`: write a settings file in which every key is explained."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, JsonOption
from edits.errors import PermanentError


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented upkeep.toml.

    It holds the defaults and works as it is, except that it names no model: set `path` under \\[model],
    and `bootstrap_servers` under \\[kafka], then try `upkeep run`.

    \b
    Example:
      upkeep init
      upkeep init /etc/upkeep/upkeep.toml
    """
    template = (files("daemon") / "data" / "upkeep.toml").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template)
    except FileExistsError:
        raise PermanentError(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}") from error
    if as_json:
        from daemon.cli.output import print_json

        print_json({"written": path.resolve()})
        return
    typer.echo(
        f"wrote {path}: name your model under [model] and your brokers under [kafka], then: upkeep run"
    )
