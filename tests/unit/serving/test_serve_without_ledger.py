"""The embedded server while its PostgreSQL hangs: answers go on, health says so, and all is well when it is back."""

from pathlib import Path

import pytest
from support.ledger.ledger_backends import own_postgres
from support.serving_support import Fact, embedded_server
from support.waiting import eventually

PEAK = Fact("Norrberg", "The highest peak of Norrberg is", "Mount Elk")


@pytest.mark.slow
def test_answers_go_on_while_the_database_accepts_and_does_not_answer(tmp_path: Path) -> None:
    with own_postgres() as postgres, embedded_server(tmp_path, [PEAK], ledger_url=postgres.url) as server:

        def ask() -> str:
            reply = server.post("/v1/generate", {"prompts": [PEAK.prompt]})
            assert reply.status_code == 200, reply.text
            return str(reply.json()["answers"][0]["text"])

        reported = ask()
        with postgres.frozen():
            eventually(lambda: ask() == reported and server.get("/readyz").status_code == 503)
            assert "has not answered for" in server.get("/readyz").json()["error"]["message"]
            assert "upkeep_ledger_up 0.0" in server.get("/metrics").text
            assert ask() == reported
        eventually(lambda: server.get("/readyz").status_code == 200)
        server.rollback_to(0)
        eventually(lambda: ask() != reported)
