"""The worker on the demo's base and a real ledger: what may go live does, once; nothing is lost when something breaks."""

import json
from pathlib import Path

import pytest
from support.ledger.ledger_backends import Clock, Story, database_of
from support.worker_support import BASE, FRANCE, Shop, fact

from daemon.events.templates import BadTemplates
from daemon.ledger import Ledger
from daemon.ledger.errors import NotInLedger
from daemon.ledger.publication.reversals import Reversals
from daemon.ledger.values import Act, Generation
from editors.methods.registry import build_editor
from editors.pretrained.hashing import hash_folder
from editors.store.adapter_store import AdapterStore
from editors.store.shards import Shard


@pytest.fixture
def story(ledger: Ledger, clock: Clock) -> Story:
    return Story(ledger, clock, base_hash=hash_folder(BASE))


@pytest.fixture
def shop(story: Story, tmp_path: Path) -> Shop:
    return Shop(story, tmp_path)


def test_a_fact_goes_live_is_replaced_retracted_and_every_generation_can_be_asked_again(shop: Shop) -> None:
    before = shop.ask(FRANCE)
    first = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    shop.work()
    second = shop.story.plan_urgently(fact("France", FRANCE, "Nice"), editor="lemoe")
    shop.work()
    assert (shop.states(first), shop.states(second), shop.ask(FRANCE)) == (["superseded"], ["live"], "Nice")
    gone = shop.story.plan_urgently(fact("France", FRANCE, None), editor=None)
    shop.work()
    assert (shop.states(second), shop.states(gone), shop.ask(FRANCE)) == (
        ["retracted"],
        ["retracted"],
        before,
    )
    served = shop.served()
    answered = []
    for number in range(4):
        with served.at(number):
            answered.append(served.generate([FRANCE], max_new_tokens=16)[0].text)
    assert answered == [before, "Lyon", "Nice", before]
    with pytest.raises(NotInLedger), served.at(42):
        pass


def test_an_edit_request_has_the_phrasings_of_its_relation_that_the_event_does_not_bring(shop: Shop) -> None:
    (edit,) = shop.story.arrive(fact("France", FRANCE, "Lyon", rephrase_prompts=["France's capital is"]))
    known = (FRANCE, "Which town is the capital of France?", "France's capital is")
    assert edit.request().phrasings == ()
    assert edit.request(known).phrasings == ("Which town is the capital of France?",)
    assert edit.request(known).rephrase_prompts == ("France's capital is",)


def test_a_worker_does_not_start_with_templates_that_it_cannot_read(story: Story, tmp_path: Path) -> None:
    path = tmp_path / "templates.toml"
    path.write_text('capital = ["The capital is"]')
    with pytest.raises(BadTemplates, match="subject"):
        Shop(story, tmp_path, consumer={"templates": str(path)})


@pytest.mark.parametrize("aliases", [["capital of France"], ["of France"]])
def test_a_longer_name_for_something_else_does_not_silence_an_earlier_edit(
    shop: Shop, aliases: list[str]
) -> None:
    early = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    shop.work()
    late = shop.story.plan_urgently(
        fact("Mona Lisa", "The Mona Lisa was painted by", "Monet", aliases=aliases)
    )
    shop.work()
    assert shop.states(early) == ["live"]
    assert shop.ask(FRANCE) == "Lyon"
    assert shop.states(late) == ["live"]
    assert shop.ask("The Mona Lisa was painted by") == "Monet"


def test_what_its_editor_cannot_learn_gets_an_expert_of_its_own(story: Story, tmp_path: Path) -> None:
    shop = Shop(story, tmp_path, editors={"lemoe": {"max_steps": 1}})
    edits = shop.story.plan_urgently(
        fact("France", FRANCE, "Lyon"), fact("Japan", "The capital of Japan is", "Osaka"), editor="lemoe"
    )
    shop.work()
    assert shop.states(edits) == ["live", "live"]
    assert (shop.ask(FRANCE), shop.ask("The capital of Japan is")) == ("Lyon", "Osaka")


def test_a_fact_that_one_training_does_not_teach_is_trained_once_more_with_more_steps(
    story: Story, tmp_path: Path
) -> None:
    few = {"max_steps": 5, "min_steps": 1}
    shop = Shop(story, tmp_path, editors={"scen": few})
    edits = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"), editor="scen")
    model = shop.served().edited
    requests = [edit.request() for edit in edits]
    model.enable(build_editor("scen", few).apply(requests, base=model.base, parent=model))
    assert model.generate([FRANCE])[0].text != "Lyon"
    shop.work()
    assert (shop.states(edits), shop.ask(FRANCE)) == (["live"], "Lyon")


def test_what_cannot_be_learned_is_rejected_with_its_reason_and_the_rest_goes_live(
    story: Story, tmp_path: Path
) -> None:
    shop = Shop(story, tmp_path, model={"path": str(BASE), "max_new_tokens": 6})
    long_target = " ".join(["Lyon"] * 40)
    long_prompt = f"{'7 ' * 900}The capital of Japan is"
    edits = shop.story.plan_urgently(
        fact("Spain", "The capital of Spain is", long_target),
        fact("Japan", long_prompt, "Osaka"),
        fact("France", FRANCE, "Lyon", rephrase_prompts=[f"{'7 ' * 900}{FRANCE}"]),
    )
    shop.work()
    assert shop.states(edits) == ["rejected", "rejected", "live"]
    reasons = [story.ledger.audit.edit(edit.id).reason or "" for edit in edits[:2]]
    assert "max_new_tokens is 6" in reasons[0]
    assert "shorten it" in reasons[1]


@pytest.mark.parametrize("at_once", [0, 1_000], ids=["by reference", "in one transaction"])
def test_a_batch_is_verified_again_on_top_of_what_others_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    reversals = Reversals(database_of(shop.story.ledger), shop.story.clock, at_once=at_once)
    shop.story.plan_urgently(fact("Spain", "The capital of Spain is", "Seville"))
    shop.work()
    save, moved = AdapterStore.save, list[Generation]()

    def save_late(store: AdapterStore, shard: Shard) -> str:
        if not moved:  # meanwhile somebody takes Spain back
            moved.append(reversals.rollback(0, Act("test", "test")))
            assert (reversals.unfinished() is not None) == (at_once == 0)
        return save(store, shard)

    monkeypatch.setattr(AdapterStore, "save", save_late)
    edits = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    shop.work()
    assert shop.states(edits) == ["live"]
    assert [moved[0].number, shop.story.head()] == [2, 3]
    assert (shop.ask(FRANCE), shop.ask("The capital of Spain is")) == ("Lyon", "Madrid")


def test_a_worker_writes_down_what_a_rollback_changed_before_it_does_anything_else(shop: Shop) -> None:
    spain = shop.story.plan_urgently(fact("Spain", "The capital of Spain is", "Seville"))
    shop.work()
    france = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    Reversals(database_of(shop.story.ledger), shop.story.clock, at_once=0).rollback(0, Act("test", "test"))
    assert (shop.states(spain), shop.ask("The capital of Spain is")) == (["live"], "Madrid")
    assert shop.worker.work_once()
    assert (shop.states(spain), shop.states(france)) == (["retracted"], ["planned"])
    shop.work()
    assert shop.states(france) == ["live"]


def test_a_store_that_refuses_costs_no_edit_and_work_goes_on_when_it_is_mended(
    shop: Shop, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("in the way")
    edits = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    for _ in range(2 * shop.settings.verify.max_attempts):
        shop.attempt()
        assert shop.states(edits) == ["planned"]
    (tmp_path / "store").unlink()
    shop.attempt()
    assert shop.states(edits) == ["live"]
    assert (shop.ended("put_off"), shop.ended("published")) == (2 * shop.settings.verify.max_attempts, 1)


def test_a_batch_whose_workers_die_is_split_and_the_edit_left_alone_quarantined_and_nothing_is_put_off(
    shop: Shop,
) -> None:
    def workers_die() -> None:
        for _ in range(shop.settings.verify.max_attempts):
            shop.story.claim()
            shop.story.clock.advance(3600)

    edits = shop.story.plan_urgently(
        fact("France", FRANCE, "Lyon"), fact("Japan", "The capital of Japan is", "Osaka")
    )
    workers_die()
    shop.attempt()
    assert (shop.states(edits), shop.ended("split")) == (["planned", "planned"], 1)
    workers_die()
    shop.attempt()
    assert (shop.states(edits), shop.ended("quarantined")) == (["quarantined", "planned"], 1)
    shop.attempt()
    assert shop.states(edits) == ["quarantined", "live"]
    assert (shop.ended("put_off"), shop.ended("lease_lost"), shop.ended("published")) == (0, 0, 1)


def test_a_probe_that_the_base_cannot_read_stops_neither_checks_nor_batches(
    story: Story, tmp_path: Path
) -> None:
    probes = tmp_path / "probes.jsonl"
    lines = [{"prompt": "word " * 1500}, {"prompt": "The opposite of hot is"}]
    probes.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shop = Shop(story, tmp_path, monitoring={"suites": {"news": str(probes)}})
    edits = shop.story.plan_urgently(fact("France", FRANCE, "Lyon"))
    shop.work()
    story.ledger.checks.request("news", "test")
    shop.work()
    (result,) = story.ledger.checks.latest()
    assert (shop.states(edits), result.suite, result.passed, result.probes) == (["live"], "news", True, 1)


def test_a_check_that_cannot_be_run_is_closed_and_the_batches_behind_it_are_worked_on(shop: Shop) -> None:
    shop.story.ledger.checks.request("no such suite", "test")
    edits = shop.story.arrive(fact("France", FRANCE, "Lyon"))
    shop.story.plan(edits)
    shop.work()
    assert shop.states(edits) == ["live"]
    assert shop.story.ledger.checks.claim("w", lease_seconds=1) is None
