"""What tests of the checks share: a model whose answers the test decides, probe files, and results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.ledger.ledger_backends import Story
from support.models.scripted_models import FollowingModel, Said

from daemon.ledger.values import CheckResult
from daemon.settings.settings import Settings
from daemon.settings.tables import MonitoringSettings
from edits.names.surface import SurfaceIndex
from edits.prompts import Prompt


@pytest.fixture
def url(tmp_path: Path, migrated_sqlite: Path) -> str:
    (tmp_path / "ledger.db").write_bytes(migrated_sqlite.read_bytes())
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@dataclass
class Moved:
    nats: float
    tokens: int


@dataclass
class ScriptedModel(FollowingModel):
    """Says "base: PROMPT" to everything, unless an edit has something else to say."""

    edited: dict[Prompt, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # edit id -> the one name of its subject
    asked_of_base: int = 0
    text_nats: float = 0.0

    def named(self, text: str) -> set[str]:
        index = SurfaceIndex()
        for edit_id, name in self.names.items():
            index.add(edit_id, [name])
        return set(index.find(text))

    def generate(self, prompts: Sequence[Prompt], *, max_new_tokens: int) -> Sequence[Said]:
        return [
            Said(self.edited[prompt], "1") if prompt in self.edited else Said(f"base: {prompt}")
            for prompt in prompts
        ]

    def generate_base(self, prompts: Sequence[str], *, max_new_tokens: int) -> Sequence[Said]:
        self.asked_of_base += len(prompts)
        return [Said(f"base: {prompt}") for prompt in prompts]

    def divergences(self, prompts: Sequence[str]) -> Sequence[float]:
        return [0.5 for _ in prompts]

    def text_changes(self, texts: Sequence[str]) -> Sequence[Moved]:
        return [Moved(self.text_nats, 10) for _ in texts]


def probe_file(folder: Path, *prompts: str) -> Path:
    path = folder / "probes.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    return path


def settings(**monitoring: object) -> Settings:
    return Settings(monitoring=MonitoringSettings.model_validate(monitoring))


def by_suite(results: Sequence[CheckResult]) -> dict[str, CheckResult]:
    return {result.suite: result for result in results}


def numbered(folder: Path, count: int) -> Path:
    return probe_file(folder, *(f"Question {number}?" for number in range(count)))


def keep(story: Story, *results: CheckResult) -> Sequence[CheckResult]:
    story.ledger.checks.request(None, "test")
    check = story.ledger.checks.claim("worker", lease_seconds=60)
    assert check is not None
    story.ledger.checks.finish(check.id, check.token, results)
    return results
