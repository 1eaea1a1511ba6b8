"""A store in words, for the terminal: where it came from, what its variants amount to, its headline table."""

from collections.abc import Mapping
from typing import Any

from store.format.manifest import Manifest
from store.read.store import Store
from store.reports.courses import courses, earlier_checkpoints
from store.reports.summaries import sentences, with_unseen

HEADLINE = [
    "variant", "layer", "relative_shift", "cosine", "overlap", "overlap_twin_low", "overlap_twin_high", "latent_cosine",
    "n_halved", "n_halved_twin_low", "n_halved_twin_high", "n_doubled", "n_doubled_twin_low", "n_doubled_twin_high",
    "n_suppressed", "n_amplified", "n_seen", "not_seen", "fvu_base", "fvu_variant", "gate",
]  # fmt: skip
COUNTS = [name for name in HEADLINE if name.startswith("n_")]


def describe(store: Store) -> str:
    """Provenance, counts, what each variant amounts to, and one row per variant and layer."""
    manifest = store.manifest
    counts = manifest.counts
    lines = [
        f"store     {store.path}",
        f"created   {manifest.created}   schema {manifest.schema_version}   digest {manifest.digest[:16]}",
        f"base      {manifest.base['name']}",
        *(
            f"variant   {name}: {variant['kind']} {variant['name']}{_replicate(variant)}{_step(variant)}"
            for name, variant in manifest.variants.items()
        ),
        f"corpus    {counts['tokens']:,} tokens, {counts['documents']:,} documents, domains: {', '.join(store.domains)}",
        *(f"skipped   {count:,} documents: {why}" for why, count in counts.get("skipped", {}).items()),
        *_text(manifest),
        *([f"labels    {store.n_labels:,} imported"] if store.n_labels else []),
        *(f"note      {note}" for note in manifest.notes),
        "",
        amounts(store),
        "",
        _table(store),
    ]
    return "\n".join(lines)


def _table(store: Store) -> str:
    rows = with_unseen(store, store.overview())[HEADLINE].astype(dict.fromkeys(COUNTS, "Int64")).dropna(axis=1, how="all")
    return rows.to_string(index=False, float_format=lambda value: f"{value:.3f}")


def amounts(store: Store) -> str:
    """What each variant amounts to over all its layers: a line a variant; of a training its last checkpoint, and its course."""
    earlier, over_steps = earlier_checkpoints(store), courses(store)
    lines = [f"{variant}: {said}" for variant, said in sentences(store).items() if variant not in earlier]
    return "\n".join([*lines, *(f"{course.series}: {course.text}" for course in over_steps.values())])


def _text(manifest: Manifest) -> list[str]:
    """What became of the text on its way to tokens, as far as the manifest says."""
    lines = []
    used, left_out = manifest.corpus.get("chat_template"), manifest.counts.get("left_out")
    if isinstance(used, dict):
        lines.append(f"template  of {used.get('from')} ({str(used.get('sha256'))[:12]})")
    if isinstance(left_out, dict):
        lines += [f"left out  {number} {what}" for what, number in left_out.items()]
    return lines


def _step(variant: Mapping[str, Any]) -> str:
    return f", step {variant['step']:,} of {variant['series']}" if "series" in variant else ""


def _replicate(variant: Mapping[str, Any]) -> str:
    return f" (another run of {variant['replicate_of']})" if "replicate_of" in variant else ""
