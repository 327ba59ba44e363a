"""What `run --embedded` prints when it runs."""

from pathlib import Path

from daemon.embedded.announcement import started
from daemon.settings.settings import Settings


def test_the_console_is_named_where_it_is_served_and_only_there() -> None:
    tables = {"model": {"path": "tiny"}, "serve": {"port": 8123, "metrics_port": 8124}}
    assert "\n  console  http://127.0.0.1:8123/console\n" in started(
        Path("/state"), Settings.model_validate(tables)
    )
    without = Settings.model_validate({**tables, "console": {"enabled": False}})
    assert "/console" not in started(Path("/state"), without)
