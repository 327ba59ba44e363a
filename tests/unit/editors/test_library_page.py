"""What docs/library.md and README.md tell a reader to type is typed here, in their order, and does what they say."""

import re
from code import InteractiveConsole
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
BASE = REPOSITORY / "demo" / "base"
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
YOURS = re.compile(r'"(path/or/hub-id|demo/base)"')


class Session(InteractiveConsole):
    """A Python session into which a reader pastes; what goes wrong is raised."""

    def paste(self, block: str) -> None:
        """One example, line by line."""
        for line in block.splitlines():
            unfinished = self.push(line)
        assert not unfinished, block

    def showtraceback(self) -> None:
        """Nothing may go wrong."""
        raise

    def showsyntaxerror(self, filename: str | None = None, **kwargs: object) -> None:
        """Nor be no Python."""
        raise


def blocks(page: str) -> list[str]:
    """The page's examples, with the demo's base in the place of the reader's."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [YOURS.sub(lambda _: repr(str(BASE)), block) for block in PYTHON.findall(text)]


def test_the_examples_of_the_library_page_can_be_pasted_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session()
    printed = []
    for block in blocks("docs/library.md"):
        session.paste(block)
        printed.append(capsys.readouterr().out)

    assert printed == ["Karol Nawrocki\n", "", "Karol Nawrocki\n", "Karol Nawrocki\n"]
    names = session.locals
    assert (tmp_path / "adapters" / "shards" / names["digest"]).is_dir()
    assert names["base"].model is names["loaded"]
    [answer] = names["model"].generate(names["request"].prompt)
    assert answer.edit_id is None, "the base again"


def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = blocks("README.md")
    Session().paste(example)
    assert capsys.readouterr().out == "Karol Nawrocki\n"
