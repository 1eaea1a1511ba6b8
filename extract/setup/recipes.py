"""What names say: what a variant may be called, which are runs of one recipe, and which domain one was trained for. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from extract.config import RESERVED_NAMES
from extract.config_sections import MAX_DOMAIN, RESERVED_DOMAIN
from extract.setup.parts import Weights

MOST_NAME = 41
SEEDED = re.compile(r"(?P<recipe>.+?)[-_. ]+(?:seed|s|run|rep|replicate)[-_. ]?(?P<number>\d+)", re.IGNORECASE)
"""maths-seed2, maths_s2, maths-run-2. A bare number is none: it may be a version, a size or a step."""
PART = re.compile(
    r"train(ing)?|test|val(id(ation)?)?|eval(uation)?|dev|held|out|heldout|data(set)?s?|corpus|texts?|sft|dpo|clean(ed)?|part|shard|of|"
    r"split|sample|subset|v?\d+",
    re.IGNORECASE,
)
"""Words in names of files that say nothing of what the text is about."""
FORMAT = re.compile(r"alpaca|sharegpt|conversations?|messages|chatml|instructions?|prompts?|completions?", re.IGNORECASE)
"""Words that say how the records are written, where a name says something else too."""
ENDING = re.compile(r"(\.(jsonl|ndjson|json|parquet|csv|tsv|txt|md|markdown|arrow|gz|zst|bz2|xz))+$", re.IGNORECASE)


def named_apart(weights: Iterable[Weights]) -> dict[str, Weights]:
    """Variant name -> weights; names that the user gave stay as they are, others are made such as a name may be."""
    found: dict[str, Weights] = {}
    every = list(weights)
    for one in sorted(every, key=lambda one: not one.given):
        name = one.name if one.given and one.name not in found else free(_as_name(one.name), found)
        found[name] = one
    return {name: found[name] for name in sorted(found, key=lambda name: every.index(found[name]))}


def as_series(name: str) -> str:
    """A series of some name, as the configuration may call it."""
    return _as_name(name)


def _as_name(text: str) -> str:
    name = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9_-]+", "-", text.lower())).strip("-_") or "variant"
    name = name if len(name) <= MOST_NAME else name[-MOST_NAME:].strip("-_")  # the end has the step, or the seed
    return f"{name}-model" if name in RESERVED_NAMES else name


def free(name: str, taken: Collection[str]) -> str:
    """A name, or where that is taken one with a number that is not."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name[: MOST_NAME - 5]}_{number}", number + 1
    return found


def recipe(name: str) -> tuple[str, int | None]:
    """(the recipe that a run's name says, the number of its seed or None)."""
    match = SEEDED.fullmatch(name)
    return (match["recipe"], int(match["number"])) if match else (name, None)


def replicates(variants: Mapping[str, Weights]) -> dict[str, str]:
    """Variant -> the run of its recipe that it repeats, by the seeds in their names; states of a training repeat those of the
    same step of another, and never each other."""
    runs: dict[tuple[str, int | None], dict[str, tuple[int, str]]] = {}
    for name, one in variants.items():
        of, number = recipe(one.series or name)
        runs.setdefault((of, one.step), {}).setdefault(one.series or name, (-1 if number is None else number, name))
    found = {}
    for of_one in runs.values():
        (_, first), *others = sorted(of_one.values())
        found |= {name: first for _, name in others}
    return {name: found[name] for name in variants if name in found}


def words(text: str) -> list[str]:
    """The words of a name, in small letters."""
    return re.findall(r"[^\W_]+", text.lower())


def trained_for(one: Weights, name: str, domains: Collection[str]) -> list[str]:
    """The domains whose name stands in the name of a variant or of its folder, or that have its recipe's in theirs."""
    of = words(recipe(one.series or name)[0])
    said = [of, *(words(text) for text in (one.name, Path(one.spec).name))]
    return [
        domain
        for domain in sorted(domains)
        if (own := words(domain)) and (any(_within(own, text) for text in said) or (of and _within(of, own)))
    ]


def _within(short: Sequence[str], long: Sequence[str]) -> bool:
    return any(list(long[at : at + len(short)]) == list(short) for at in range(len(long) - len(short) + 1))


def domain_of(path: Path) -> str:
    """A domain for the records of a file that have none: the file's name without what only says which part of a set it is, or
    the name of its folder."""
    for name in (ENDING.sub("", path.name), path.absolute().parent.name):
        said = [word for word in re.findall(r"[^\W_]+", name) if not PART.fullmatch(word)]
        telling = [word for word in said if not FORMAT.fullmatch(word)] or said
        domain = "-".join(telling)[:MAX_DOMAIN]
        if domain.isprintable() and domain:
            return f"{domain}-text" if domain == RESERVED_DOMAIN else domain
    return "text"
