"""The pages that ship with a clone: they lead somewhere, and nowhere that a clone lacks."""

import json
import re
from pathlib import Path

from daemon.events.fact_event import FactEvent
from daemon.settings.complaints import section_keys
from daemon.settings.settings import Settings, load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("*/index/data/*.md")]

SECTIONS = Settings.model_fields.keys() - {"editors"}  # which is a package, too
ENDINGS = {"db", "json", "py", "safetensors"}  # of files that are called as a section is


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


def test_the_first_hour_gives_facts_and_settings_that_are_accepted(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "first-hour.md").read_text(encoding="utf-8")
    facts = re.findall(r"(?m)^ +(\{\"event_id\".*\})$", page)
    tables = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(facts) == len(tables) == 1

    event = FactEvent.model_validate({**json.loads(facts[0]), "occurred_at": "2026-05-01T12:00:00Z"})
    (tmp_path / "upkeep.toml").write_text(tables[0], encoding="utf-8")

    assert event.priority == "urgent"
    assert load_settings(tmp_path / "upkeep.toml").kafka.security_protocol == "SASL_SSL"


def test_every_setting_that_a_page_names_exists() -> None:
    """`section.key` in code style, of the sections of the settings file."""
    unknown = [
        (page.name, f"{section}.{key}")
        for page in PAGES
        for section, key in re.findall(r"`(\w+)\.(\w+)(?: = [^`]*)?`", page.read_text(encoding="utf-8"))
        if section in SECTIONS and key not in ENDINGS | section_keys(Settings, section).keys()
    ]

    assert unknown == []


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
