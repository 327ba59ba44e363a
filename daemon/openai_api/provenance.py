"""The headers that say where an answer comes from: the embedded server and the gateway write the same ones."""

from collections.abc import Sequence
from urllib.parse import quote

from edits.ids import EditId

EDIT_HEADER = "x-upkeep-edit"
GENERATION_HEADER = "x-upkeep-generation"
INDEX_HEADER = "x-upkeep-index"  # the gateway's: `stale` while the ledger cannot be followed
ADAPTER_HEADER = "x-upkeep-adapter"  # the gateway's: `failed` where the base answered in an adapter's place


def provenance_headers(generation: int, fired: Sequence[EditId | None]) -> dict[str, str]:
    """The generation and, if any edit fired, those that did, by prompt: `none` where none did, commas between."""
    headers = {GENERATION_HEADER: str(generation)}
    if any(edit_id is not None for edit_id in fired):
        headers[EDIT_HEADER] = ",".join(
            "none" if edit_id is None else quote(edit_id, safe="") for edit_id in fired
        )
    return headers
