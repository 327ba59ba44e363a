"""`upkeep assets`: write what Prometheus, Alertmanager, Grafana and a producer need out of the installed package."""

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import JsonOption
from edits.errors import PermanentError

# Of `monitoring/`, which a checkout and compose.yaml use where they stand; the same patterns are its package data.
PATTERNS = (
    *("prometheus/*.yml", "prometheus/rules/*.yml"),
    *("grafana/dashboards/*.json", "grafana/provisioning/*/*"),
)
SCHEMA = Path("fact-event.schema.json")


def assets(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to write them.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the dashboards, alert rules and examples of settings that come with Upkeep.

    prometheus/ holds scraping, rules and Alertmanager's routes; grafana/ dashboards and their provisioning;
    fact-event.schema.json is what an event must look like.

    \b
    Example:
      upkeep assets monitoring
    """
    contents = dict(_contents())
    there = [path for path in contents if (folder / path).exists()]
    if there and not force:
        raise PermanentError(f"{folder / there[0]} is there already; --force replaces it")
    try:
        for path, content in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    except OSError as error:
        raise PermanentError(f"{folder} cannot be written: {error.strerror}") from error
    if as_json:
        from daemon.cli.output import print_json

        print_json({"written": [(folder / path).resolve() for path in contents]})
        return
    typer.echo(f"wrote {len(contents)} files to {folder}")


def _contents() -> Iterator[tuple[Path, bytes]]:
    """Each file's place under the folder, and what stands in it."""
    import json

    from daemon.events.fact_event import event_json_schema

    with as_file(files("monitoring")) as source:
        for pattern in PATTERNS:
            for path in sorted(source.glob(pattern)):
                yield path.relative_to(source), path.read_bytes()
    schema = json.dumps(event_json_schema(), indent=2, ensure_ascii=False) + "\n"
    yield SCHEMA, schema.encode()
