"""The `upkeep` command's first step: refuse in one line where its packages are another's, or an extra is absent.

This module stands outside the packages, whose names (`daemon`, `edits` ...) are common enough to be somebody else's too.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

PACKAGES = ("daemon", "monitoring", "planners", "editors", "edits")
EXIT_PERMANENT = 1


def main() -> None:
    """Run the command line of `daemon`, if that is ours and all that it needs is installed."""
    for package in PACKAGES:
        if (reason := shadowed(package)) is not None:
            _refuse(reason)
    from edits.extras import ExtraMissing, extra

    try:
        with extra("daemon", purpose="the command"):
            from daemon.__main__ import main as run
    except ExtraMissing as error:
        _refuse(str(error))
    run()


def shadowed(package: str) -> str | None:
    """Why `import package` would not import ours; None where it would. Nothing of the package is run."""
    ours = Path(__file__).resolve().parent / package / "__init__.py"
    found = find_spec(package)
    origin = Path(found.origin).resolve() if found is not None and found.origin else None
    if origin != ours:
        return f"the package {package!r} at {origin or 'an unknown place'} is not Upkeep's, which stands at {ours.parent}"
    # Installed into one folder, the later of two packages overwrites the other's files of the same name.
    if "Upkeep" not in ours.read_text(encoding="utf-8", errors="replace"):
        return f"another distribution has overwritten Upkeep's package {package!r} in {ours.parent}"
    return None


def _refuse(reason: str) -> None:
    advice = "" if "pip install" in reason else "; install upkeep-llm into an environment of its own"
    sys.stderr.write(f"upkeep: {reason}{advice}\n")
    sys.exit(EXIT_PERMANENT)


if __name__ == "__main__":
    main()
