"""The pages that ship with a clone: they lead somewhere, and nowhere that a clone lacks."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("*/index/data/*.md")]


def test_every_link_of_a_page_leads_to_a_file_of_the_repository() -> None:
    broken = [
        (page.name, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert len(PAGES) > 15
    assert broken == []


def test_no_page_gives_a_command_on_files_beside_the_repository() -> None:
    commands = [
        (page.name, line)
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.search(r"--\w+ \S*shared/", line)
    ]

    assert commands == []


def test_the_index_names_every_page() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}

    assert {page for page in pages if f"({page})" not in index} == set()


def test_what_is_told_to_install_has_the_distributions_name() -> None:
    wrong = [
        (path.relative_to(REPOSITORY), line.strip())
        for package in ("daemon", "editors", "planners", "monitoring", "edits", "demo", "docs")
        for path in (REPOSITORY / package).rglob("*")
        if path.suffix in (".py", ".md", ".toml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"pip install [\"']?upkeep(?!-llm)", line)
    ]

    assert wrong == []
