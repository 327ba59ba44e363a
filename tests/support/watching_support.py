"""What the tests of the watching share: the real Prometheus and Alertmanager on loopback, and who is told."""

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml
from support.requirements_met import unavailable
from support.waiting import eventually, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
MONITORING = REPOSITORY / "monitoring"


def binary(*names: str) -> str:
    """The program under the first of these names that is installed; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or unavailable(f"no {names[0]} here: apt-get install prometheus prometheus-alertmanager")


def tool(name: str, *arguments: str, given: str | None = None) -> str:
    """Run promtool or amtool; what it printed. It must be content."""
    done = subprocess.run(
        [binary(name), *arguments], input=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def every_rule() -> list[dict[str, Any]]:
    """All recording and alert rules as they are shipped, in the order of the files."""
    return [
        rule
        for path in sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def every_query() -> list[str]:
    """Every expression that is shipped: of rules, panels, marks on the panels, and Grafana's own alert rules."""
    found = [rule["expr"] for rule in every_rule()]
    grafana = MONITORING / "grafana"
    for path in sorted((grafana / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        found += [mark["expr"] for mark in dashboard["annotations"]["list"]]
        found += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    provisioned = json.loads((grafana / "provisioning/alerting/rules.json").read_text(encoding="utf-8"))
    found += [rule["data"][0]["model"]["expr"] for group in provisioned["groups"] for rule in group["rules"]]
    return list(dict.fromkeys(found))


@dataclass
class Webhook:
    """Everything that Alertmanager told, in the order in which it came."""

    url: str
    reported: list[dict[str, Any]] = field(default_factory=list)

    def alerts(self, name: str, status: str) -> list[dict[str, Any]]:
        """The alerts of one name that were told as `firing` or as `resolved`."""
        return [
            alert
            for message in list(self.reported)
            for alert in message["alerts"]
            if alert["labels"]["alertname"] == name and alert["status"] == status
        ]


@dataclass(frozen=True)
class Watch:
    """A Prometheus with the shipped rules that scrapes one daemon, and the webhook behind its Alertmanager."""

    url: str
    webhook: Webhook

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; it must be valid."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", (expression, answer)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The one value of a query; None where there is no sample."""
        found = self.query(expression)
        assert len(found) <= 1, (expression, found)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}

    def wait_reported(
        self, name: str, status: str = "firing", *, seconds: float = 180, **labels: str
    ) -> dict[str, Any]:
        """The newest such alert at the webhook, as soon as there is one."""

        def found() -> list[dict[str, Any]]:
            alerts = self.webhook.alerts(name, status)
            return [alert for alert in alerts if labels.items() <= alert["labels"].items()]

        eventually(found, f"{name} is told as {status}", seconds=seconds)
        return found()[-1]


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    """A receiver on a free loopback port."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.reported.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    received = Webhook(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def watched(folder: Path, target: str) -> Iterator[Watch]:
    """Prometheus and Alertmanager watch the daemon at `target` (host:port), with the files that are shipped.

    Four things differ from the files, all about time: a scrape every second and an evaluation every half, every `for`
    0 seconds (so that an alert fires at its first sight), windows of 10 minutes (for which a failed check is told)
    30 seconds long, which a busy machine may go without a scrape, and groups told at once.
    """
    with (
        webhook() as receiver,
        _alertmanager(folder, receiver) as alertmanager,
        _prometheus(folder, target, alertmanager) as prometheus,
    ):
        yield Watch(f"http://{prometheus}", receiver)


@contextlib.contextmanager
def _alertmanager(folder: Path, receiver: Webhook) -> Iterator[str]:
    config = yaml.safe_load((MONITORING / "prometheus" / "alertmanager.yml").read_text(encoding="utf-8"))
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    for known in config["receivers"]:
        for hook in known["webhook_configs"]:
            hook["url"] = receiver.url
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(binary("alertmanager", "prometheus-alertmanager"), f"--config.file={file}"),
        *(f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={address}"),
        "--cluster.listen-address=",
    ]
    with _running(command, folder / "alertmanager.log", f"http://{address}/-/ready"):
        yield address


@contextlib.contextmanager
def _prometheus(folder: Path, target: str, alertmanager: str) -> Iterator[str]:
    config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target], "labels": {"role": "run"}}]
    (folder / "rules").mkdir()
    for path in (MONITORING / "prometheus" / "rules").glob("*.yml"):
        groups = yaml.safe_load(path.read_text(encoding="utf-8").replace("[10m]", "[30s]"))
        for group in groups["groups"]:
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(groups), encoding="utf-8")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(binary("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        *(f"--web.listen-address={address}", "--rules.alert.resend-delay=1s"),
    ]
    with _running(command, folder / "prometheus.log", f"http://{address}/-/ready"):
        yield address


@contextlib.contextmanager
def _running(command: list[str], log: Path, ready: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_ready(process, log, ready)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: subprocess.Popen[bytes], log: Path, url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        assert time.monotonic() < deadline, f"{url} is not ready: {log.read_text(encoding='utf-8')[-2000:]}"
        time.sleep(0.1)
