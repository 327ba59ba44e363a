"""Signals that interrupt a command: they are raised where it stands, and its exit code stays its own."""

import signal
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal that ends a command in good order.

    A plain KeyboardInterrupt that is raised inside an `exec` of text (imports of torch, dataclasses) makes CPython end `-m`
    programs by SIGINT, although it was caught: whoever started them sees -2 for our exit code. It looks for that very type.
    """


def raise_interrupted(_number: int, _frame: FrameType | None) -> None:
    """A signal handler.

    Raises:
        Interrupted: always.
    """
    raise Interrupted


def interrupt_on(*numbers: signal.Signals) -> None:
    """From now on these signals raise `Interrupted`; one that the parent has us ignore (nohup) stays ignored."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_interrupted)
