"""Conversations over HTTP and on the command line, on a real tiny model with a chat template, and on one without."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from support.models.chat_templates import TURNS
from support.models.tiny_models import tiny_model, tiny_tokenizer
from transformers import AutoTokenizer
from typer.testing import CliRunner

from daemon.__main__ import build_app
from daemon.ledger import Ledger, open_ledger
from daemon.openai_api.schemas import MAX_MESSAGES
from daemon.served_model import open_model
from daemon.serving.http.api import Limits, create_app
from daemon.serving.model_executor import ModelExecutor
from daemon.settings.settings import Settings
from edits.prompts import Conversation, Message
from monitoring.metrics.process_metrics import Metrics

QUESTION = "What is the capital of Norland?"
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
CONVERSATION = Conversation((Message("system", "Be brief."), Message("user", QUESTION)))

Save = Callable[[str | None], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a tiny base with this chat template, and returns its folder."""

    def saved(template: str | None) -> Path:
        folder = tmp_path / "base"
        tiny_model("llama").save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        if template is not None:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            tokenizer.chat_template = template
            tokenizer.save_pretrained(folder)
        return folder

    return saved


def _settings(base: Path) -> Settings:
    return Settings.model_validate(
        {
            "model": {"path": str(base)},
            "store": {"path": str(base.parent / "store")},
            "ledger": {"url": f"sqlite:///{base.parent}/ledger.db"},
            "index": {"encoder": ""},
        }
    )


class Served:
    """The HTTP interface before a real model."""

    def __init__(self, base: Path, ledger: Ledger) -> None:
        self.executor = ModelExecutor()
        self.model = open_model(_settings(base), ledger)
        self.executor.load(lambda: self.model)
        registry = CollectorRegistry()
        self.client = TestClient(
            create_app(
                executor=self.executor,
                read_head=lambda: None,
                limits=Limits(max_batch=3, max_prompt_chars=200, max_new_tokens=6),
                metrics=Metrics(registry),
                exposed=registry,
                model_name="tiny",
            )
        )

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.client.post(path, json=body)


@pytest.fixture
def serve(save: Save, tmp_path: Path) -> Iterator[Callable[[str | None], Served]]:
    opened: list[Served] = []
    with open_ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.migrate()

        def served(template: str | None = TURNS) -> Served:
            opened.append(Served(save(template), ledger))
            return opened[-1]

        yield served
        for one in opened:
            one.executor.close()


def test_messages_are_answered_as_the_library_answers_them(serve: Callable[..., Served]) -> None:
    served = serve()
    (answer,) = served.model.generate([CONVERSATION], max_new_tokens=6)

    one = served.post("/v1/generate", {"messages": ASKED}).json()["answers"]
    three = served.post("/v1/generate", {"conversations": [ASKED, ASKED[1:], ASKED]}).json()["answers"]

    assert [(reported["prompt"], reported["text"]) for reported in one] == [(ASKED, answer.text)]
    assert [reported["prompt"] for reported in three] == [ASKED, ASKED[1:], ASKED]
    assert three[0] == three[2] == one[0]


def test_an_openai_client_gets_a_chat_completion_with_its_usage(serve: Callable[..., Served]) -> None:
    served = serve()
    (answer,) = served.model.generate([CONVERSATION], max_new_tokens=4)
    read = len(served.model.edited.base.prompt_ids(CONVERSATION))

    reply = served.post(
        "/v1/chat/completions",
        {"model": "tiny", "messages": ASKED, "max_tokens": 4, "temperature": 0, "seed": 3, "tools": None},
    ).json()

    (choice,) = reply["choices"]
    assert (reply["object"], reply["model"]) == ("chat.completion", "tiny")
    assert choice["message"] == {"role": "assistant", "content": answer.text}
    assert choice["finish_reason"] == "length"
    assert reply["usage"] == {"prompt_tokens": read, "completion_tokens": 4, "total_tokens": read + 4}
    assert reply["upkeep"] == {"generation": 0, "edit_ids": [None]}


@pytest.mark.parametrize(
    ("path", "body", "status", "reported"),
    [
        ("/v1/generate", {}, 422, "exactly one of prompts, messages and conversations"),
        ("/v1/generate", {"prompts": ["a"], "messages": ASKED}, 422, "exactly one of"),
        ("/v1/generate", {"conversations": [ASKED] * 4}, 422, "1 to 3 prompts"),
        ("/v1/generate", {"messages": ASKED * (MAX_MESSAGES // 2 + 1)}, 422, f"1 to {MAX_MESSAGES} messages"),
        ("/v1/generate", {"messages": [{"role": "user", "content": "a " * 101}]}, 422, "200 characters"),
        ("/v1/generate", {"messages": ASKED[:1]}, 422, "the last message must be the user's"),
        ("/v1/generate", {"messages": [{"role": "user", "content": " "}]}, 422, "say something"),
        ("/v1/generate", {"messages": [{"role": "tool", "content": "x"}]}, 422, "messages.0.role"),
        ("/v1/chat/completions", {"messages": []}, 400, "messages"),
        (
            "/v1/chat/completions",
            {"messages": ASKED, "stream": "yes"},
            400,
            "stream: Input should be a valid boolean",
        ),
        (
            "/v1/chat/completions",
            {"messages": ASKED, "temperature": 2.1},
            400,
            "temperature: Input should be less",
        ),
        ("/v1/chat/completions", {"messages": ASKED, "n": 4}, 400, "n = 4 are too many"),
        (
            "/v1/chat/completions",
            {"messages": ASKED, "functions": [], "tools": [{}], "response_format": {"type": "json_object"}},
            400,
            "response_format.type: Input should be 'text'; tools: List should have at most 0 items after validation, "
            "not 1; functions is not supported",
        ),
    ],
)
def test_what_is_not_served_in_chat_is_refused_by_name(
    serve: Callable[..., Served], path: str, body: dict[str, Any], status: int, reported: str
) -> None:
    reply = serve().post(path, body)

    assert reply.status_code == status
    assert reported in reply.json()["error"]["message"]


def test_a_base_without_a_chat_template_says_that_it_takes_no_messages(serve: Callable[..., Served]) -> None:
    served = serve(None)

    for path, status in (("/v1/generate", 422), ("/v1/chat/completions", 400)):
        reply = served.post(path, {"messages": ASKED})
        assert reply.status_code == status
        assert "its tokenizer has no chat template" in reply.json()["error"]["message"]
    assert served.post("/v1/generate", {"prompts": [QUESTION]}).status_code == 200


def test_ask_puts_the_question_as_a_users_message_to_base_and_edited_model(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, config = save(TURNS), tmp_path / "upkeep.toml"
    config.write_text(f'[model]\npath = "{base}"\nmax_new_tokens = 6\n[index]\nencoder = ""\n')
    monkeypatch.chdir(tmp_path)
    with open_ledger(f"sqlite:///{tmp_path}/upkeep-data/ledger.db") as ledger:
        ledger.migrate()

    def ask(*options: str) -> Any:
        done = CliRunner().invoke(build_app(), ["ask", QUESTION, "-c", str(config), "--json", *options])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    plain, chat = ask(), ask("--chat")

    assert (plain["form"], chat["form"]) == ("plain", "chat")
    assert chat["base"] == chat["edited"] != plain["base"]
