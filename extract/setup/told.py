"""What ``init`` says it found: lines for the terminal."""

from collections.abc import Iterator
from typing import Any

from extract.config_sections import SaeConfig, VariantConfig, display_name
from extract.setup.draft import Draft
from store.numbers import listed
from store.text import on_one_line


def told(draft: Draft) -> list[str]:
    """Each part with what it was recognised as, then remarks, what is missing, and what ``check`` notes."""
    return [on_one_line(line) for line in _told(draft)]


def _told(draft: Draft) -> Iterator[str]:
    yield f"base      {display_name(draft.content['base'])}: {draft.report.size}"
    for name, given in draft.content["variants"].items():
        yield f"variant   {name}: {_variant(given)}"
    for entry in draft.content["saes"]:
        yield f"sae       {SaeConfig(**entry).name}"
    for source in draft.sources:
        domain = source.given.get("domain")
        yield from (f"data      {line}" + (f", domain {domain}" if domain else ", its own domains") for line in source.lines)
    yield from (line for line in draft.report.lines if line.startswith(("tokens ", "memory ", "disk ", "time ", "gains ")))
    yield from draft.remarks
    yield from (f"missing: {sentence}" for sentence in draft.missing)
    yield from (f"note: {note}" for note in draft.report.notes)


def _variant(given: dict[str, Any]) -> str:
    variant = VariantConfig(**given)
    facts = [f"{variant.kind} {variant.source}"]
    facts += [f"step {variant.step} of {variant.series}"] if variant.series else []
    facts += [f"trained for {listed(variant.task)}"] if variant.task else []
    facts += [f"another run of {variant.replicate_of}"] if variant.replicate_of else []
    return ", ".join(facts)
