"""Write docs/metrics.md from the declarations: `python -m monitoring.metrics.metrics_docs > docs/metrics.md`."""

import sys
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase

from monitoring.metrics.process_metrics import Metrics
from monitoring.metrics.state_metrics import STATE_METRICS

_HEAD = """\
# Metrics

Written by `python -m monitoring.metrics.metrics_docs > docs/metrics.md` from `monitoring/metrics/process_metrics.py` and
`monitoring/metrics/state_metrics.py`; a test holds them together. Times are Unix times or durations in seconds, ratios run
from 0 to 1. No label grows with edits, subjects or offsets; `generation` and `base` name the published generation
only. A score that a check does not have is not exported.

Under `upkeep run` all of it is at `serve`'s `/metrics`. A role that runs alone shows what it counts itself on
`metrics.port`, `serve` and `gateway` what they count and what the ledger knows. Several of them export the same ledger:
take `max` or `min`, never `sum`. `monitoring/prometheus/` has the rules, docs/runbooks.md what to do.
"""


def document() -> str:
    """The whole page, in Markdown."""
    sections = (
        _HEAD,
        "## Read from the ledger at each scrape\n",
        _table((m.name, m.kind, m.labels, m.help) for m in STATE_METRICS),
        "## Counted by the processes\n",
        _table(_counted()),
    )
    return "\n".join(sections)


def _counted() -> Iterator[tuple[str, str, Iterable[str], str]]:
    for metric in vars(Metrics(CollectorRegistry())).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            yield name, family.type, metric._labelnames, _explained(metric, family.documentation)


def _explained(metric: MetricWrapperBase, text: str) -> str:
    if not isinstance(metric, Histogram):
        return text
    bounds = ", ".join(f"{bound:g}" for bound in metric._upper_bounds[:-1])
    return f"{text} Buckets up to: {bounds}."


def _table(rows: Iterable[tuple[str, str, Iterable[str], str]]) -> str:
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, text in rows:
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
