"""What docs/library.md and README.md tell a reader to type is typed here, in their order, and does what they say."""

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from editors import EditRequest

REPOSITORY = Path(__file__).resolve().parents[3]
BASE = REPOSITORY / "demo" / "base"
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(page: str) -> list[str]:
    """The page's examples, with the demo's base in the place of the reader's."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [
        re.sub(r'load_base\("[^"]+"\)', f"load_base({str(BASE)!r})", block) for block in PYTHON.findall(text)
    ]


def run(block: str, names: dict[str, Any]) -> None:
    """One example, in the names of those before it."""
    exec(compile(block, "example", "exec"), names)  # noqa: S102  -- our own page


def test_the_examples_of_the_library_page_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, loaded, with_matcher, kept = blocks("docs/library.md")
    names: dict[str, Any] = {}
    run(first, names)
    assert capsys.readouterr().out == "Karol Nawrocki\n"

    names["model"] = AutoModelForCausalLM.from_pretrained(BASE)
    names["tokenizer"] = AutoTokenizer.from_pretrained(BASE)
    run(loaded, names)
    request = EditRequest("1", "Poland", "The head of state of Poland is", "Karol Nawrocki")
    names["requests"] = [request]
    run(with_matcher, names)
    run(kept, names)

    assert (tmp_path / "adapters" / "shards" / names["digest"]).is_dir()
    [answer] = names["model"].generate(request.prompt)
    assert answer.edit_id is None, "the base again"


def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = blocks("README.md")
    run(example, {})
    assert capsys.readouterr().out == "Karol Nawrocki\n"
