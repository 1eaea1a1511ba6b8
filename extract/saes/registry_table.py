"""What of sae-lens' registry is read, as a page of Markdown: docs/dictionaries.md is written from here.

python -m extract.saes.registry_table docs/dictionaries.md
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sae_lens

from extract.config_sections import SaeConfig
from extract.saes.architectures import TRANSCODERS
from extract.saes.judging import LOADER_NOTES, judged
from extract.saes.named_sites import read_and_written
from extract.saes.registry import Known, registry
from extract.saes.releases import find
from store.errors import UserError
from store.points import POINTS

HEAD = """# Dictionaries of sae-lens' registry

Every release that sae-lens {version} knows, and what `python -m extract check` makes of its dictionaries without a hub, by
the names in the registry alone. What a dictionary's own settings say counts more, once they are fetched.
`python -m extract.saes.registry_table docs/dictionaries.md` writes this page.

A transcoder is given as where it reads → where it writes.

"""


@dataclass(frozen=True)
class Verdict:
    """What is made of a dictionary.

    Attributes:
        kind: "SAE" or "transcoder".
        point: where it reads, and → where a transcoder writes; "" where it is refused.
        layer: number of the decoder block; -1 where it is refused.
        refused: why it is; "" where it is read.
    """

    kind: str
    point: str
    layer: int
    refused: str


def verdict(one: Known) -> Verdict:
    """By the steps that ``check`` takes where it cannot ask the hub."""
    try:
        place = find(SaeConfig(release=one.release, id=one.id))
        settings, _notes = judged(place.name, one)
        read, written = read_and_written(place.name, settings)
    except UserError as error:
        return Verdict("SAE", "", -1, str(error).partition("' has ")[2].partition("; ")[0] or str(error))
    kind = "transcoder" if settings["architecture"] in TRANSCODERS else "SAE"
    return Verdict(kind, read.point if written is None else f"{read.point} → {written.point}", read.layer, "")


def page() -> str:
    """The whole page."""
    judgements = [(one, verdict(one)) for one in registry()]
    return HEAD.format(version=sae_lens.__version__) + "\n".join(
        (*_totals(judgements), "", *_points(), "", *_releases(judgements), "")
    )


def _points() -> Iterator[str]:
    yield from ("| point | |", "|---|---|")
    yield from (f"| `{point}` | {words} |" for point, words in POINTS.items())


Judgements = list[tuple[Known, Verdict]]


def _totals(judgements: Judgements) -> Iterator[str]:
    read = sum(not verdict.refused for _, verdict in judgements)
    releases = {one.release for one, _ in judgements}
    whole = len(releases - {one.release for one, verdict in judgements if verdict.refused})
    yield (
        f"Read: {read:,} of {len(judgements):,} dictionaries ({read / len(judgements):.2%}), and all of {whole} of "
        f"{len(releases)} releases."
    )
    yield from ("", "| point | dictionaries |", "|---|---|")
    points = Counter(verdict.point or f"refused: {verdict.refused}" for _, verdict in judgements)
    yield from (f"| {point} | {count:,} |" for point, count in points.most_common())


def _releases(judgements: Judgements) -> Iterator[str]:
    yield from ("| release | model | kind | point | dictionaries | |", "|---|---|---|---|---|---|")
    rows = Counter((one.release, one.model, verdict.kind, verdict.point, _what(one, verdict)) for one, verdict in judgements)
    for (release, model, kind, point, what), count in rows.items():
        yield f"| `{release}` | {model} | {kind} | {point} | {count:,} | {what} |"


def _what(one: Known, verdict: Verdict) -> str:
    if verdict.refused:
        return f"refused: {verdict.refused}"
    return f"read: {LOADER_NOTES[one.loader]}" if one.loader in LOADER_NOTES else "read"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
