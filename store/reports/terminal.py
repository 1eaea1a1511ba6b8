"""A store in words, for the terminal: where it came from and its headline table."""

from store.format.manifest import Manifest
from store.read.store import Store

HEADLINE = [
    "variant", "layer", "cosine", "overlap", "latent_cosine", "relative_shift", "l0_base", "l0_variant",
    "fvu_base", "fvu_variant", "gate", "n_tokens",
]  # fmt: skip


def describe(store: Store) -> str:
    """Provenance, counts and one row per variant and layer."""
    manifest = store.manifest
    counts = manifest.counts
    lines = [
        f"store     {store.path}",
        f"created   {manifest.created}   schema {manifest.schema_version}   digest {manifest.digest[:16]}",
        f"base      {manifest.base['name']}",
        *(f"variant   {name}: {variant['kind']} {variant['name']}" for name, variant in manifest.variants.items()),
        f"corpus    {counts['tokens']:,} tokens, {counts['documents']:,} documents, domains: {', '.join(store.domains)}",
        *(f"skipped   {count:,} documents: {why}" for why, count in counts.get("skipped", {}).items()),
        *_text(manifest),
        *([f"labels    {store.n_labels:,} imported"] if store.n_labels else []),
        *(f"note      {note}" for note in manifest.notes),
        "",
        store.overview()[HEADLINE].to_string(index=False, float_format=lambda value: f"{value:.3f}"),
    ]
    return "\n".join(lines)


def _text(manifest: Manifest) -> list[str]:
    """What became of the text on its way to tokens, as far as the manifest says."""
    lines = []
    used, left_out = manifest.corpus.get("chat_template"), manifest.counts.get("left_out")
    if isinstance(used, dict):
        lines.append(f"template  of {used.get('from')} ({str(used.get('sha256'))[:12]})")
    if isinstance(left_out, dict):
        lines += [f"left out  {number} {what}" for what, number in left_out.items()]
    return lines
