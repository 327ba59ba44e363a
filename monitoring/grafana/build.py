"""Write Grafana's files anew from the Python that describes them: `python -m monitoring.grafana.build`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.grafana.alerting import provisioning
from monitoring.grafana.editing import editing
from monitoring.grafana.locality import locality
from monitoring.grafana.overview import overview

HOME = Path(__file__).parent


def files() -> Mapping[Path, str]:
    """Every generated file and its content."""
    found = {
        HOME / "dashboards" / f"{made.uid}.json": _text(made)
        for made in (overview().build(), editing().build(), locality().build())
    }
    found[HOME / "provisioning" / "alerting" / "rules.json"] = _text(provisioning())
    return found


def _text(content: Any) -> str:
    return json.dumps(content, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
