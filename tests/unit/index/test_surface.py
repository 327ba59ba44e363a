"""The surface index: whom a text names."""

from hypothesis import given
from hypothesis import strategies as st

from edits.names.surface import SurfaceIndex, words_of

NAMES = st.lists(st.sampled_from(["new", "york", "city", "old", "town", "of"]), min_size=1, max_size=3).map(
    " ".join
)


def index(**forms: str) -> SurfaceIndex:
    made = SurfaceIndex()
    for edit_id, form in forms.items():
        made.add(edit_id, [form])
    return made


def test_a_name_is_found_whatever_its_case_punctuation_and_surroundings() -> None:
    names = index(a="São Paulo", b="AT&T", c="東京", d="O'Brien")
    assert names.find("(SÃO  PAULO)").keys() == {"a"}
    assert names.find("Who runs AT&T's network?").keys() == {"b"}
    assert names.find("東京の人口は").keys() == {"c"}
    assert names.find("What did O'Brien's wife say?").keys() == {"d"}
    assert names.find("Sao Paulo, Paulo, brien") == {}


def test_a_name_inside_a_longer_one_is_found_with_its_own_length() -> None:
    names = index(state="New York", city="New York City")
    assert names.find("In New York City it rains") == {"state": 2, "city": 3}
    assert names.find("In New York it rains") == {"state": 2}
    assert names.find("The lake is in New York") == {"state": 2}
    names.remove("city", ["New York City"])
    assert names.find("In New York City it rains") == {"state": 2}


def test_scripts_with_joined_endings_and_names_with_symbols_are_found() -> None:
    names = index(a="프랑스", b="C++", c="C#", d="C", e="की", f="กรุงเทพ")
    assert names.find("프랑스의 수도는").keys() == {"a"}
    assert names.find("Who designed C++?").keys() == {"b"}
    assert names.find("C# was made by").keys() == {"c"}
    assert names.find("The language C is").keys() == {"d"}
    assert names.find("कि").keys() == set()
    assert names.find("เมืองกรุงเทพมี").keys() == {"f"}


def test_a_name_without_a_word_is_found_by_its_symbols_alone() -> None:
    assert index(a="!!!").find("!!!").keys() == {"a"}
    assert index(a="!!!").find("Stop!!! Now") == {}


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, max_size=6), st.text(max_size=60))
def test_what_was_added_and_removed_again_is_never_found(kept: list[str], gone: list[str], text: str) -> None:
    both, only = SurfaceIndex(), SurfaceIndex()
    for number, name in enumerate(kept):
        both.add(f"k{number}", [name])
        only.add(f"k{number}", [name])
    for number, name in enumerate(gone):
        both.add(f"g{number}", [name])
    for number, name in enumerate(gone):
        both.remove(f"g{number}", [name])
    for asked in (*kept, *gone, text):
        assert both.find(asked) == only.find(asked)


@given(NAMES, st.text(max_size=80))
def test_a_text_that_begins_with_a_name_speaks_of_it(name: str, text: str) -> None:
    assert index(a=name).find(f"{name}, {text}").keys() == {"a"}


ASCII = st.text(st.characters(max_codepoint=127), max_size=60) | st.text("cC1+#-_ x", max_size=12)


@given(ASCII)
def test_a_text_has_the_same_words_whether_or_not_a_letter_of_another_alphabet_stands_behind_it(
    text: str,
) -> None:
    assert words_of(f"{text} \u00e9") == (*words_of(text), "\u00e9") or not any(map(str.isalnum, text))
