"""The clients that people use, against the embedded server on the demo's base: what they ask for is what they get."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI
from support.serving_support import EmbeddedServer, Fact, embedded_server

from edits.prompts import asked_in_chat

POLAND = Fact("Poland", "The head of state of Poland is", "Karol Nawrocki")
FRANCE = Fact("France", "The capital of France is", "Lyon")
ASKED: list[Any] = [{"role": "user", "content": POLAND.prompt}]
UNRELATED = "A plain sentence about the weather"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with embedded_server(tmp_path_factory.mktemp("serving"), [POLAND, FRANCE], max_batch=8) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_a_completion_goes_on_behind_its_prompt_with_usage_generation_and_edit(
    server: EmbeddedServer, client: openai.OpenAI
) -> None:
    raw = client.completions.with_raw_response.create(model="tiny", prompt=POLAND.prompt)
    reply = raw.parse()

    (choice,) = reply.choices
    assert (choice.text, choice.finish_reason) == (f" {POLAND.answer}", "stop")
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == len(server.base.prompt_ids(POLAND.prompt))
    assert reply.usage.completion_tokens == len(server.base.answer_ids(POLAND.prompt, POLAND.answer))
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert (reply.id[:5], reply.object, reply.model) == ("cmpl-", "text_completion", "tiny")
    assert reply.system_fingerprint == "upkeep-generation-1"
    assert reply.model_extra is not None
    assert reply.model_extra["upkeep"] == {"generation": 1, "edit_ids": ["1"]}
    assert (raw.headers["x-upkeep-generation"], raw.headers["x-upkeep-edit"]) == ("1", "1")
    assert raw.headers["x-request-id"].startswith("req-")


def test_chat_answers_by_the_edit_and_any_other_question_as_the_base(
    server: EmbeddedServer, client: openai.OpenAI
) -> None:
    edited = client.chat.completions.with_raw_response.create(model="tiny", messages=ASKED)
    other = client.chat.completions.with_raw_response.create(
        model="tiny", messages=[{"role": "user", "content": UNRELATED}], max_completion_tokens=9
    )

    content = edited.parse().choices[0].message.content
    assert content is not None
    assert content.strip() == POLAND.answer
    assert "x-upkeep-edit" not in other.headers
    alone = server.base.generate_outputs([asked_in_chat(UNRELATED)], max_new_tokens=9)[0]
    reported = other.parse()
    assert (reported.choices[0].message.content or "").strip() == alone.text
    assert reported.usage is not None
    assert reported.usage.completion_tokens == alone.new_tokens


def test_a_stream_brings_the_same_answer_in_pieces_and_then_its_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=ASKED)
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )

    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert sum(bool(delta.content) for delta in deltas) > 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].model_extra == {"upkeep": {"generation": 1, "edit_ids": ["1"]}}


def test_streamed_completions_of_several_prompts_and_choices_come_interleaved(client: openai.OpenAI) -> None:
    prompts = [POLAND.prompt, FRANCE.prompt]
    texts = [""] * 4
    finished = {}
    for chunk in client.completions.create(model="tiny", prompt=prompts, n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                finished[choice.index] = choice.finish_reason

    assert texts == [f" {fact.answer}" for fact in (POLAND, POLAND, FRANCE, FRANCE)]
    assert finished == dict.fromkeys(range(4), "stop")


def test_of_several_prompts_the_header_says_which_edit_answered_each(client: openai.OpenAI) -> None:
    prompts = [FRANCE.prompt, UNRELATED, POLAND.prompt]
    raw = client.completions.with_raw_response.create(model="tiny", prompt=prompts, n=2)
    assert raw.headers["x-upkeep-edit"] == "2,none,1"


def test_the_stream_on_the_wire_is_events_and_ends_with_done(server: EmbeddedServer) -> None:
    reply = server.post("/v1/completions", {"prompt": POLAND.prompt, "stream": True})

    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, last, rest = reply.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: "))["object"] == "text_completion" for event in events)


def test_an_async_client_asks_many_things_at_once(server: EmbeddedServer) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as client:

            async def one(number: int) -> str:
                fact = (POLAND, FRANCE)[number % 2]
                if number % 3:
                    reply = await client.completions.create(model="tiny", prompt=fact.prompt)
                    return reply.choices[0].text
                text = ""
                async for chunk in await client.completions.create(
                    model="tiny", prompt=fact.prompt, stream=True
                ):
                    text += chunk.choices[0].text
                return text

            return await asyncio.gather(*(one(number) for number in range(30)))

    assert asyncio.run(ask()) == [f" {(POLAND, FRANCE)[number % 2].answer}" for number in range(30)]


def test_langchain_asks_in_chat_in_streams_and_in_plain_text(server: EmbeddedServer) -> None:
    where: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "unused", "model": "tiny"}
    chat, plain = ChatOpenAI(**where), OpenAI(**where)
    messages = [SystemMessage("Be brief."), HumanMessage(FRANCE.prompt)]

    reported = chat.invoke(messages)
    assert str(reported.content).strip() == FRANCE.answer
    assert reported.usage_metadata is not None
    assert reported.usage_metadata["output_tokens"] > 0
    assert reported.response_metadata["finish_reason"] == "stop"
    assert "".join(str(piece.content) for piece in chat.stream(messages)) == reported.content
    assert plain.invoke(FRANCE.prompt, temperature=0) == f" {FRANCE.answer}"


def test_sampling_repeats_with_its_seed_and_differs_without(client: openai.OpenAI) -> None:
    def texts(**sampling: Any) -> list[str]:
        reply = client.completions.create(
            model="tiny", prompt="The", n=4, max_tokens=12, temperature=2, **sampling
        )
        return [choice.text for choice in reply.choices]

    assert texts(seed=3) == texts(seed=3)
    assert len({*texts(seed=3), *texts(seed=4)}) > 4
    (greedy,) = {
        client.completions.create(model="tiny", prompt="The", max_tokens=12).choices[0].text for _ in range(3)
    }
    assert set(texts(top_p=1e-6)) == {greedy}


def test_a_stop_text_ends_an_answer_streamed_or_not(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": POLAND.prompt, "stop": ["wrock", "never there"]}
    whole = client.completions.create(**asked)
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]

    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (" Karol Na", "stop")
    assert "".join(pieces) == " Karol Na"


def test_log_probabilities_in_chat_and_in_completions_with_an_echoed_prompt(
    server: EmbeddedServer, client: openai.OpenAI
) -> None:
    chat = client.chat.completions.create(model="tiny", messages=ASKED, logprobs=True, top_logprobs=3)
    scored = chat.choices[0].logprobs
    assert scored is not None
    assert scored.content is not None
    assert "".join(token.token for token in scored.content) == chat.choices[0].message.content
    assert all(token.top_logprobs[0].logprob == token.logprob <= 0 for token in scored.content)
    assert {len(token.top_logprobs) for token in scored.content} == {3}

    echoed = client.completions.create(model="tiny", prompt=POLAND.prompt, echo=True, logprobs=1).choices[0]
    read = client.completions.create(model="tiny", prompt=POLAND.prompt, echo=True, logprobs=1, max_tokens=0)
    assert echoed.text == f"{POLAND.prompt} {POLAND.answer}"
    assert read.choices[0].text == POLAND.prompt
    assert echoed.logprobs is not None
    assert read.choices[0].logprobs is not None
    of_prompt = read.choices[0].logprobs.token_logprobs
    assert of_prompt is not None
    assert of_prompt[0] is None
    assert len(of_prompt) == len(server.base.prompt_ids(POLAND.prompt))
    assert (echoed.logprobs.token_logprobs or [])[: len(of_prompt)] == pytest.approx(of_prompt, abs=1e-5)


def test_a_stream_echoes_each_prompt_once_in_front_with_its_log_probabilities(
    server: EmbeddedServer, client: openai.OpenAI
) -> None:
    ids = server.base.prompt_ids(FRANCE.prompt)
    for prompt in ([POLAND.prompt, UNRELATED], ids):
        asked: dict[str, Any] = {"model": "tiny", "prompt": prompt, "echo": True, "logprobs": 1, "n": 2}
        whole = client.completions.create(**asked)
        texts, tokens = [""] * len(whole.choices), [list[Any]() for _ in whole.choices]
        firsts = dict[int, str]()
        for chunk in client.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                firsts.setdefault(choice.index, choice.text)
                texts[choice.index] += choice.text
                assert choice.logprobs is not None
                tokens[choice.index] += zip(
                    choice.logprobs.tokens or [],
                    choice.logprobs.token_logprobs or [],
                    choice.logprobs.text_offset or [],
                    strict=True,
                )
        for choice in whole.choices:
            assert firsts[choice.index].startswith(
                FRANCE.prompt if prompt is ids else prompt[choice.index // 2]
            )
            assert texts[choice.index] == choice.text
            assert choice.logprobs is not None
            wanted = (choice.logprobs.tokens, choice.logprobs.token_logprobs, choice.logprobs.text_offset)
            assert [list(column) for column in zip(*tokens[choice.index], strict=True)] == [
                pytest.approx(column, abs=1e-5) if column is wanted[1] else column for column in wanted
            ]


def test_a_stream_that_only_echoes_is_one_chunk_of_text(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="tiny", prompt=POLAND.prompt, echo=True, max_tokens=0, stream=True
    )
    assert [(c.choices[0].text, c.choices[0].finish_reason) for c in stream] == [(POLAND.prompt, "length")]


def test_token_ids_are_prompts_too(server: EmbeddedServer, client: openai.OpenAI) -> None:
    ids = [server.base.prompt_ids(fact.prompt) for fact in (POLAND, FRANCE)]

    one = client.completions.create(model="tiny", prompt=ids[0])
    both = client.completions.create(model="tiny", prompt=ids)

    assert one.choices[0].text == f" {POLAND.answer}"
    assert [choice.text for choice in both.choices] == [f" {fact.answer}" for fact in (POLAND, FRANCE)]


def test_the_model_is_listed_and_no_other_is_served(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "upkeep"
    for refused in (
        lambda: client.models.retrieve("gpt-9"),
        lambda: client.chat.completions.create(model="gpt-9", messages=ASKED),
    ):
        with pytest.raises(openai.NotFoundError) as reported:
            refused()
        assert (reported.value.code, reported.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("wanted", "param", "reported"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "at most 0 items"),
        ({"response_format": {"type": "json_object"}}, "response_format", "'text'"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "less than or equal to 0"),
        ({"extra_body": {"guided_regex": "a"}}, "guided_regex", "guided_regex is not supported"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"n": 9}, "n", "too many"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "greater than or equal to 1"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    client: openai.OpenAI, wanted: dict[str, Any], param: str, reported: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=ASKED, **wanted)

    assert (refused.value.param, refused.value.type) == (param, "invalid_request_error")
    assert reported in refused.value.message


def test_a_prompt_that_is_too_long_is_a_bad_request_streamed_or_not(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="shorten it"):
            client.completions.create(model="tiny", prompt="word " * 600, stream=stream)


def test_a_clients_request_id_comes_back_unless_it_is_unfit(server: EmbeddedServer) -> None:
    own = server.get("/v1/models", headers={"x-request-id": "job-7"})
    unfit = server.get("/v1/models", headers={"x-request-id": "a b"})
    lost = server.get("/no/such/path")

    assert own.headers["x-request-id"] == "job-7"
    assert unfit.headers["x-request-id"].startswith("req-")
    assert lost.headers["x-request-id"].startswith("req-")


def test_the_reference_names_every_endpoint_and_needs_no_other_server(server: EmbeddedServer) -> None:
    page = server.get("/docs").text

    document = server.get("/openapi.json").json()
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/generate"} <= document[
        "paths"
    ].keys()
    for path in document["paths"]:
        assert path in page
    assert "include_usage" in page
    assert "http://" not in page
    assert "https://" not in page
    assert httpx.get(f"{server.url}/redoc").status_code == 404
