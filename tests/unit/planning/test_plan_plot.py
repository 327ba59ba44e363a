"""The plot of a plan: well-formed, harmless whatever the events say, and complete."""

from dataclasses import replace
from xml.etree import ElementTree

from support.planning_support import make, pending, world

from planners import ShownChange, ShownConflict, render_plot

SVG = "{http://www.w3.org/1999/xhtml}"
HOSTILE = '</title><script>alert("x")</script><img src=x onerror=y>&#0;\x0b\u202e'


def drawn(page: str, attribute: str) -> list[int]:
    """The batches that the page draws, by what marks them."""
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314 -- our own page
    return [int(group.attrib[attribute]) for group in root.iter(f"{SVG}g") if attribute in group.attrib]


def test_every_batch_is_drawn_in_its_order_and_every_clustered_one_in_the_map() -> None:
    edits = [*world(200), pending(900, "U", urgent=True), pending(901, "R", op="retract")]
    draft = make(edits, batch_size=20)
    page = render_plot(draft, {edit.edit_id: edit.subject for edit in edits})
    assert drawn(page, "data-sequence") == list(range(len(draft.batches)))
    assert drawn(page, "data-batch") == list(range(2, len(draft.batches)))
    assert page.count("<circle") == 200
    assert "Thing7" in page


def test_what_events_say_stays_text() -> None:
    edits = [replace(edit, subject=HOSTILE) for edit in world(30)]
    page = render_plot(make(edits, batch_size=5), {edit.edit_id: edit.subject for edit in edits})
    assert drawn(page, "data-sequence")
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page


def test_a_plan_without_a_batch_lane_has_a_plot_too() -> None:
    urgent = make([pending(1, "U", urgent=True)])
    assert drawn(render_plot(urgent, {}), "data-sequence") == [0]
    nothing = make([pending(1, minute=1)], rivals=[pending(7, minute=2)])
    assert drawn(render_plot(nothing, {}), "data-sequence") == []


def test_the_plot_of_very_many_edits_stays_small() -> None:
    edits = world(9_000)
    draft = make(edits, batch_size=100)
    page = render_plot(draft, {edit.edit_id: "x" * 5_000 for edit in edits})
    assert len(page) < 2_000_000
    assert len(set(drawn(page, "data-batch"))) == len(draft.batches)


def test_what_changes_stands_in_one_table_before_the_drawings_with_who_loses_to_whom() -> None:
    changes = [
        ShownChange("Norland", "The capital of Norland is", "Elbing", "Rungholt", 0),
        ShownChange(HOSTILE, None, None, None),
    ]
    conflicts = [ShownConflict("Norland", "Vineta", None)]

    page = render_plot(make(world(10)), {}, changes=changes, conflicts=conflicts, more=3)

    drawn(page, "data-sequence")  # well-formed
    reported = (
        page.index("What changes"),
        page.index("Superseded before they are applied"),
        page.index("<svg"),
    )
    assert reported == tuple(sorted(reported))
    assert page.index("Elbing") < page.index("Rungholt") < page.index("Vineta")
    for words in ("as the base answers", "taken back", "And 3 more.", "first principal component"):
        assert words in page
    assert "<script" not in page


def test_figures_that_a_small_plan_does_not_have_are_told_in_words() -> None:
    page = render_plot(make(world(2)), {})
    assert "A plan of 1 batch<" in page
    assert "not defined between them" in page
    assert "None" not in page
