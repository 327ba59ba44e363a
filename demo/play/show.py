"""What the reader sees while the demo plays: a line for everything that happens, on a terminal bars below."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from daemon.cli.output import shown


class Show:
    """Prints to a console; where that is no terminal there are lines only, so that a log stays readable."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._started = clock()
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description:<24}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._taken = self._bars.add_task("records taken in", total=None)
            self._settled = self._bars.add_task("edits settled", total=None)

    def __enter__(self) -> "Show":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._started

    def say(self, stage: str, text: str, *, style: str = "") -> None:
        """One line: when, which part of Upkeep, what."""
        line = Text.assemble(
            (f"{self.seconds:6.1f} s  ", "dim"), (f"{stage:<10}  ", "bold"), (shown(text), style)
        )
        self.console.print(line, soft_wrap=True)

    def more(self, text: str) -> None:
        """One line that belongs to the last."""
        self.console.print(Text(f"{'':22}{shown(text)}", "dim"), soft_wrap=True)

    def figures(self, *, taken: int, published: int, settled: int, accepted: int) -> None:
        """Where the bars stand."""
        if self._bars is not None:
            self._bars.update(self._taken, completed=taken, total=published)
            self._bars.update(self._settled, completed=settled, total=accepted)
