"""The table of contents: every command of `upkeep`, under the panel of `--help` in which it stands."""

import typer

from daemon.cli.answers.ask import ask
from daemon.cli.answers.evaluate import evaluate
from daemon.cli.answers.why import why
from daemon.cli.facts.dead_letters import dead_letters
from daemon.cli.facts.facts import facts
from daemon.cli.facts.submit import submit
from daemon.cli.generations.audit import audit
from daemon.cli.generations.check import check
from daemon.cli.generations.export import export
from daemon.cli.generations.log import diff, log
from daemon.cli.generations.rollback import rollback
from daemon.cli.running.assets import assets
from daemon.cli.running.roles import console, consume, gateway, run, schedule, serve, worker
from daemon.cli.running.setup import init
from daemon.cli.running.status import status
from daemon.cli.training.approve import approve
from daemon.cli.training.cycle import apply, hold, release
from daemon.cli.training.plan import plan
from daemon.cli.training.reindex import reindex
from daemon.cli.training.repair import repair
from daemon.cli.training.retry import retry

PANELS = {
    "Start": (init, assets),
    "Run": (run, consume, schedule, worker, serve, gateway, console),
    "Facts": (submit, ask, why, status, log, diff, facts, dead_letters, export),
    "Maintenance": (
        *(plan, apply, check, hold, release),
        *(retry, rollback, audit, approve, reindex, repair),
    ),
    "Measure": (evaluate,),
}


def add_commands(app: typer.Typer) -> None:
    """Each command under its function's name."""
    for panel, commands in PANELS.items():
        for command in commands:
            app.command(command.__name__.replace("_", "-"), rich_help_panel=panel)(command)
