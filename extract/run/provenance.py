"""Where a store comes from: its manifest, and the fingerprint that an interrupted run is resumed by."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from extract.config import RunConfig, twin_model, twins
from extract.config_sections import display_name
from extract.corpus.answers import answers_fingerprint
from extract.corpus.documents import Corpus, domain_counts
from extract.measure.run_context import RunContext
from extract.models.loading import tokenizer_digest
from extract.models.model_set import ModelSet
from extract.models.settings import settings_digest
from extract.pilot.twin_sizes import notes as twin_notes
from extract.saes.dictionary import Dictionary
from store.errors import UserError
from store.files import partial_of, whole
from store.format.manifest import Manifest
from store.format.writer import WORK_FOLDER, StoreWriter
from store.names import BASE

PACKAGES = ("torch", "transformers", "sae-lens", "peft", "duckdb", "h5py", "numpy")
FINGERPRINT_FILE = "run.json"
SUMS_VERSION = "6"  # raise it when what a shard leaves behind changes: an interrupted run of before is not resumed


def fingerprint(
    config: RunConfig,
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    models: ModelSet,
    dictionaries: list[Dictionary],
    replicas: list[Dictionary],
) -> dict[str, str]:
    """What a run depends on, by name, each as text or hash."""
    return {
        **fingerprint_of_text(config, corpus, tokenizer),
        **{f"model '{name}'": digest for name, digest in models.digests.items()},
        **{f"configuration of model '{name}'": settings_digest(settings) for name, settings in models.settings.items()},
        **{f"dictionary at layer {dictionary.layer}": dictionary.digest() for dictionary in dictionaries},
        **{f"replica at layer {replica.layer}": replica.digest() for replica in replicas},
        **{f"residual read by '{read.name}'": "less its mean" for read in (*dictionaries, *replicas) if read.centred},
    }


def fingerprint_of_text(config: RunConfig, corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The part of :func:`fingerprint` that is known without weights."""
    return {
        "version of the program": SUMS_VERSION,
        "settings": json.dumps(_settings(config), sort_keys=True),
        "tokens": corpus.digest(),
        **answers_fingerprint(config),
        "tokenizer": tokenizer_digest(tokenizer),
    }


def check_fingerprint(writer: StoreWriter, digests: dict[str, str]) -> None:
    """Resume only with what the interrupted run was started with.

    Raises:
        UserError: something else was; the first difference is named.
    """
    before = check_begun(writer.folder, digests)
    if gone := sorted(before.keys() - digests.keys()):
        raise _begun_with_another(writer.folder, gone[0])
    with whole(writer.work / FINGERPRINT_FILE) as file:
        file.write(json.dumps(digests, indent=1).encode())


def check_begun(out: Path, digests: dict[str, str]) -> dict[str, str]:
    """Compare what is known of a run with what an interrupted one at the same place was begun with.

    Returns:
        What that was begun with; nothing where there is none.

    Raises:
        UserError: it was begun with something else.
    """
    before = _read_fingerprint(partial_of(out) / WORK_FOLDER / FINGERPRINT_FILE)
    if before and (changed := sorted(name for name, digest in digests.items() if before.get(name) != digest)):
        raise _begun_with_another(out, changed[0])
    return before


def _begun_with_another(out: Path, what: str) -> UserError:
    return UserError(
        f"'{partial_of(out)}' was begun with another {what}; finish that run with its own input, or remove the folder to start "
        "afresh."
    )


def fingerprint_hash(digests: dict[str, str]) -> str:
    """SHA-256 over what :func:`fingerprint` gave."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _read_fingerprint(path: Path) -> dict[str, str]:
    """What an interrupted run left; nothing where that is absent or damaged: the stamps of its other files then decide."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def make_manifest(context: RunContext, corpus: Corpus, digests: dict[str, str], notes: Sequence[str] = ()) -> Manifest:
    """Everything that the manifest says of a run, but for what the writer adds when it finishes.

    Args:
        digests: from :func:`fingerprint`.
        notes: what was done in loading that the reader of the store should know.
    """
    config, models = context.config, context.models
    return Manifest(
        base={"name": display_name(config.base), **_hashes(models, BASE)},
        variants={
            name: {
                "kind": v.kind,
                "name": v.source,
                **_hashes(models, name),
                **({"made_for": models.made_for[name]} if name in models.made_for else {}),
                **({"replicate_of": v.replicate_of} if v.replicate_of is not None else {}),
                **({"series": v.series, "step": v.step} if v.series is not None else {}),
                **_twins(context, name),
            }
            for name, v in config.variants.items()
        },
        saes={
            str(dictionary.layer): {
                "name": dictionary.name,
                "hook_name": dictionary.hook_name,
                "sha256": digests[f"dictionary at layer {dictionary.layer}"],
                **dictionary.facts(),
            }
            for dictionary in context.dictionaries
        },
        tokenizer={"sha256": digests["tokenizer"]},
        corpus={
            "sources": [reading.describe() for reading in corpus.readings],
            "sha256": corpus.digest(),
            "domains": domain_counts(corpus.documents),
            **({} if corpus.chat_template == {} else {"chat_template": corpus.chat_template}),
        },
        settings=_settings(config),
        packages={name: importlib.metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()},
        pilot={
            str(layer): {
                "median_norm": pilot.median_norm,
                "mean_norm": pilot.mean_norm,
                "code_scale": pilot.code_scale,
                "activation_unit": pilot.activation_unit,
                "self_test_fvu": pilot.fvu,
                "self_test_l0": pilot.l0,
            }
            for layer, pilot in context.pilots.items()
        },
        counts={
            "tokens": corpus.n_tokens,
            "documents": len(corpus.documents),
            "skipped": dict(corpus.skipped),
            "left_out": dict(corpus.left_out),
            "bos": context.bos is not None,
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=fingerprint_hash(digests),
        notes=[*notes, *twin_notes(context.twin_sizes)],
    )


def _hashes(models: ModelSet, name: str) -> dict[str, str]:
    """Of a model's weights, and of what of its configuration decides what is computed from them."""
    settings = models.settings.get(name)
    return {
        "sha256": models.digests[name],
        **({} if settings is None else {"configuration_sha256": settings_digest(settings)}),
    }


def _twins(context: RunContext, name: str) -> dict[str, dict[str, dict[str, float]]]:
    """How large a variant's twins are, where it has any."""
    named = {twin: context.twin_sizes.get(twin_model(name, twin)) for twin in twins(context.config)}
    found = {twin: {"factor": size.factor, "ratio": size.ratio} for twin, size in named.items() if size is not None}
    return {"twins": found} if found else {}


def _settings(config: RunConfig) -> dict:
    """The configuration without places on this machine's disk; models and data are known by name and hash."""
    settings = config.model_dump(mode="json", exclude={"base", "variants", "saes", "replicas", "corpus", "contributions"})
    if settings["quantization"] is None:
        del settings["quantization"]  # runs that were begun before there was any go on
    for name in ("chat_template", "answers"):
        settings[name] = Path(settings[name]).name if settings[name] else None
    settings["tasks"] = {name: variant.task for name, variant in config.variants.items()}
    settings["replicate_of"] = {name: v.replicate_of for name, v in config.variants.items() if v.replicate_of is not None}
    settings["replicas"] = [replica.name for replica in config.replicas]
    return settings
