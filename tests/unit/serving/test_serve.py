"""The HTTP interface: one generation an answer, and honest health."""

from support.counting_model import LIMITS, Served, served

__all__ = ["served"]  # fixtures


def test_an_answer_names_its_generation_and_the_edit_that_spoke(served: Served) -> None:
    reply = served.client.post("/v1/generate", json={"prompts": ["The capital of France is"]})

    assert reply.json() == {
        "generation": 0,
        "answers": [
            {
                "prompt": "The capital of France is",
                "text": "edited 0",
                "edit_id": "7",
                "score": 0.9,
                "finish_reason": "length",
            }
        ],
    }


def test_a_published_generation_is_taken_over_between_requests(served: Served) -> None:
    served.model.published = 5

    assert served.executor.refresh()

    reply = served.client.post("/v1/generate", json={"prompts": ["a", "b"]}).json()
    assert (reply["generation"], reply["answers"][1]["text"]) == (5, "edited 5")
    assert not served.executor.refresh()


def test_the_base_can_be_asked_beside_it(served: Served) -> None:
    reply = served.client.post("/v1/generate", json={"prompts": ["a"], "base": True}).json()

    assert reply["answers"][0]["text"] == "base"
    assert reply["answers"][0]["finish_reason"] == "stop"
    assert reply["answers"][0]["edit_id"] is None


def test_openai_clients_get_a_completion(served: Served) -> None:
    reply = served.client.post(
        "/v1/completions",
        json={"model": "tiny", "prompt": "a", "max_tokens": 999, "temperature": 0, "top_p": 1},
    ).json()

    assert reply["object"] == "text_completion"
    assert reply["choices"] == [{"index": 0, "text": "edited 0", "logprobs": None, "finish_reason": "length"}]
    assert reply["upkeep"] == {"generation": 0, "edit_ids": ["7"]}
    assert served.model.tokens == [LIMITS.max_new_tokens]


def test_alive_is_not_ready() -> None:
    served = Served(loaded=False)

    assert served.client.get("/healthz").status_code == 200
    assert served.client.get("/readyz").status_code == 503
    assert served.client.post("/v1/generate", json={"prompts": ["a"]}).status_code == 503

    served.executor.load(lambda: served.model)
    assert served.client.get("/readyz").json() == {"status": "ready", "generation": "0"}
    served.executor.close()


def test_not_ready_while_the_ledger_is_away_but_still_answering(served: Served) -> None:
    served.ledger_is_away = True

    ready = served.client.get("/readyz")

    assert (ready.status_code, ready.json()["error"]["message"]) == (503, "the ledger is locked")
    assert served.client.post("/v1/generate", json={"prompts": ["a"]}).status_code == 200


def test_null_is_as_leaving_a_field_out(served: Served) -> None:
    fields = dict.fromkeys(("base", "max_new_tokens", "messages", "conversations"))
    reply = served.client.post("/v1/generate", json={"prompts": ["a"], **fields})
    assert reply.status_code == 200
    assert reply.json() == served.client.post("/v1/generate", json={"prompts": ["a"]}).json()


def test_generation_tells_what_is_served_and_what_is_published(served: Served) -> None:
    served.model.published = 2

    reply = served.client.get("/v1/generation").json()

    assert (reply["generation"], reply["head"], reply["cause"]) == (0, 2, "batch 3")
