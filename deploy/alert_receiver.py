"""A webhook that prints the alerts of Alertmanager and Grafana, one JSON object a line: the receiver of compose.yaml."""

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 9095
MAX_BODY_BYTES = 4 << 20
READ_SECONDS = 10


class Receiver(BaseHTTPRequestHandler):
    """POST of any path: alerts; GET /healthz."""

    timeout = READ_SECONDS

    def do_GET(self) -> None:
        """Alive."""
        self._answer(200 if self.path == "/healthz" else 404)

    def do_POST(self) -> None:
        """Print what is told; 400 where it is no list of alerts."""
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self._answer(413)
            return
        try:
            lines = [
                json.dumps({"to": self.path, **received})
                for received in alerts(json.loads(self.rfile.read(int(length))))
            ]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._answer(400)
            return
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._answer(200)

    def log_message(self, *_: object) -> None:
        """No line for each request."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


def alerts(body: Any) -> Iterator[dict[str, Any]]:
    """Of a webhook's body, each alert: its state, labels, summary and beginning."""
    for alert in body["alerts"]:
        yield {
            "status": alert["status"],
            "labels": alert["labels"],
            "summary": alert.get("annotations", {}).get("summary"),
            "since": alert.get("startsAt"),
        }


def main() -> None:
    """Listen until a signal ends the process."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    ThreadingHTTPServer(("0.0.0.0", port), Receiver).serve_forever()  # noqa: S104 -- inside its container


if __name__ == "__main__":
    main()
