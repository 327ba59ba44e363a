"""What of a hub id lies on this machine, and whether the hub can be reached: asked once, before much is fetched."""

from pathlib import Path

from editors.pretrained.hashing import missing_files
from edits.errors import first_line

CONNECT_SECONDS = 5.0


def find_snapshot(hub_id: str) -> Path | None:
    """The folder in the hub's cache with the weights and the tokenizer of a hub id; None: not all is there. No network."""
    from transformers.utils import cached_file

    found = cached_file(
        hub_id,
        "config.json",
        local_files_only=True,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    folder = None if found is None else Path(str(found)).parent
    return folder if folder is not None and not missing_files(folder) else None


def require_hub(hub_id: str) -> None:
    """One short try at the hub: its client tries every file again and again, which takes minutes without a network.

    Raises:
        ConnectionError: no answer, or the server's that it cannot work.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(hub_id, "config.json"), timeout=CONNECT_SECONDS)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code < 500:
            return  # it answers: whoever loads the files says best what is wrong with them
        raise ConnectionError(f"the hub answers {first_words(error)}") from error
    except Exception as error:  # which client it has, and so what it raises, changes with its releases
        raise ConnectionError(
            f"it is not in the hub's cache, and the hub cannot be reached ({first_words(error)})"
        ) from error


def first_words(error: Exception) -> str:
    """An error's first line, shortened; its name, where it says nothing."""
    return first_line(error)[:200] or type(error).__name__
