"""The provenance headers, which the embedded server and the gateway share."""

from daemon.openai_api.provenance import EDIT_HEADER, GENERATION_HEADER, provenance_headers


def test_edits_stand_by_prompt_and_a_prompt_that_none_fired_for_says_so() -> None:
    assert provenance_headers(7, ["17"]) == {GENERATION_HEADER: "7", EDIT_HEADER: "17"}
    assert provenance_headers(7, ["17", None, "17"])[EDIT_HEADER] == "17,none,17"
    assert provenance_headers(7, [None, None]) == {GENERATION_HEADER: "7"}


def test_an_id_that_is_any_text_cannot_be_taken_for_another_header_or_another_prompt() -> None:
    assert provenance_headers(1, ["a,b\r\nx: y"])[EDIT_HEADER] == "a%2Cb%0D%0Ax%3A%20y"
