"""The index's compact structures answer as plain ones do, whatever is added and removed, and long texts stay cheap."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from editors import load_base
from editors.adapters.bank import ExpertRow
from editors.index.head import Questions
from editors.index.matcher import QuestionMatcher
from editors.index.relations import MAX_PHRASINGS, RelationPhrasings
from editors.index.vectors import VectorRows
from editors.index.wording.questions import find_name, readings
from editors.routing.agreement import read_pairs
from editors.routing.scope_router import MAX_CANDIDATES, ScopeRouter
from editors.store.derived_index import TEXT_VECTORS
from editors.store.header import IndexedQuestion, ShardEntry, ShardHeader
from editors.store.packed import BLOCK, PackedRows
from editors.store.shards import Shard
from edits.names.articles import spoken_forms
from edits.names.by_key import EditsByKey
from edits.names.near import NearNames
from edits.names.surface import SurfaceIndex, Words, read_text, words_of
from edits.recency import arrival

DEMO = Path(__file__).parents[3] / "demo" / "base"
WORDS = ("new", "york", "city", "Yorks", "12", "old", "東京", "the", "C++")
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
IDS = st.sampled_from(["1", "2", "10", "007", "a", "b"])
STEPS = st.lists(st.tuples(st.booleans(), IDS, NAMES), max_size=30)


class Texts(QuestionMatcher):
    """Counts what is encoded; a text's vector is its length. No encoder is needed to see which texts are chosen."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: "list[str]") -> Questions:  # type: ignore[override]
        self.encoded += texts
        return Questions(texts, torch.tensor([[float(len(text))] for text in texts]))


def rows(*texts: str) -> list[tuple[str, VectorRows]]:
    """Texts as a shard of their own brings them."""
    questions = [IndexedQuestion(text=text) for text in texts]
    tensors = {TEXT_VECTORS: torch.tensor([[float(len(text))] for text in texts])}
    return [(text, VectorRows(tensors, questions, n)) for n, text in enumerate(texts)]


@given(STEPS)
def test_edits_by_key_are_those_that_were_added_and_not_removed_oldest_first(
    steps: list[tuple[bool, str, str]],
) -> None:
    held: EditsByKey[str] = EditsByKey()
    plain: defaultdict[str, set[str]] = defaultdict(set)
    for adds, edit_id, key in steps:
        changed = (edit_id not in plain[key]) is adds
        assert (held.add if adds else held.remove)(key, edit_id) is changed
        (plain[key].add if adds else plain[key].discard)(edit_id)
        assert list(held.get(key)) == sorted(plain[key], key=arrival)
    assert len(held) == sum(bool(ids) for ids in plain.values())


@given(STEPS, st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_names_are_found_as_by_looking_for_each(steps: list[tuple[bool, str, str]], text: str) -> None:
    index, plain = SurfaceIndex(), set[tuple[str, tuple[str, ...]]]()
    for adds, edit_id, name in steps:
        (index.add if adds else index.remove)(edit_id, [name])
        for spoken in spoken_forms([name]):
            (plain.add if adds else plain.discard)((edit_id, words_of(spoken)))
    there = words_of(text)
    expected: dict[str, int] = {}
    for edit_id, words in plain:
        if any(there[n : n + len(words)] == words for n in range(len(there))):
            expected[edit_id] = max(len(words), expected.get(edit_id, 0))
    assert index.find(text) == expected


@given(STEPS, st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))
def test_near_names_are_those_of_an_index_that_never_had_the_others(
    steps: list[tuple[bool, str, str]], text: str
) -> None:
    used, live = NearNames(), dict[str, str]()
    for adds, edit_id, name in steps:
        live.pop(edit_id, None)
        if adds:
            live[edit_id] = name
            used.add(edit_id, name, required={"york"})
        else:
            used.remove(edit_id)
    fresh = NearNames()
    for edit_id, name in live.items():
        fresh.add(edit_id, name, required={"york"})
    found = used.find(text, least=0.5)
    assert found == fresh.find(text, least=0.5)
    assert all(used.words_in(text, one.edit_id) == fresh.words_in(text, one.edit_id) for one in found)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sets(st.sampled_from("abcdef"), min_size=1))))
def test_a_relation_has_the_phrasings_that_most_live_edits_bring(
    steps: list[tuple[bool, int, set[str]]],
) -> None:
    matcher = Texts()
    relation, live = RelationPhrasings(matcher), dict[int, list[tuple[str, VectorRows]]]()
    for adds, edit, texts in steps:
        if edit in live:
            relation.remove("r", live.pop(edit))
        if adds:
            live[edit] = rows(*sorted(texts))
            relation.add("r", live[edit])
        counts = Counter(text for brought in live.values() for text, _ in brought)
        expected = sorted(counts, key=lambda text: (-counts[text], text))
        found = relation.questions("r")
        assert (found is None) if not live else (found is not None and list(found.texts) == expected)


def test_a_phrasing_outlives_the_edit_that_brought_its_vector_without_that_edits_files() -> None:
    matcher = Texts()
    relation = RelationPhrasings(matcher)
    first, second = rows("who is x?"), rows("who is x?")
    relation.add("r", first)
    relation.add("r", second)
    first[0][1].tensors.clear()  # type: ignore[attr-defined]  # its shard is swept
    relation.remove("r", first)
    found = relation.questions("r")
    assert found is not None
    assert found.vectors.tolist() == [[9.0]]
    assert matcher.encoded == ["who is x?"]


def test_packed_rows_are_the_rows_that_were_packed() -> None:
    plain = tuple(IndexedQuestion(text=f"é {n}", edit_id=str(n)) for n in range(3 * BLOCK + 1))
    packed = PackedRows(IndexedQuestion, plain)
    assert tuple(packed) == plain
    assert packed == plain
    assert packed[-1] == plain[-1]
    assert packed[BLOCK - 1 : BLOCK + 2] == plain[BLOCK - 1 : BLOCK + 2]
    with pytest.raises(IndexError):
        packed[len(plain)]


@given(
    st.lists(st.sampled_from(("a", "b", "c")), max_size=12).map(tuple),
    st.sets(st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=3).map(tuple), max_size=4),
)
def test_names_in_a_text_never_overlap_and_the_longest_wins(text: Words, names: set[Words]) -> None:
    read = read_text(" ".join(text))
    expected: list[tuple[int, int]] = []
    for length in (3, 2, 1):
        for first in range(len(text) - length + 1):
            free = not any(a < first + length and first < b for a, b in expected)
            if text[first : first + length] in names and free:
                expected.append((first, first + length))
    found = [(one.start // 2, (one.end + 1) // 2) for one in find_name(read, names)]
    assert found == sorted(expected)


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def test_hostile_prompts_of_a_million_characters_are_read_in_a_moment() -> None:
    aliases = [(f"alias{n}", *["of"] * (n % 5)) for n in range(64)]
    for text in ("alias1. " * 130_000, "x! " * 350_000, "alias2 it " * 100_000, "." * 1_000_000):
        assert seconds(partial(readings, [text, text], aliases)) < 2.0


def test_approximate_names_in_a_long_text_cost_a_bounded_time() -> None:
    names = NearNames()
    for n in range(40_000):
        names.add(str(n), f"w{n % 997}a{n} v{n % 991}b{n}", required=())
    text = " ".join(f"w{n % 997}a{n}x v{n % 991}b{n}y" for n in range(0, 40_000, 10))
    assert seconds(lambda: names.find(text, least=0.7)) < 4.0


def test_a_phrasing_more_costs_as_much_in_a_relation_of_very_many() -> None:
    matcher = Texts()
    relation = RelationPhrasings(matcher)
    for n in range(50_000):
        relation.add("r", rows(f"{n} x?"))

    def one_more(n: int) -> None:
        relation.add("r", rows(f"more {n} x?"))
        found = relation.questions("r")
        assert found is not None
        assert len(found) == MAX_PHRASINGS

    one_more(0)
    assert seconds(lambda: [one_more(n) for n in range(1, 101)]) < 1.0


def test_of_very_many_edits_of_one_subject_the_newest_are_candidates_at_once() -> None:
    base = load_base(DEMO, device="cpu")
    entries = tuple(
        ShardEntry(edit_id=str(n), surface_forms=("Norland",), base_answer_ids=(1,), threshold=0.5)
        for n in range(10_000)
    )
    header = ShardHeader(editor="scen", base_hash=base.hash, layer=base.layer, settings={}, entries=entries)
    names = SurfaceIndex()
    router = ScopeRouter(partial(read_pairs, base), names)
    for row, entry in enumerate(entries):
        names.add(entry.edit_id, entry.surface_forms)
        router.add(entry.edit_id, ExpertRow(Shard(header, {}), row))
    found = router.candidates(["What is the capital of Norland?"])
    assert [one.edit_id for one in found] == [str(n) for n in range(9_999, 9_999 - MAX_CANDIDATES, -1)]
    assert seconds(lambda: [router.candidates(["Where is Norland?"]) for _ in range(100)]) < 1.0


def test_what_names_cost_in_a_long_text_is_a_small_multiple_of_a_short_one() -> None:
    near, surface = NearNames(), SurfaceIndex()
    vocabulary = [
        f"{a}{b}{c}{d}"
        for a in "bdfg"
        for b in "aeiou"
        for c in "klmnprst"
        for d in ("ten", "vor", "sha", "qui")
    ]
    names = [
        f"{vocabulary[n % 640]}{n // 20} {vocabulary[n * 7 % 640]}{n % 97} {vocabulary[n * 13 % 640]}"
        for n in range(100_000)
    ]
    for n, name in enumerate(names):
        near.add(str(n), name, required=())
        surface.add(str(n), [name])
    for n in range(1, 200):  # names that begin with one another
        surface.add(f"a{n}", [" ".join(["a"] * n)])

    def cost(text: str) -> float:
        def ask() -> None:
            read_text.cache_clear()
            near.find(text, least=0.7)
            surface.names_in(text)

        return min(seconds(ask) for _ in range(3))

    short = max(cost(" ".join(names[n : n + 8])[:100]) for n in range(0, 100_000, 20_000))
    every = " ".join(names[::40])[:8192]
    changed = " ".join(f"{name[:4]}x{name[5:]}" for name in names[::40])[:8192]
    for text in (
        every,
        changed,
        "a " * 4096,
        "a b " * 2048,
        "!! " * 2700,
        "é" + "a " * 4095,
        vocabulary[0] * 1000,
    ):
        assert cost(text[:8192]) <= max(20 * short, 0.03), text[:20]
