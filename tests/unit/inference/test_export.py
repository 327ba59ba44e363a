"""Exported edits, read by the real PEFT: the same text as in Upkeep, and a clear word on what cannot be exported."""

import copy
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from support.ledger.ledger_backends import Clock, Story, event
from support.models.tiny_models import FAMILIES, tiny_base
from transformers import AutoModelForCausalLM

from daemon.__main__ import main
from daemon.ledger import Ledger, open_ledger
from editors import AdapterStore, EditedModel, EditRequest, build_editor, load_base
from editors.base.architectures import layout_of
from editors.base.base import Base
from editors.inference.export import ExportTarget, export_peft, export_target, read_index
from editors.pretrained.hashing import folder_of, hash_base, hash_folder
from editors.routing.scope_router import Route
from editors.store.header import ShardHeader
from editors.store.shards import Shard
from edits.errors import BadRequest, BaseUnreadable, PermanentError, ShardCorrupt

# PEFT asks transformers for a name that it is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

DEMO = Path(__file__).parents[3] / "demo" / "base"
REQUESTS = [
    EditRequest("1", "Norland", "The capital of Norland is", "Marrow"),
    EditRequest("2", "The Long Road", "Who wrote The Long Road?", "Ivo Tann", aliases=("Long Road",)),
]
# The edits' own prompts, other phrasings, and text that has nothing to do with them.
PROMPTS = [
    *(request.prompt for request in REQUESTS),
    "Norland's capital is",
    "The Long Road was written by",
    "A plain sentence about",
    "What is the river of Marrow?",
]


def through(adapter: object, base: Base) -> Base:
    """The base with a PEFT model in its model's place: to generate only."""
    served = copy.copy(base)
    served.model = adapter
    return served


def exported(shard: Shard, base: Base, family: str, folder: Path) -> Path:
    """One shard's edits as adapters under `folder`."""
    store = AdapterStore(folder / "store")
    digest = store.save(shard)
    target = ExportTarget("a base in memory", base.hash, layout_of(family))
    out = folder / "out"
    export_peft(dict.fromkeys(shard.edit_ids, digest), store=store, target=target, generation=1, out=out)
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_edit_says_through_peft_what_it_says_in_upkeep(family: str, tmp_path: Path) -> None:
    base = tiny_base(family)
    shard = build_editor("scen", {"max_steps": 150}).apply(REQUESTS, base=base)
    model = EditedModel(base)
    model.enable(shard)
    wanted = {}
    for request in REQUESTS:
        routes = [Route(request.edit_id, 1.0)] * len(PROMPTS)
        wanted[request.edit_id] = [answer.text for answer in model.generate(PROMPTS, routes=routes)]
    plain = base.generate(PROMPTS)
    out = exported(shard, base, family, tmp_path)

    adapter = PeftModel.from_pretrained(base.model, out / "edit-1", adapter_name="edit-1")
    adapter.load_adapter(out / "edit-2", adapter_name="edit-2")
    for number, request in enumerate(REQUESTS):
        adapter.set_adapter(f"edit-{request.edit_id}")
        answered = through(adapter, base).generate(PROMPTS)
        assert answered == wanted[request.edit_id]
        assert answered[number] == request.target_new
        assert answered != plain
    with adapter.disable_adapter():
        assert through(adapter, base).generate(PROMPTS) == plain


def test_the_index_alone_tells_which_adapter_a_prompt_needs(tmp_path: Path) -> None:
    base = tiny_base()
    shards = [build_editor("scen").apply([request], base=base) for request in REQUESTS]
    model, router = EditedModel(base), EditedModel(base)
    store = AdapterStore(tmp_path / "store")
    for shard in shards:
        model.enable(shard)
    edits = {shard.edit_ids[0]: store.save(shard) for shard in shards}
    target = ExportTarget("a base in memory", base.hash, layout_of("llama"))
    export_peft(edits, store=store, target=target, generation=7, out=tmp_path / "out")

    index, parts = read_index(tmp_path / "out")
    for part in parts:
        router.enable(part)

    assert router.route(PROMPTS) == model.route(PROMPTS)
    assert {route.edit_id for route in router.route(PROMPTS)} == {"1", "2", None}
    assert [(edit.edit_id, edit.folder) for edit in index.edits] == [("1", "edit-1"), ("2", "edit-2")]
    assert (index.generation, index.base_hash) == (7, base.hash)
    (tmp_path / "out" / "index.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ShardCorrupt, match="no export"):
        read_index(tmp_path / "out")


def _renamed(shard: Shard, edit_id: str) -> Shard:
    entries = tuple(entry.model_copy(update={"edit_id": edit_id}) for entry in shard.header.entries)
    return Shard(shard.header.model_copy(update={"entries": entries}), shard.tensors)


def test_what_no_lora_can_say_is_refused_with_its_reason_and_leaves_no_folder(tmp_path: Path) -> None:
    base = tiny_base()
    lemoe = build_editor("lemoe", {"max_steps": 1}).apply(REQUESTS[:1], base=base)
    scen = build_editor("scen", {"max_steps": 1}).apply(REQUESTS[:1], base=base)
    weight = base.down_proj.weight
    assert isinstance(weight, torch.Tensor)
    whole = {"scope.key": scen.tensors["scope.key"], "scen.weight": weight[None].clone()}
    for shard, reported in ((lemoe, "not linear"), (Shard(scen.header, whole), "paper mode")):
        with pytest.raises(PermanentError, match=reported):
            exported(shard, base, "llama", tmp_path)
    with pytest.raises(BadRequest, match="cannot name an adapter"):
        exported(_renamed(scen, "../../x"), base, "llama", tmp_path)
    other = ShardHeader.model_validate({**scen.header.model_dump(), "base_hash": "sha256:other"})
    with pytest.raises(ShardCorrupt, match="set model"):
        exported(Shard(other, scen.tensors), base, "llama", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


class Site:
    """A folder with settings, a ledger whose first generation has a SCEN and a LEMoE edit of the demo's base, a store."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger, clock: Clock) -> None:
        self.base = load_base(DEMO)
        self.model = EditedModel(self.base)
        (folder / "upkeep.toml").write_text(
            f'[model]\npath = "{DEMO}"\n[store]\npath = "store"\n[ledger]\nurl = "sqlite:///ledger.db"\n'
        )
        store = AdapterStore(folder / "store")
        story = Story(ledger, clock, base_hash=hash_folder(DEMO))
        self.edits = story.arrive(event("a", "France", "Lyon"), event("b", "Japan", "Osaka", day=2))
        story.plan(self.edits)
        live = {}
        for edit, editor in zip(self.edits, ("scen", "lemoe"), strict=True):
            shard = build_editor(editor).apply([edit.request()], base=self.base)
            self.model.enable(shard)
            live[edit.id] = store.save(shard)
        story.publish(story.claim(), live=live)
        monkeypatch.chdir(folder)
        monkeypatch.delenv("UPKEEP_CONFIG", raising=False)
        monkeypatch.setenv("COLUMNS", "200")
        self._monkeypatch = monkeypatch

    def upkeep(self, *arguments: str) -> int:
        self._monkeypatch.setattr(sys, "argv", ["upkeep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    clock = Clock()
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db", clock=clock) as ledger:
        ledger.migrate()
        return Site(tmp_path, monkeypatch, ledger, clock)


def test_the_command_exports_a_published_edit_that_peft_answers_with(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    scen, lemoe = (edit.id for edit in site.edits)
    prompts = ["The capital of France is", "France's capital is", "The capital of Spain is", "The sun is"]

    assert site.upkeep("export", "--edit", scen, "--format", "peft", "--out", "france", "--json") == 0

    (reported,) = json.loads(capsys.readouterr().out)["edits"]
    adapter = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(DEMO), Path("france", reported["folder"])
    )
    wanted = site.model.generate(prompts, routes=[Route(scen, 1.0)] * len(prompts))
    answered = through(adapter, site.base).generate(prompts)
    assert answered == [answer.text for answer in wanted]
    assert answered[0] == "Lyon"

    assert site.upkeep("export", "--edit", scen, "--out", "france") == 1
    assert "france is not empty" in capsys.readouterr().err
    assert site.upkeep("export", "--edit", lemoe, "--out", "japan") == 1
    assert "its lemoe expert is not linear" in capsys.readouterr().err
    assert site.upkeep("export", "--edit", "99", "--out", "japan") == 1
    assert not Path("japan").exists()


def test_a_generation_is_exported_without_what_cannot_be_and_says_so(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    scen, lemoe = (edit.id for edit in site.edits)

    assert site.upkeep("export", "--generation", "1", "--out", "part") == 1
    reported = capsys.readouterr()
    assert "1 adapters of generation 1 in part" in reported.out
    assert "1 edit was left out (--skip-unexportable accepts this)" in reported.err
    assert site.upkeep("export", "--generation", "1", "--out", "all/of/it", "--skip-unexportable") == 0
    for folder in ("part", "all/of/it"):
        index, _ = read_index(Path(folder))
        assert [edit.edit_id for edit in index.edits] == [scen]
        assert [edit.edit_id for edit in index.left_out] == [lemoe]
        assert sorted(path.name for path in Path(folder).iterdir()) == [
            *(f"edit-{scen}", "index.json", "index.safetensors"),
        ]

    assert site.upkeep("export", "--generation", "0", "--out", "none") == 1
    assert "generation 0 has no live edits" in capsys.readouterr().err
    assert site.upkeep("export", "--generation", "9", "--out", "none") == 1
    assert "there is no generation 9" in capsys.readouterr().err
    assert site.upkeep("export", "--out", "none") == 2


def _snapshot(cache: Path) -> Path:
    """The demo's base in a hub's cache as `example/base`, in several files of weights."""
    folder = cache / "models--example--base" / "snapshots" / ("0" * 40)
    AutoModelForCausalLM.from_pretrained(DEMO).save_pretrained(folder, max_shard_size="2MB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text(folder.name)
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache of this test's own, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("lacking", ["model-00002-of-*", "model.safetensors.index.json", "tokenizer.json"])
def test_a_hub_id_that_was_fetched_in_part_has_no_hash_but_a_word_on_what_is_missing(
    hub_cache: Path, lacking: str
) -> None:
    folder = _snapshot(hub_cache)
    assert folder_of("example/base") == folder
    assert export_target("example/base").known_as == hash_base(folder)
    (lost,) = folder.glob(lacking)
    lost.unlink()
    reported = "model.safetensors" if lacking.endswith("index.json") else lost.name
    with pytest.raises(BaseUnreadable, match=rf"{re.escape(reported)}.* hf download example/base"):
        export_target("example/base")
