"""A tiny store made by the real writer from hand-written numbers: 2 layers, 2 variants, 4 features, 3 documents.

Long because it is one store, every number of it written by hand.

Small enough to know by heart: what each query must return can be worked out from this page. The layer metrics are those of a
larger corpus (120 documents), so that they have intervals; `maths` is a systematic change, `safety` no more than noise at
layer 12. Without `controls` it is a store of a run that computed none.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from store.format.codes import Codes, LayerCodes
from store.format.document_sums import DOCUMENT_SUMS
from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.feature_numbers import feature_values, fit_gate

LAYERS = (5, 12)
VARIANTS = ("maths", "safety")
D_SAE = 4
DECODER_NORMS = np.array([1.0, 2.0, 1.0, 0.5])
HOSTILE = "<script>alert(1)</script>"
TOKENS = ["<bos>", " two", " plus", " two", " is", " four", "\n", HOSTILE, " no", " <img src=x onerror=alert(2)>"]
DOCUMENTS = (  # source, domain, token ids
    ("sum-1", "maths", [1, 2, 3, 4, 5, 6]),
    ("sum-2", "maths", [5, 4, 3, 7]),
    ("refusal-1", "harmful", [8, 9, 8, 6]),
)
N_TOKENS = {"all": 14, "maths": 10, "harmful": 4}

# feature -> (n11, n10, n01, n_documents, sum a, sum b, sum a^2, sum b^2, both a, both b), pooled over the domains
FEATURE_SUMS = {
    "maths": [(4, 0, 2, 2, 8.0, 15.0, 20.0, 45.0, 8.0, 11.0), (1, 9, 0, 3, 20.0, 1.0, 48.0, 1.0, 2.0, 1.0),
              (3, 1, 0, 2, 6.0, 4.0, 10.0, 6.0, 5.0, 4.0)],
    "safety": [(4, 0, 0, 2, 8.0, 8.0, 20.0, 20.0, 8.0, 8.0), (6, 4, 0, 3, 20.0, 9.0, 48.0, 20.0, 13.0, 9.0),
               (0, 0, 8, 3, 0.0, 12.0, 0.0, 20.0, 0.0, 0.0)],
}  # fmt: skip
SEGMENT_TOKENS = {"text": 10, "template": 1, "prompt": 1, "response": 2}
# feature -> segment -> (n11, n10, n01, sum a, sum b); the segments add up to FEATURE_SUMS
SEGMENT_SUMS = {
    "maths": [{"text": (3, 0, 2, 6.0, 11.0), "response": (1, 0, 0, 2.0, 4.0)},
              {"text": (1, 6, 0, 14.0, 1.0), "template": (0, 1, 0, 2.0, 0.0), "response": (0, 2, 0, 4.0, 0.0)},
              {"text": (3, 1, 0, 6.0, 4.0)}],
    "safety": [{"text": (4, 0, 0, 8.0, 8.0)},
               {"text": (4, 3, 0, 14.0, 7.0), "prompt": (1, 0, 0, 2.0, 1.0), "response": (1, 1, 0, 4.0, 1.0)},
               {"template": (0, 0, 1, 0.0, 9.0), "text": (0, 0, 6, 0.0, 2.0), "response": (0, 0, 1, 0.0, 1.0)}],
}  # fmt: skip

EVIDENCE_NAMES = (
    "shift_isotropic", "floor", "z", "q", "near_threshold", "minimum_detectable", "did_shift", "moved_to", "verdict",
)  # fmt: skip
# (variant, layer) -> a row a feature: maths L5:2 has |shift| 2/14 under its floor, so its kind is 'unchanged'.
EVIDENCE = {
    ("maths", 5): [(0.05, 0.1, 4.0, 1e-3, 0.75, 0.2, 0.7, None, "near threshold"),
                   (0.02, 0.1, -9.0, 1e-6, 0.1, 0.2, -1.9, None, "suppressed"),
                   (-0.1, 0.2, -1.0, 0.4, 0.0, 0.25, -0.2, None, "within noise")],
    ("maths", 12): [(0.05, 0.1, 6.0, 1e-4, 0.0, 0.2, 0.7, None, "amplified"),
                    (0.02, 0.1, -9.0, 1e-6, 0.1, 0.2, -1.9, None, "suppressed"),
                    (-0.04, 0.05, -1.5, None, 0.0, None, -0.2, None, "untestable")],
    ("safety", 5): [(0.0, 0.1, None, 1.0, None, 0.3, 0.0, None, "within noise"),
                    (0.02, 0.1, -5.0, 1e-4, 0.1, 0.2, 0.1, 2, "moved"),
                    (0.01, 0.1, 5.5, 1e-4, 0.2, 0.2, 0.3, 1, "moved")],
    ("safety", 12): [(0.0, 0.1, None, 1.0, None, 0.3, 0.0, None, "within noise"),
                     (0.02, 0.1, -5.0, 1e-4, 0.1, 0.2, 0.1, None, "does not fit"),
                     (0.01, 0.1, 5.5, 1e-4, 0.2, 0.2, 0.3, None, "does not fit")],
}  # fmt: skip

# domain or segment -> (tokens, documents, whether there are intervals: value +- 0.02, excess +- 0.01)
MARGINS = {
    ("all", "all"): (14, 120, True), ("maths", "all"): (10, 117, True), ("harmful", "all"): (4, 3, False),
    ("all", "text"): (10, 117, True), ("all", "template"): (1, 3, False), ("all", "prompt"): (1, 3, False),
    ("all", "response"): (2, 3, False),
}  # fmt: skip
SYSTEMATIC = {
    "maths": {"systematic_share": 0.12, "n_beyond_noise": 2.0, "share_beyond_noise": 0.9},
    "safety": {"systematic_share": 0.02, "n_beyond_noise": 1.0, "share_beyond_noise": 0.4},
}
"""Observed, and of domains alone, as all of what is about systematic change."""

CONTROL_VALUES = {  # variant -> control -> metric -> value
    "maths": {
        "rerun": {"overlap": 0.99, "relative_shift": 0.001, "l0_inflation": 1.0},
        "isotropic": {"overlap": 0.33, "relative_shift": 0.1, "l0_inflation": 3.1, "systematic_share": 0.01,
                      "n_beyond_noise": 0.0, "share_beyond_noise": 0.0},
        "shuffled": {"overlap": 0.38, "relative_shift": 0.1, "l0_inflation": 2.0, "systematic_share": 0.04,
                     "n_beyond_noise": 1.0, "share_beyond_noise": 0.3},
        "mean_shift": {"overlap": 0.5, "relative_shift": 0.06, "l0_inflation": 1.1, "systematic_share": 0.3,
                       "n_beyond_noise": 1.0, "share_beyond_noise": 0.5},
    },
    "safety": {
        "rerun": {"overlap": 0.99, "relative_shift": 0.001, "l0_inflation": 1.0},
        "isotropic": {"overlap": 0.452, "relative_shift": 0.1, "l0_inflation": 1.24, "systematic_share": 0.02,
                      "n_beyond_noise": 0.0, "share_beyond_noise": 0.0},
    },
}  # fmt: skip
LESS_IS_MORE = ("overlap",)
"""Of the metrics above, those whose excess is control - observed."""

SUM_NAMES = ("n11", "n10", "n01", "n_documents", "a", "b", "a2", "b2", "both_a", "both_b")


def make_tiny_store(folder: Path, controls: bool = True) -> Path:
    """Write the store, with the noise floor and all that rests on it, or without; returns its folder."""
    writer = StoreWriter(folder)
    _documents(writer)
    for layer in LAYERS:
        _layer(writer, layer)
        for variant in VARIANTS:
            _statistics(writer, layer, variant)
            _metrics(writer, layer, variant, controls)
            _features(writer, layer, variant, controls)
            _segments(writer, layer, variant)
            if controls:
                _shape(writer, layer, variant)
    if controls:
        _replicas_and_predictions(writer)
    _parts(writer)
    np.savez(writer.partial / PILOT_FILE, **{f"{layer}/mean": np.zeros(4) for layer in LAYERS})
    writer.finish(_manifest())
    return folder


def _documents(writer: StoreWriter) -> None:
    lengths = [len(ids) for _, _, ids in DOCUMENTS]
    first_rows = np.cumsum([0, *lengths[:-1]])
    frame = pd.DataFrame(
        [
            {"document": i, "source": source, "domain": domain, "part": 0, "first_row": int(first_rows[i]),
             "n_tokens": len(ids), "has_codes": True}
            for i, (source, domain, ids) in enumerate(DOCUMENTS)
        ]
    )  # fmt: skip
    writer.load("documents", frame)
    rows = [
        {"document": i, "position": p, "context": 0, "token_id": token,
         "segment": "text" if domain == DOCUMENTS[0][1] else ("template", "prompt", "response", "response")[p]}
        for i, (_, domain, ids) in enumerate(DOCUMENTS)
        for p, token in enumerate(ids)
    ]  # fmt: skip
    writer.load("tokens", pd.DataFrame(rows))
    writer.load("vocabulary", pd.DataFrame({"token_id": range(len(TOKENS)), "token": TOKENS}))


def _layer(writer: StoreWriter, layer: int) -> None:
    writer.load(
        "layers",
        pd.DataFrame(
            [{"layer": layer, "hook_name": f"blocks.{layer}.hook_resid_post", "sae": f"tiny-{layer}",
              "architecture": "jumprelu", "d_model": 4, "d_sae": D_SAE, "n_tokens": 14, "n_sinks": 0, "median_norm": 100.0,
              "mean_norm": 90.0, "code_scale": 1.0, "self_test_fvu": 0.1 * layer / 5, "self_test_l0": 2.0}]
        ),
    )  # fmt: skip
    writer.load(
        "features",
        pa.table(
            {
                "layer": [layer] * D_SAE,
                "feature": list(range(D_SAE)),
                "decoder_norm": DECODER_NORMS,
                "density": [4 / 14, 10 / 14, 4 / 14, 0.0],
                "label": ["sums", "small words", f"{HOSTILE} label", None],
                "label_source": ["automatic", "automatic", "imported", None],
                "promoted": [[5, 1], [4, 2], [7, 8], [1, 2]],
                "promoted_logits": [[3.0, 2.0]] * D_SAE,
                "suppressed": [[8, 9]] * D_SAE,
                "suppressed_logits": [[-3.0, -2.0]] * D_SAE,
                "neighbours": [[2, 1], [2, 0], [1, 0], [0, 1]],
                "neighbour_cosines": [[0.2, 0.1], [0.82, 0.1], [0.82, 0.2], [0.3, -0.1]],
            }
        ),
    )
    edges = 2.0 ** (np.arange(-16, 17) / 2)
    writer.load(
        "histogram_bins", pd.DataFrame({"layer": layer, "bin": range(32), "low": edges[:-1], "high": edges[1:]})
    )
    counts = [("base", 0, 16, 3), ("base", 0, 18, 1), ("base", 1, 18, 10), ("maths", 0, 18, 6), ("maths", 1, 16, 1)]
    writer.load(
        "histograms",
        pd.DataFrame([{"layer": layer, "feature": f, "model": m, "bin": b, "count": n} for m, f, b, n in counts]),
    )


def _statistics(writer: StoreWriter, layer: int, variant: str) -> None:
    key = {"variant": variant, "layer": layer}
    fvu = _fvu(layer, variant)
    gates = [
        {**key, "domain": domain, "fvu_base": fvu[0], "fvu_variant": fvu[1], "gate": fit_gate(*fvu)} for domain in N_TOKENS
    ]
    writer.load("fit", pd.DataFrame(gates))
    contexts = [
        (0, "base", 0, 4, [3.0, 0.0, 1.0, 0.0, 4.0, 0.0], [3.0, 1.0, 1.0, 0.0, 5.0, 0.0]),
        (1, "decrease", 1, 3, [0.0, 0.0, 1.0, 4.0], [0.0, 0.0, 0.0, 0.0]),
        (1, "base", 2, 1, [0.0, 3.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]),
    ]
    writer.load(
        "contexts",
        pa.table(
            {
                "variant": [variant] * 3, "layer": [layer] * 3,
                "feature": [c[0] for c in contexts], "ranking": [c[1] for c in contexts], "rank": [1] * 3,
                "score": [4.0, 4.0, 3.0], "document": [c[2] for c in contexts], "position": [c[3] for c in contexts],
                "peak": [c[3] for c in contexts], "n_window": [len(DOCUMENTS[c[2]][2]) for c in contexts],
                "base_at": [[i for i, a in enumerate(c[4]) if a] for c in contexts],
                "base_activations": [[a for a in c[4] if a] for c in contexts],
                "variant_at": [[i for i, b in enumerate(c[5]) if b] for c in contexts],
                "variant_activations": [[b for b in c[5] if b] for c in contexts],
            }
        ),
    )  # fmt: skip
    tokens = [
        {**key, "document": i, "position": p, "cosine": 0.9, "overlap": 0.5, "l1_divergence": 1.0, "l0_base": 2,
         "l0_variant": 2}
        for i, (_, _, ids) in enumerate(DOCUMENTS)
        for p in range(len(ids))
    ]  # fmt: skip
    writer.load("token_metrics", pd.DataFrame(tokens))


def _fvu(layer: int, variant: str) -> tuple[float, float]:
    return (0.1, 0.12) if layer == 5 else ((0.3, 0.5) if variant == "maths" else (0.3, 0.95))


def _metrics(writer: StoreWriter, layer: int, variant: str, controls: bool) -> None:
    """layer_metrics: what was observed, the same everywhere but for cosine and fit; and each control beside it."""
    fvu = _fvu(layer, variant)
    observed = {"cosine": 0.97 - layer / 1000, "overlap": 0.45, "l0_base": 2.0, "l0_variant": 2.5, "l0_inflation": 1.25,
                "fvu_base": fvu[0], "fvu_variant": fvu[1], "relative_shift": 0.1, "latent_cosine": 0.8}  # fmt: skip
    if controls:
        observed |= SYSTEMATIC[variant]
    rows = []
    for (domain, segment), (n_tokens, n_documents, intervals) in MARGINS.items():
        for control, values in {"observed": observed, **(CONTROL_VALUES[variant] if controls else {})}.items():
            for metric, value in values.items():
                counted = metric in SYSTEMATIC[variant]
                if counted and segment != "all":
                    continue
                row = {"variant": variant, "layer": layer, "domain": domain, "segment": segment, "metric": metric,
                       "control": control, "value": value, "n_tokens": n_tokens, "n_documents": n_documents}  # fmt: skip
                if intervals and controls and not counted:
                    row |= {"low": value - 0.02, "high": value + 0.02}
                if control != "observed" and metric not in ("relative_shift", "n_beyond_noise", "share_beyond_noise"):
                    excess = (value - observed[metric]) * (1 if metric in LESS_IS_MORE else -1)
                    row["excess"] = excess
                    if "low" in row:
                        row |= {"excess_low": excess - 0.01, "excess_high": excess + 0.01}
                rows.append(row)
    writer.load("layer_metrics", pd.DataFrame(rows))


def _features(writer: StoreWriter, layer: int, variant: str, controls: bool) -> None:
    """feature_stats from the sums, pooled and taken for each domain alike; evidence where there are controls."""
    sums = dict(zip(SUM_NAMES, np.array(FEATURE_SUMS[variant]).T, strict=True))
    for domain, n_tokens in N_TOKENS.items():
        rows = pd.DataFrame(
            {"variant": variant, "layer": layer, "domain": domain, "feature": range(3), **feature_values(sums, n_tokens)}
        )
        if controls:
            evidence = pd.DataFrame(EVIDENCE[variant, layer], columns=list(EVIDENCE_NAMES))
            everywhere = ["shift_isotropic", "floor"]
            rows = pd.concat([rows, evidence if domain == "all" else evidence[everywhere]], axis=1)
            rows.loc[rows["shift"].abs() <= rows["floor"], "kind"] = "unchanged"
        writer.load("feature_stats", rows)


def _segments(writer: StoreWriter, layer: int, variant: str) -> None:
    """feature_segments and document_sums: ||delta||^2 is 36 and 24 in the texts, 30 on the template, 10 and 20 after it."""
    rows = []
    for feature, by_segment in enumerate(SEGMENT_SUMS[variant]):
        total = sum(b - a for *_, a, b in by_segment.values())
        rows += [
            {"variant": variant, "layer": layer, "segment": segment, "feature": feature, "n11": n11, "n10": n10, "n01": n01,
             "mean_base": a / SEGMENT_TOKENS[segment],
             "shift": (b - a) / SEGMENT_TOKENS[segment], "share": (b - a) / total if total else None}
            for segment, (n11, n10, n01, a, b) in by_segment.items()
        ]  # fmt: skip
    writer.load("feature_segments", pd.DataFrame(rows))
    places = [(0, "text", 6, 36.0), (1, "text", 4, 24.0), (2, "template", 1, 30.0), (2, "prompt", 1, 10.0),
              (2, "response", 2, 20.0)]  # fmt: skip
    zeros = dict.fromkeys(DOCUMENT_SUMS, 0)
    writer.load(
        "document_sums",
        pd.DataFrame(
            [{"variant": variant, "layer": layer, "document": document, "segment": segment,
              **zeros, "n_tokens": n_tokens, "delta_norm2": delta}
             for document, segment, n_tokens, delta in places]
        ),
    )  # fmt: skip


def _shape(writer: StoreWriter, layer: int, variant: str) -> None:
    """spectrum: the mean holds 30 % of the change and stands by feature 1, the first direction 40 % and by chance only."""
    writer.load(
        "spectrum",
        pa.table(
            {
                "variant": [variant] * 3, "layer": [layer] * 3, "component": [0, 1, 2], "share": [0.3, 0.4, 0.1],
                "direction": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
                "features": [[1, 0], [0, 2], [2, 1]], "cosines": [[-0.8, 0.3], [0.5, 0.4], [0.2, -0.1]],
                "chance": [0.6, 0.6, 0.6],
            }
        ),
    )  # fmt: skip
    shape = {"effective_rank": 2.5, "mean_share": 0.3}
    writer.load(
        "layer_metrics",
        pd.DataFrame(
            [{"variant": variant, "layer": layer, "domain": "all", "segment": "all", "metric": metric, "control": "observed",
              "value": value, "n_tokens": 14, "n_documents": 120} for metric, value in shape.items()]
        ),
    )  # fmt: skip


def _replicas_and_predictions(writer: StoreWriter) -> None:
    """A second dictionary at layer 12; a prediction that changed most where feature 1 did; two answers."""
    matches = [(0, 7, 0.91, 0.4), (1, 3, 0.91, -0.4), (2, 5, 0.35, 0.1)]
    writer.load(
        "replicas",
        pd.DataFrame(
            [{"variant": variant, "layer": 12, "feature": feature, "replica_feature": replica, "cosine": cosine,
              "freq_base": 0.3, "freq_variant": 0.2, "log_ratio": -0.6, "shift": shift, "std_shift": shift / 2}
             for variant in VARIANTS for feature, replica, cosine, shift in matches]
        ),
    )  # fmt: skip
    writer.load(
        "token_kl",
        pd.DataFrame(
            [{"variant": variant, "document": 0, "position": p, "kl": kl, "base_logprob": -1.0, "variant_logprob": -2.0}
             for variant in VARIANTS for p, kl in enumerate((0.0, 0.1, 0.2))]
        ),
    )  # fmt: skip
    writer.load(
        "feature_kl",
        pd.DataFrame(
            [{"variant": variant, "layer": layer, "feature": feature, "n_tokens": 9, "kl_where_changed": 0.1 * ratio,
              "kl_ratio": ratio} for variant in VARIANTS for layer in LAYERS for feature, ratio in ((0, 0.5), (1, 2.3))]
        ),
    )  # fmt: skip
    said = {"base": "I am not sure.", "maths": "4", "safety": HOSTILE}
    writer.load(
        "answers",
        pd.DataFrame(
            [{"task": "sums", "prompt": 0, "model": model, "text": "What is two plus two?", "answer": answer}
             for model, answer in said.items()]
        ),
    )  # fmt: skip


def _parts(writer: StoreWriter) -> None:
    """Feature 0 fires on rows 0, 2, 4 and 10 with raw codes 3, 1, 4, 1 in every model; feature 1 on row 9 in the base only."""
    indptr = np.zeros(15, dtype=np.int64)
    rows, index, value = [0, 2, 4, 10], [0, 0, 0, 0], [3.0, 1.0, 4.0, 1.0]
    np.cumsum(np.bincount(rows, minlength=14), out=indptr[1:])
    variant = Codes(indptr, np.array(index), np.array(value, dtype=np.float32))
    base_indptr = np.zeros(15, dtype=np.int64)
    np.cumsum(np.bincount([0, 2, 4, 9, 10], minlength=14), out=base_indptr[1:])
    base = Codes(base_indptr, np.array([0, 0, 0, 1, 0]), np.array([3, 1, 4, 2, 1], dtype=np.float32))
    codes = {"base": base, **dict.fromkeys(VARIANTS, variant)}
    writer.write_part(0, {layer: LayerCodes(D_SAE, 1.0, np.ones(14, dtype=bool), codes) for layer in LAYERS})


def _manifest() -> Manifest:
    return Manifest(
        base={"name": "tiny-base", "sha256": "0"},
        variants={name: {"kind": "adapter", "name": f"{name}-lora", "sha256": "1"} for name in VARIANTS},
        saes={str(layer): {"name": f"tiny-{layer}", "hook_name": f"blocks.{layer}.hook_resid_post"} for layer in LAYERS},
        tokenizer={"name": "tiny", "vocab_size": len(TOKENS)},
        corpus={"sources": ["hand-written"], "domains": {DOCUMENTS[0][1]: {"documents": 2, "tokens": 10}}},
        settings={"tokens": 14},
        packages={},
        pilot={},
        counts={"tokens": 14, "documents": 3, "skipped": {}, "bos": True},
        created="2026-01-01T00:00:00+00:00",
    )
