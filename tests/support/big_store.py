"""Large stores of random numbers through the real writer: what is measured on them is time, not truth.

Counts and shifts are long-tailed as a real run's are; labels repeat; one feature in a thousand has contexts.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from store.format.codes import Codes, LayerCodes
from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.feature_numbers import feature_kind
from store.metrics.thresholds import MATERIAL
from store.metrics.verdicts import REASONS as OF_REASON

DOMAINS = ("code", "fiction", "harmful", "maths")
WORDS = [" the", " of", " refusal", " sum", " def", " once", " I", " cannot", ".", "\n"]
METRICS = ("cosine", "centred_cosine", "relative_shift", "overlap", "latent_cosine", "l0_base", "l0_variant", "l0_inflation",
           "fvu_base", "fvu_variant", "n_seen", "n_halved", "n_doubled")  # fmt: skip
REASONS = ("steady", "few_firings", "fell", "rose", "like_twins")
DOCUMENT_TOKENS = 64


def make_big_store(folder: Path, layers: int, d_sae: int, variants: int, documents: int = 400, seed: int = 0) -> Path:
    """Write a store of ``layers`` x ``variants`` x ``d_sae`` rows of pooled feature statistics; returns its folder."""
    rng = np.random.default_rng(seed)
    writer = StoreWriter(folder)
    names = [f"variant-{number}" for number in range(variants)]
    n_tokens = _texts(writer, rng, documents)
    for layer in range(layers):
        counts = _layer(writer, rng, layer, d_sae, n_tokens)
        for variant in names:
            _metrics(writer, rng, variant, layer, n_tokens, documents)
            _features(writer, rng, variant, layer, counts, n_tokens)
            _contexts(writer, rng, variant, layer, d_sae, documents)
    _part(writer, rng, layers, d_sae, names)
    np.savez(writer.partial / PILOT_FILE, **{f"{layer}/mean": np.zeros(4) for layer in range(layers)})
    writer.finish(_manifest(names, layers, n_tokens, documents))
    return folder


PART_TOKENS, LONG_D_SAE, LONG_L0, LONG_DOCUMENT = 65_536, 16_384, 64, 256


def make_long_store(folder: Path, n_parts: int, seed: int = 0) -> Path:
    """Write a store of ``n_parts`` full parts: one layer, the base's codes, ``LONG_L0`` a token; returns its folder.

    Every part is a copy of the first: what is measured on it is the time to find and read something in many files.
    """
    rng = np.random.default_rng(seed)
    writer = StoreWriter(folder)
    per_part = PART_TOKENS // LONG_DOCUMENT
    number = np.arange(n_parts * per_part)
    writer.load("documents", pd.DataFrame({
        "document": number, "source": number.astype(str), "cluster": number.astype(str), "domain": "code",
        "part": number // per_part, "first_row": number % per_part * LONG_DOCUMENT, "n_tokens": LONG_DOCUMENT,
        "has_codes": True,
    }))  # fmt: skip
    _layer(writer, rng, 0, LONG_D_SAE, n_parts * PART_TOKENS)
    indptr = np.arange(0, PART_TOKENS * LONG_L0 + 1, LONG_L0, dtype=np.int64)
    step = LONG_D_SAE // LONG_L0
    index = (np.arange(LONG_L0) * step + rng.integers(step, size=(PART_TOKENS, LONG_L0))).ravel()
    codes = Codes(indptr, index, rng.uniform(1, 9, size=len(index)).astype(np.float32))
    writer.write_part(0, {0: LayerCodes(LONG_D_SAE, 1.0, np.ones(PART_TOKENS, dtype=bool), {"base": codes})})
    for part in range(1, n_parts):
        shutil.copyfile(writer.part_path(0), writer.part_path(part))
    writer.finish(_manifest([], 1, n_parts * PART_TOKENS, len(number)))
    return folder


def _texts(writer: StoreWriter, rng: np.random.Generator, documents: int) -> int:
    domain = [DOMAINS[number % len(DOMAINS)] for number in range(documents)]
    coded = np.arange(documents) < 8
    writer.load("documents", pd.DataFrame({
        "document": range(documents), "source": [f"text-{number}" for number in range(documents)],
        "cluster": [f"text-{number // 4}" for number in range(documents)], "domain": domain,
        "part": np.where(coded, 0, -1), "first_row": np.where(coded, np.arange(documents) * DOCUMENT_TOKENS, -1),
        "n_tokens": DOCUMENT_TOKENS, "has_codes": coded,
    }))  # fmt: skip
    n = documents * DOCUMENT_TOKENS
    writer.load("tokens", pd.DataFrame({
        "document": np.repeat(np.arange(documents), DOCUMENT_TOKENS),
        "position": np.tile(np.arange(DOCUMENT_TOKENS), documents), "context": 0,
        "token_id": rng.integers(len(WORDS), size=n), "segment": "text",
    }))  # fmt: skip
    writer.load("vocabulary", pd.DataFrame({"token_id": range(len(WORDS)), "token": WORDS}))
    return n


def _layer(writer: StoreWriter, rng: np.random.Generator, layer: int, d_sae: int, n_tokens: int) -> np.ndarray:
    """Returns how often each feature fires in the base, int64 [d_sae]."""
    writer.load("layers", pd.DataFrame([{
        "layer": layer, "hook_name": f"blocks.{layer}.hook_resid_post", "sae": f"big-{layer}", "architecture": "jumprelu",
        "d_model": 4, "d_sae": d_sae, "n_tokens": n_tokens, "n_sinks": 0, "median_norm": 100.0, "mean_norm": 90.0,
        "code_scale": 1.0, "self_test_fvu": 0.2, "self_test_l0": 50.0,
    }]))  # fmt: skip
    counts = np.minimum(n_tokens, (10 ** rng.uniform(-1, 4, size=d_sae)).astype(np.int64))
    label = pa.array(WORDS).take(pa.array(rng.integers(len(WORDS), size=d_sae)))
    near = rng.integers(d_sae, size=2 * d_sae)
    tokens = rng.integers(len(WORDS), size=2 * d_sae)
    ends = pa.array(np.arange(0, 2 * d_sae + 1, 2, dtype=np.int32))

    def lists(values: np.ndarray, kind: type) -> pa.Array:
        return pa.ListArray.from_arrays(ends, pa.array(values.astype(kind)))

    writer.load("features", pa.table({
        "layer": pa.repeat(layer, d_sae), "feature": np.arange(d_sae), "decoder_norm": np.ones(d_sae),
        "density": counts / n_tokens, "label": label, "label_source": pa.repeat("automatic", d_sae),
        "promoted": lists(tokens, np.int32), "promoted_logits": lists(rng.normal(size=2 * d_sae), np.float32),
        "suppressed": lists(tokens[::-1], np.int32), "suppressed_logits": lists(rng.normal(size=2 * d_sae), np.float32),
        "neighbours": lists(near, np.int32), "neighbour_cosines": lists(rng.uniform(size=2 * d_sae), np.float32),
    }))  # fmt: skip
    edges = 2.0 ** (np.arange(-16, 17) / 2)
    writer.load("histogram_bins", pd.DataFrame({"layer": layer, "bin": range(32), "low": edges[:-1], "high": edges[1:]}))
    return counts


def _metrics(writer: StoreWriter, rng: np.random.Generator, variant: str, layer: int, n_tokens: int, documents: int) -> None:
    rows = [
        {"variant": variant, "layer": layer, "domain": domain, "segment": "all", "metric": metric, "control": control,
         "value": (value := float(rng.uniform(0.3, 0.9))), "low": value - 0.01, "high": value + 0.01, "excess": 0.01,
         "excess_low": 0.0, "excess_high": 0.02, "n_tokens": n_tokens, "n_documents": documents,
         "n_clusters": documents // 4}
        for domain in ("all", *DOMAINS) for metric in METRICS for control in ("observed", "isotropic", "twin_1", "twin_2")
    ]  # fmt: skip
    writer.load("layer_metrics", pd.DataFrame(rows))
    fit = [{"variant": variant, "layer": layer, "domain": d, "fvu_base": 0.2, "fvu_variant": 0.25, "gate": "fits"}
           for d in ("all", *DOMAINS)]  # fmt: skip
    writer.load("fit", pd.DataFrame(fit))


def _features(
    writer: StoreWriter, rng: np.random.Generator, variant: str, layer: int, counts: np.ndarray, n_tokens: int
) -> None:
    """A row a feature of all domains together, and of one domain for every twentieth."""
    d_sae = len(counts)
    both = (counts * rng.uniform(0.3, 1, size=d_sae)).astype(np.int64)
    shift = (rng.standard_t(3, size=d_sae) * counts / n_tokens).astype(np.float32)
    mean_base = np.maximum(counts / n_tokens * rng.uniform(1, 9, size=d_sae), 1e-6).astype(np.float32)
    shift = np.maximum(shift, -mean_base)
    change = shift / np.maximum(mean_base, mean_base + shift)
    reason = np.array(REASONS)[rng.choice(len(REASONS), size=d_sae, p=[0.6, 0.35, 0.02, 0.02, 0.01])]
    columns = {
        "variant": pa.repeat(variant, d_sae), "layer": pa.repeat(layer, d_sae), "domain": pa.repeat("all", d_sae),
        "feature": np.arange(d_sae), "n_tokens": pa.repeat(n_tokens, d_sae), "n11": both, "n10": counts - both,
        "n01": rng.integers(0, 50, size=d_sae), "n_documents": np.minimum(counts, 300), "n_clusters": np.minimum(counts, 75),
        "shift": shift, "mean_base": mean_base, "kind": pa.array(feature_kind(change, MATERIAL)),
    }  # fmt: skip
    pooled = {
        "std_shift": shift, "magnitude_ratio": rng.uniform(0.5, 2, size=d_sae), "near_threshold": rng.uniform(size=d_sae),
        "did_shift": shift, "change_low": change - 0.1, "change_high": change + 0.1, "change_rescaled": change,
        "detectable_loss": rng.uniform(0.5, 1, size=d_sae), "twin_low": -rng.uniform(size=d_sae),
        "twin_high": rng.uniform(size=d_sae), "q_twin": rng.uniform(size=d_sae), "replicate_low": change - 0.05,
        "replicate_high": change, "q_replicates": rng.uniform(size=d_sae), "reason": pa.array(reason),
        "verdict": pa.array([OF_REASON[one] for one in reason]),
    }  # fmt: skip
    writer.load("feature_stats", pa.table({**columns, **pooled}))
    some = pa.table(columns).take(pa.array(np.arange(0, d_sae, 20)))
    place = some.schema.get_field_index("domain")
    writer.load("feature_stats", some.set_column(place, "domain", pa.repeat(DOMAINS[layer % len(DOMAINS)], len(some))))


def _contexts(writer: StoreWriter, rng: np.random.Generator, variant: str, layer: int, d_sae: int, documents: int) -> None:
    features = np.arange(0, d_sae, 1000)
    for ranking in ("base", "variant", "increase", "decrease", "spread"):
        n = len(features) * 5
        one = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32), pa.array(np.full(n, 8, dtype=np.uint16)))
        value = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32), pa.array(rng.uniform(1, 9, n).astype(np.float32)))
        writer.load("contexts", pa.table({
            "variant": pa.repeat(variant, n), "layer": pa.repeat(layer, n), "feature": np.repeat(features, 5),
            "ranking": pa.repeat(ranking, n), "rank": np.tile(np.arange(1, 6), len(features)), "score": np.ones(n, np.float32),
            "document": rng.integers(documents, size=n), "position": pa.repeat(20, n), "peak": pa.repeat(8, n),
            "n_window": pa.repeat(20, n), "base_at": one, "base_activations": value, "variant_at": one,
            "variant_activations": value,
        }))  # fmt: skip


def _part(writer: StoreWriter, rng: np.random.Generator, layers: int, d_sae: int, variants: list[str]) -> None:
    """Codes of the eight documents that have any: 20 features a token."""
    n = 8 * DOCUMENT_TOKENS
    indptr = np.arange(0, 20 * n + 1, 20, dtype=np.int64)
    index = np.sort(rng.integers(d_sae // 20, size=(n, 20)) * 20 + np.arange(20), axis=1).ravel()
    codes = Codes(indptr, index, rng.uniform(1, 9, size=20 * n).astype(np.float32))
    every = dict.fromkeys(["base", *variants], codes)
    writer.write_part(0, {layer: LayerCodes(d_sae, 1.0, np.ones(n, dtype=bool), every) for layer in range(layers)})


def _manifest(variants: list[str], layers: int, n_tokens: int, documents: int) -> Manifest:
    return Manifest(
        base={"name": "big-base", "sha256": "0"},
        variants={name: {"kind": "adapter", "name": name, "sha256": "1"} for name in variants},
        saes={str(layer): {"name": f"big-{layer}"} for layer in range(layers)},
        tokenizer={"name": "big", "vocab_size": len(WORDS)}, corpus={"sources": ["random"], "domains": {}}, settings={},
        packages={}, pilot={}, counts={"tokens": n_tokens, "documents": documents, "skipped": {}, "bos": True},
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
