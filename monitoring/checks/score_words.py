"""What the scores of checks mean, in words and with their units; one list for the report, the console and the command."""

from collections.abc import Mapping

from monitoring.checks.tally import AGE_DAYS

_WORDS = {
    "locality": ("answers that stayed as the base's", ""),
    "false_fire": ("probes on which an edit fired, though none concerns them", ""),
    "expected": ("answers as the probe itself expects", ""),
    "kl_mean": ("KL divergence from the base, mean", "nats"),
    "kl_p99": ("KL divergence from the base, 99th percentile", "nats"),
    "perplexity_ratio": ("perplexity of unrelated text, edited to base", "times"),
    "retention": ("facts whose own prompt is still answered as told", ""),
    "retention_rephrase": ("facts that are still answered as told, asked in other words", ""),
    "stale_answers": ("answers with a value that the fact had before", ""),
    "routing_consistency": ("LEMoE edits that reach their own expert", ""),
    "agreement": ("answers through the gateway that agree with the model's in process", ""),
    "agreement_prompt": ("of these, to edits' own prompts", ""),
    "agreement_rephrase": ("of these, to prompts in other words", ""),
    "agreement_probe": ("of these, to probes that no edit concerns", ""),
    "unmeasured": ("questions that could not be compared", ""),
    "drift": ("evidence of drift (log likelihood ratio)", ""),
}
_INTERVALS = ("locality", "retention", "agreement")
_SHOWN_ELSEWHERE = ("drift_alarm", *(f"{name}_{end}" for name in _INTERVALS for end in ("low", "high")))


def score_words(name: str) -> str:
    """A score's name as the ledger keeps it, in words; a name that nobody knows stays as it is."""
    for days_name, count in AGE_DAYS.items():
        if name.endswith(f"_{days_name}") and (known := _WORDS.get(name.removesuffix(f"_{days_name}"))):
            return f"{known[0]}, of edits live for at most {days(count)}"
    return _WORDS[name][0] if name in _WORDS else name


def days(count: int) -> str:
    """`1 day`, `7 days`."""
    return f"{count} day{'s' if count > 1 else ''}"


def worded_scores(scores: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """The scores of a check that say something, each in words and as a text with its interval or unit."""
    worded = []
    for name, value in scores.items():
        if value is None or name in _SHOWN_ELSEWHERE:
            continue
        low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
        text = f"{value:.4g}"
        if name in _INTERVALS and low is not None and high is not None:
            text += f" (95 % interval {low:.4g} to {high:.4g})"
        elif name == "drift" and scores.get("drift_alarm"):
            text += ", an alarm"
        elif unit := _WORDS.get(name, ("", ""))[1]:
            text += f" {unit}"
        worded.append((score_words(name), text))
    return worded
