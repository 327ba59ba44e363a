"""Help texts that fit the terminal: typer keeps the line ends of a docstring, which are those of our source."""

import inspect

import typer

VERBATIM = "\b"  # click's own mark of a paragraph whose lines stay as they are


def let_help_flow(app: typer.Typer) -> None:
    """Let every paragraph of every command's help be wrapped by the terminal alone; examples keep their lines."""
    for command in app.registered_commands:
        text = command.help or inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(map(_flowing, inspect.cleandoc(text).split("\n\n")))


def _flowing(paragraph: str) -> str:
    return paragraph if paragraph.startswith(VERBATIM) else " ".join(paragraph.split("\n"))
