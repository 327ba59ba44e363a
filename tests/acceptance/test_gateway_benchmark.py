"""`benchmarks/gateway.py` in a small form: it compares the same on both sides. Its figures count over vLLM alone."""

import json
import subprocess
import sys
from pathlib import Path

from support.acceptance_support import BASE, environment
from support.gateway.engine_double import BASE as BASE_NAME
from support.gateway.engine_double import engine_double

from demo.world.world import World

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "gateway.py"


def test_gateway_and_engine_are_asked_for_the_same_models_half_of_them_adapters(tmp_path: Path) -> None:
    world = World.generate()
    changed = [world.facts_about(subject)[0] for subject in world.subjects[:2]]
    rows = [
        {
            "subject": fact.subject,
            "relation": fact.relation,
            "prompt": world.prompts(fact)[0],
            "rephrase_prompts": world.held_out_prompts(fact),
            "target_new": world.other_values(fact)[0],
        }
        for fact in changed
    ]
    facts, probes = tmp_path / "facts.jsonl", tmp_path / "probes.jsonl"
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    others = ("Who wrote the song?", "How high is the tower?")
    probes.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in others), encoding="utf-8")
    with engine_double() as engine:
        paths = ("--model", str(BASE), "--facts", str(facts), "--probes", str(probes))
        small = ("--edits", "2", "--clients", "4", "--requests", "8", "--rounds", "2", "--tokens", "3")
        ran = subprocess.run(
            [sys.executable, str(SCRIPT), "--engine-url", engine.url, *paths, *small],
            cwd=REPOSITORY,
            env=environment() | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        asked = [json.loads(body) for body in engine.received]
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["engine"] == "not vLLM"
    assert (report["same_models"], report["same_answers"], report["edited_share"]) == (1.0, 1.0, 0.5)
    assert min(report[f"{name}_ratio"] for name in ("throughput", "latency_p50", "first_token")) > 0
    assert report["gateway_cpu_ms"] > 0
    # Once each to choose, once each to warm up, then two rounds of eight for each of the two sides.
    assert len(asked) == 4 + 4 + 2 * 2 * 8
    models = {body.get("model", BASE_NAME) for body in asked}
    assert len(models - {BASE_NAME}) == 2
    assert sum(body["stream"] for body in asked) == 4 + 2 * 2 * 4
