"""The folder for temporary files, which torch, Prometheus' client and the supervisor need."""

import tempfile
from pathlib import Path

from edits.errors import PermanentError


class NoTemporaryFolder(PermanentError):
    """No folder for temporary files can be written."""


def require_temporary_folder() -> Path:
    """The folder.

    Raises:
        NoTemporaryFolder: as in a container with a read-only root and no volume at /tmp; libraries would say it otherwise.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise NoTemporaryFolder(
            f"no folder for temporary files can be written ({error.strerror}): mount one at /tmp, or set TMPDIR"
        ) from error
