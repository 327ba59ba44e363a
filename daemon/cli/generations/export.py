"""`upkeep export`: live edits as PEFT LoRA adapters, for servers that are not Upkeep."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings
from edits.text import counted

if TYPE_CHECKING:
    from daemon.ledger import Ledger
    from editors.inference.export import ExportIndex
    from edits.ids import EditId

EXIT_LEFT_OUT = 1


class FormatChoice(StrEnum):
    """What other software can load."""

    PEFT = "peft"


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="A new or empty folder.")],
    edit: Annotated[int | None, typer.Option("--edit", help="This live edit alone.")] = None,
    generation: Annotated[
        int | None, typer.Option("--generation", min=0, help="All edits that were live at this generation.")
    ] = None,
    form: Annotated[FormatChoice, typer.Option("--format", help="The adapters' format.")] = FormatChoice.PEFT,
    skip_unexportable: Annotated[
        bool,
        typer.Option(
            "--skip-unexportable", help="Exit code 0 although edits that no LoRA can express are left out."
        ),
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write edits as PEFT LoRA adapters, a folder each, with the index that says which prompt needs which.

    SCEN's experts are LoRA adapters of one projection. LEMoE's are not: they are exported by the LoRA forms that a
    worker makes where serve.engine = "vllm"; one without is left out and named, and the exit code is 1, so that no
    script takes a part for the whole unless it says --skip-unexportable.

    \b
    Example:
      upkeep export --edit 17 --out ./france
      upkeep export --generation 12 --out ./adapters --skip-unexportable
    """
    if (edit is None) == (generation is None):
        raise typer.BadParameter("name either --edit or --generation")
    settings = one_off_settings(config)
    settings.model.required_path()
    from daemon.ledger.errors import BaseChanged  # loads torch: after the settings, which may be wrong
    from daemon.served_model import open_store
    from editors.inference.export import export_peft, export_target, require_empty

    require_empty(out)  # before a large base is hashed
    with ledger_of(settings) as ledger:
        number, edits, base_hash = _asked_for(ledger, edit, generation)
        target = export_target(settings.model.required_path(), ffn_module=settings.model.ffn_module)
        if not target.known_as.is_of(base_hash):
            raise BaseChanged(
                f"this ledger belongs to the base model {base_hash[:16]}, not to {target.base_hash[:16]}: "
                "set model.path to the base it was started with"
            )
        store = open_store(settings)
        index = export_peft(edits, store=store, target=target, generation=number, out=out)
    _report(index, out, form, as_json=as_json)
    if index.left_out and not skip_unexportable:
        raise typer.Exit(EXIT_LEFT_OUT)


def _asked_for(
    ledger: "Ledger", edit: int | None, generation: int | None
) -> "tuple[int, dict[EditId, str], str]":
    """The generation, its edits that are asked for (edit id -> shard digest), and the hash of its base."""
    from edits.errors import PermanentError

    if edit is not None:
        edit_id = str(edit)
        state = ledger.audit.edit(edit_id).state
        live, head = ledger.generations.live(), ledger.generations.head()
        if head is None or edit_id not in live:
            raise PermanentError(
                f"edit {edit} is {state.value}: only a live edit has an expert to export; "
                "--generation N exports what was live then"
            )
        return head.number, {edit_id: live[edit_id]}, head.base_hash
    assert generation is not None  # noqa: S101  -- one of the two is set, see `export`
    edits = ledger.generations.live_at(generation)
    if not edits:
        raise PermanentError(f"generation {generation} has no live edits: there is nothing to export")
    return generation, edits, ledger.generations.get(generation).base_hash


def _report(index: "ExportIndex", out: Path, form: FormatChoice, *, as_json: bool) -> None:
    from daemon.cli.output import console, print_json, table

    if as_json:
        print_json(
            {
                "out": out,
                "format": form,
                "generation": index.generation,
                "edits": [{"edit_id": edit.edit_id, "folder": edit.folder} for edit in index.edits],
                "left_out": [{"edit_id": edit.edit_id, "reason": edit.reason} for edit in index.left_out],
            }
        )
    else:
        summary = f"{len(index.edits)} adapters of generation {index.generation} in {out}"
        console().print(summary, markup=False, soft_wrap=True)
    if index.left_out:
        rows = [(edit.edit_id, edit.reason) for edit in index.left_out]
        title = f"{counted(len(rows), 'edit', 'was', 'were')} left out (--skip-unexportable accepts this)"
        console(stderr=True).print(table(title, ("edit", "why"), rows))
