"""What a manifest says of where its store comes from, as rows of the tables of the page About. No Streamlit."""

from store.format.manifest import Manifest
from store.points import where_of

Row = dict[str, object]


def models(manifest: Manifest) -> list[Row]:
    """The base, and each variant: role, whose replicate, kind, name, what it says it was trained on, SHA-256 of its weights."""
    roles = [("base", manifest.base), *manifest.variants.items()]
    return [
        {
            "role": role,
            "replicate of": name_of(model, "replicate_of"),
            "kind": name_of(model, "kind"),
            "name": name_of(model, "name"),
            "says it was trained on": name_of(model, "made_for"),
            "SHA-256": name_of(model, "sha256"),
        }
        for role, model in roles
    ]


def dictionaries(manifest: Manifest) -> list[Row]:
    """Each layer's dictionary: name, hook, SHA-256."""
    return [
        {
            "layer": int(layer),
            "name": name_of(sae, "name"),
            "point": where_of({layer: sae}),
            "hook": name_of(sae, "hook_name"),
            "SHA-256": name_of(sae, "sha256"),
        }
        for layer, sae in manifest.saes.items()
    ]


def dictionary_inputs(manifest: Manifest) -> list[Row]:
    """What each dictionary was trained on, and is fed; none of stores that do not say."""
    return [{"layer": int(layer), **_input(sae)} for layer, sae in manifest.saes.items() if "normalize_activations" in sae]


def _input(sae: dict[str, object]) -> Row:
    rounded = sae.get("stored_dtype") not in (None, sae.get("dtype"))
    folded = sae.get("folded")
    return {
        "model": _said(sae.get("model_name")),
        "residual": "less its mean over d_model" if sae.get("centred") else "as it is",
        "normalisation": f"{folded} (folded into the weights)" if folded else _said(sae.get("normalize_activations")),
        "b_dec subtracted": _said(sae.get("apply_b_dec_to_input")),
        "BOS": _said(sae.get("prepend_bos")),
        "window": _said(sae.get("context_size")),
        "dtype": f"{sae.get('dtype')}, stored in {sae['stored_dtype']}" if rounded else _said(sae.get("dtype")),
    }


def sources(manifest: Manifest) -> list[Row]:
    """What the corpus was read from: source, format where the store says, domain, licence, SHA-256."""
    entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in manifest.corpus.get("sources", [])]
    with_format = any(entry.get("format") for entry in entries)
    return [
        {
            "source": name_of(entry, "file", "dataset", "name", "path"),
            **({"format": name_of(entry, "format")} if with_format else {}),
            "domain": name_of(entry, "domain"),
            "licence": name_of(entry, "licence", missing="not recorded in the store"),
            "SHA-256": name_of(entry, "sha256"),
        }
        for entry in entries
    ]


def identity(manifest: Manifest) -> list[Row]:
    """When the store was made, its digests, and whose chat template rendered conversations, where it says."""
    facts = [
        ("created", manifest.created),
        ("content digest", manifest.digest),
        ("hash of the tokens read", name_of(manifest.corpus, "sha256")),
        ("tokenizer", name_of(manifest.tokenizer, "sha256", "name")),
        *_chat_template(manifest),
        ("schema version", str(manifest.schema_version)),
    ]
    return [{"what": what, "value": value} for what, value in facts]


def _chat_template(manifest: Manifest) -> list[tuple[str, str]]:
    """Nothing where there are no conversations, or the store does not say."""
    if "chat_template" not in manifest.corpus:
        return []
    used = manifest.corpus["chat_template"]
    if not isinstance(used, dict):
        return [("chat template", "none: prompts and responses were joined by a line break")]
    return [("chat template of", name_of(used, "from")), ("chat template", name_of(used, "sha256"))]


def name_of(entry: dict[str, object], *fields: str, missing: str = "–") -> str:
    """The first of some fields that an entry of the manifest has."""
    return next((str(entry[field]) for field in fields if entry.get(field)), missing)


def _said(value: object) -> str:
    return "not said" if value is None else written(value)


def written(value: object) -> str:
    """A value of the manifest as text."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {written(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
