"""The retention curve: reliability and generality by age of the edit, from reports of `upkeep evaluate --json`.

    upkeep evaluate --model DIR --facts F --editor scen --json scen.json ...
    python benchmarks/retention.py scen.json lemoe.json --plot docs/images/retention.svg

Prints one JSON object: each report's curve.
"""

import argparse
import json
from pathlib import Path

from line_chart import ChartLine, chart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path, required=True)
    options = parser.parse_args()
    lines, curves = [], {}
    for path in options.reports:
        report = json.loads(path.read_text(encoding="utf-8"))
        curves[report["editor"]] = report["retention"]
        for place, name in ((1, "reliability"), (2, "generality")):
            points = [(age[0], age[place]) for age in report["retention"] if age[place] is not None]
            if points:
                lines.append(ChartLine(f"{report['editor']} {name}", points))
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    plot = chart(lines, x="edits since", y="share answered right", log_x=True)
    options.plot.write_text(plot, encoding="utf-8")
    print(json.dumps(curves))


if __name__ == "__main__":
    main()
