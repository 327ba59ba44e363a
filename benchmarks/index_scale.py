"""What a million edits cost in the index: memory, the time to find a prompt's candidates, the time to open them.

    OMP_NUM_THREADS=1 python benchmarks/index_scale.py --model demo/base

Prints one JSON object. Each size runs in a process of its own, over shards written directly, of `--batch` edits (50, as
production's: each shard that is held takes memory of its own): invented names (two words, now and then a third or an alias,
three edits for two subjects), questions of `--relations` relations in eight phrasings, random unit vectors, and what a base
that was asked leaves in an entry (its answer, the target, required words); no experts.

    memory_bytes_per_edit    growth of the process' anonymous memory from before opening to after, over the edits
    file_bytes_per_edit      of the shards' files: headers and vectors, which are read where they lie
    bytes_per_edit           both
    lookup_us                p50 over prompts of which half name an edited subject: which edits may be meant
    lookup_growth_*          `lookup_us` of one size over that of another
    open_seconds_ratio       seconds from digests to answering, over those of reading and hashing the same files once
    prompt_ms                p50 of the whole index for one such prompt: candidates, encoder, pair head
    long_prompt_ms           the same for a prompt of 4,096 words that names hundreds of edited subjects
    long_over_short          the worst of `hostile_texts` (8,192 characters) over a prompt of 100 that names a subject
    ratio_over_encoder_pass  p50 of that time over one encoder pass of the same prompt, of prompts that name a subject
"""

import argparse
import ctypes
import gc
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from editors import EditedModel, load_base
from editors.base.base import Base
from editors.index.matcher import load_matcher
from editors.store.adapter_store import AdapterStore
from editors.store.derived_index import TEXT_VECTORS
from editors.store.header import Calibration, IndexedQuestion, ShardEntry, ShardHeader
from editors.store.shards import Shard, prompt_sha256
from edits.names.segmentation import MAX_WORDS, read_text

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PROMPTS = 200
SHORT_CHARACTERS, LONG_CHARACTERS = 100, 8_192
TEMPLATES = (
    "Who is the {r} of {x}?",
    "{x} has which {r}?",
    "Name the {r} of {x}.",
    "What is {x}'s {r}?",
    "The {r} of {x} is",
    "Tell me who the {r} of {x} is.",
    "Do you know the {r} of {x}?",
    "As {r} of {x} one finds",
)
_SYLLABLES = ("ba", "do", "fe", "gu", "ki", "lo", "mi", "nu", "ra", "se", "ti", "vo", "wa", "xe", "yo", "za")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="demo/base", help="any base: nothing is asked of it")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--batch", type=int, default=50, help="edits of a shard")
    parser.add_argument("--relations", type=int, default=500)
    parser.add_argument("--distinct", action="store_true", help="every question in words of its own")
    parser.add_argument("--encoder", default="", help="an encoder's folder or hub id; unset: the default one")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options)))
        return
    found = {size: _apart(size) for size in options.sizes}
    small, large = min(found), max(found)
    headline = {
        "bytes_per_edit": found[large]["bytes_per_edit"],
        f"lookup_growth_{large}_over_{small}": found[large]["lookup_us"] / found[small]["lookup_us"],
        "open_seconds_ratio": found[large]["open_seconds_ratio"],
    }
    for size, one in found.items():
        headline |= {f"prompt_ms_{size}": one["prompt_ms"]}
        headline |= {f"long_over_short_{size}": one["long_over_short"]}
        headline |= {f"ratio_over_encoder_pass_{size}": one["ratio_over_encoder_pass"]}
    print(json.dumps({**headline, "sizes": found}, indent=1))


def _apart(size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--one", str(size)]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    return dict(json.loads(report.splitlines()[-1]))


def measure(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """One size, in this process."""
    torch.set_num_threads(1)
    base = load_base(options.model, device="cpu")
    matcher = load_matcher(*[options.encoder] if options.encoder else [])
    model = EditedModel(base, matcher=matcher)
    model.route(["warm"])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        command = [
            sys.executable,
            "-c",
            _WRITE,
            json.dumps(vars(options)),
            str(count),
            folder,
        ]
        subprocess.run([*command, matcher.hash, str(Path(__file__).parent)], check=True)  # noqa: S603
        files = [path for path in root.rglob("shard.*") if path.is_file()]
        file_bytes = sum(path.stat().st_size for path in files)
        hash_seconds = _seconds(lambda: [hashlib.sha256(path.read_bytes()).digest() for path in files])
        before = memory_bytes()
        model = EditedModel(base, AdapterStore(root), matcher=matcher)
        open_seconds = _seconds(lambda: model.apply_generation(enabled=_generation(root), disabled=()))
        held = memory_bytes() - before
        result = {
            "edits": len(model.live),
            "memory_bytes_per_edit": held / count,
            "file_bytes_per_edit": file_bytes / count,
            "bytes_per_edit": (held + file_bytes) / count,
            "open_seconds": open_seconds,
            "hash_seconds": hash_seconds,
            "open_seconds_ratio": open_seconds / hash_seconds,
            **times(model, count, options),
        }
        prompts = prompts_of(count, options)
        _drain(model.route([prompt]) for prompt in prompts)
        return {**result, "disable_us": _seconds(lambda: model.disable(_some(model))) / 1000 * 1e6}


def times(model: EditedModel, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Microseconds and milliseconds a prompt, one at a time."""
    scope, matcher = model._scope, model.matcher
    if scope is None or matcher is None:
        raise ValueError("no edits were opened")
    naming = prompts_of(count, options)
    others = [prompt_of(count + n, 10 * count + n, options.relations) for n in range(len(naming))]
    mixed = [prompt for pair in zip(naming, others, strict=True) for prompt in pair]
    passes = _each(naming, lambda prompt: matcher.encoder.encode([prompt]))
    whole = _each(naming, lambda prompt: scope.route([prompt]))
    short = statistics.median(_each([_padded(prompt) for prompt in naming], lambda text: scope.route([text])))
    hostile = hostile_texts(count, naming)
    long = dict(zip(hostile, _each(list(hostile.values()), lambda text: scope.route([text])), strict=True))
    worst = max(long, key=long.__getitem__)
    return {
        "short_ms": 1e3 * short,
        "worst_text": worst,
        "worst_text_ms": 1e3 * long[worst],
        "long_over_short": long[worst] / short,
        "lookup_us": 1e6 * statistics.median(_each(mixed, lambda prompt: scope.candidates([prompt]))),
        "lookup_us_none": 1e6 * statistics.median(_each(others, lambda prompt: scope.candidates([prompt]))),
        "lookup_us_named": 1e6 * statistics.median(_each(naming, lambda prompt: scope.candidates([prompt]))),
        "long_prompt_ms": 1e3 * _each([long_prompt(naming)], lambda prompt: scope.route([prompt]))[0],
        "encoder_ms": 1e3 * statistics.median(passes),
        "prompt_ms": 1e3 * statistics.median(_each(mixed, lambda prompt: scope.route([prompt]))),
        "prompt_ms_named": 1e3 * statistics.median(whole),
        "ratio_over_encoder_pass": statistics.median(w / p for w, p in zip(whole, passes, strict=True)),
    }


def _each(prompts: Sequence[str], work: Callable[[str], object]) -> list[float]:
    """Seconds of the work on each prompt: the quicker of two runs."""
    read_text.cache_clear()
    runs = [[_seconds(partial(work, prompt)) for prompt in prompts] for _ in range(2)]
    return [min(pair) for pair in zip(*runs, strict=True)]


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _drain(many: Iterator[object]) -> None:
    for _ in many:
        pass


def _some(model: EditedModel) -> list[str]:
    return random.Random(0).sample(sorted(model.live), min(1000, len(model.live)))


def memory_bytes() -> int:
    """Anonymous memory of this process: mapped files are not in it."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this machine does not tell RssAnon")


# In a process of its own: what making shards leaves in the allocator is not the index's.
_WRITE = """
import argparse, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[5])
from index_scale import write_store
write_store(int(sys.argv[2]), argparse.Namespace(**json.loads(sys.argv[1])), Path(sys.argv[3]), sys.argv[4])
"""


def write_store(count: int, options: argparse.Namespace, root: Path, encoder_hash: str) -> None:
    """Shards of `count` edits under `root`, and which edit is in which."""
    base = load_base(options.model, device="cpu")
    width = load_matcher(*[options.encoder] if options.encoder else []).encoder.width
    store = AdapterStore(root)
    with (root / "generation.txt").open("w") as lines:
        for first in range(0, count, options.batch):
            numbers = range(first, min(count, first + options.batch))
            shard = shard_of(base, numbers, options, encoder_hash, width)
            lines.write(f"{store.save(shard)} {numbers[0]} {numbers[-1]}\n")


def _generation(root: Path) -> dict[str, str]:
    enabled: dict[str, str] = {}
    for line in (root / "generation.txt").read_text().splitlines():
        digest, first, last = line.split()
        enabled |= dict.fromkeys(map(str, range(int(first), int(last) + 1)), digest)
    return enabled


def shard_of(base: Base, numbers: range, options: argparse.Namespace, encoder_hash: str, width: int) -> Shard:
    """A shard of the edits of these numbers, without experts."""
    entries = tuple(entry_of(base, number, options.relations) for number in numbers)
    questions = tuple(question_of(number, options) for number in numbers)
    vectors = torch.nn.functional.normalize(
        torch.randn(len(numbers), width, generator=torch.Generator().manual_seed(numbers[0])), dim=-1
    )
    header = ShardHeader(
        editor="scen",
        base_hash=base.hash,
        encoder_hash=encoder_hash,
        layer=base.layer,
        settings={"rank": 4, "steps": 40, "learning_rate": 0.01},
        calibration=Calibration(
            target_false_fire=0.01,
            threshold=0.6,
            near_coverage=0.75,
            negatives=70,
            false_fire=0.0,
            positives=20,
            miss=0.0,
        ),
        entries=entries,
        questions=questions,
    )
    return Shard(header, {TEXT_VECTORS: vectors.half()})


def entry_of(base: Base, number: int, relations: int) -> ShardEntry:
    rng = random.Random(number)
    names = names_of(number)
    ids = [rng.randrange(base.vocabulary) for _ in range(14)]
    return ShardEntry(
        edit_id=str(number),
        surface_forms=names,
        base_answer_ids=tuple(ids[:8]),
        confidence=rng.random(),
        threshold=0.6,
        near_name=names[0],
        prompt_sha256=prompt_sha256(prompt_of(number, number, relations)),
        answer_ids=tuple(ids[8:]),
        required_words=(names[0].split()[-1].lower(),),
        relation=f"{word(number % relations)} relation",
        odds=rng.random() * 2,
    )


def question_of(number: int, options: argparse.Namespace) -> IndexedQuestion:
    noun = word(number % options.relations)
    text = TEMPLATES[number // options.relations % len(TEMPLATES)].format(r=noun, x="x").lower()
    more = f" {word(number + 7919)} {word(3 * number)}" if options.distinct else ""
    return IndexedQuestion(text=text + more, edit_id=str(number), relation=f"{noun} relation")


def prompts_of(count: int, options: argparse.Namespace) -> list[str]:
    """Prompts of edited subjects in other words than the edits' own."""
    chosen = random.Random(1).choices(range(count), k=PROMPTS)
    return [f"Please: {prompt_of(number, number, options.relations)}" for number in chosen]


def long_prompt(prompts: Sequence[str]) -> str:
    """4,096 words, of which many are names of edited subjects."""
    words = " ".join(prompts).split()
    return " ".join((words * (1 + MAX_WORDS // len(words)))[:MAX_WORDS])


def _padded(prompt: str) -> str:
    """A prompt with something in front: 100 characters."""
    return f"{'Please answer in a few words only, as it matters to me, ' * 2}{prompt}"[-SHORT_CHARACTERS:]


def hostile_texts(count: int, prompts: Sequence[str]) -> dict[str, str]:
    """Texts of 8,192 characters that cost as much as a text can: many names, near names, words that look like beginnings."""
    names = [names_of(number)[0] for number in range(0, count, max(1, count // 2_000))]
    listed, near = " and ".join(names), " ".join(f"{name[:5]}q{name[6:]}" for name in names)
    asked = f"who is the {word(7)} of "
    texts = {
        "questions": " ".join(prompts),
        "names": listed,
        "a line each": "\n".join(names),
        "a question each": "? ".join(names),
        "asked of all": asked + listed,
        "asked of all, and a wish": f"{asked}{listed[:8_000]}? answer it briefly.",
        "near names": near,
        "near names, a line each": near.replace(" ", "\n"),
        "first words": " ".join(name.split()[0] for name in names),
        "one name": f"{names[0]} " * 8_192,
        "a a a": "a " * 8_192,
        "one long word": word(5) * 8_192,
        "question marks": "? " * 8_192,
        "symbols": "!! " * 8_192,
        "accents": "e\u0301" * 8_192,
        "unspaced": "\u5927\u962a" * 8_192,
        "endings": "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd " * 8_192,
        "prefixes": "\u0648\u0627\u0644\u0641\u0631\u0646\u0633\u0627 " * 8_192,
    }
    return {kind: text[:LONG_CHARACTERS] for kind, text in texts.items()}


def prompt_of(number: int, subject: int, relations: int) -> str:
    template = TEMPLATES[number // relations % len(TEMPLATES)]
    return template.format(r=word(number % relations), x=names_of(subject)[0])


def names_of(number: int) -> tuple[str, ...]:
    """The names of an edit's subject: three edits have two subjects."""
    subject = number * 2 // 3
    rng = random.Random(subject)
    first, last = word(rng.randrange(20_000)), word(20_000 + rng.randrange(300_000))
    name = f"{first.capitalize()} {last.capitalize()}"
    if subject % 5 == 0:
        name += f" {word(rng.randrange(5_000)).capitalize()}"
    return (name, f"{last.capitalize()} {word(rng.randrange(300_000))}") if subject % 4 == 0 else (name,)


@cache
def word(number: int) -> str:
    """An invented word, another one for each number."""
    digits = []
    for _ in range(3 if number < 4096 else 5):
        number, digit = divmod(number, len(_SYLLABLES))
        digits.append(_SYLLABLES[digit])
    return "".join(digits)


if __name__ == "__main__":
    main()
