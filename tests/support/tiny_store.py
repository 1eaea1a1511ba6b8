"""A tiny store made by the real writer from hand-written numbers: 2 layers, 3 variants, 6 features, 3 documents.

Long because it is one store, every number of it written by hand.

Small enough to know by heart: what each query must return can be worked out from this page. The numbers are those of a larger
corpus (14,000 tokens in 120 documents of 40 clusters), of which the store keeps three documents. `maths` and `maths-seed2` are
two runs of one recipe, `safety` has no second run; every verdict and every reason occurs. Feature 3 never fires, feature 4 is
dense, feature 5 never fires in the base. Without `controls` it is a store of a run without controls and twins.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from store.format.codes import Codes, LayerCodes
from store.format.document_sums import DOCUMENT_SUMS
from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.feature_numbers import feature_values, fit_gate
from store.metrics.shares import change_between
from store.metrics.verdicts import REASONS

LAYERS = (5, 12)
VARIANTS = ("maths", "maths-seed2", "safety")
GROUPS = {"maths": ("maths", "maths-seed2"), "safety": ("safety",)}
D_SAE = 6
DECODER_NORMS = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0])
HOSTILE = "<script>alert(1)</script>"
TOKENS = ["<bos>", " two", " plus", " two", " is", " four", "\n", HOSTILE, " no", " <img src=x onerror=alert(2)>"]
DOCUMENTS = (  # source, domain, token ids, cluster
    ("sum-1", "maths", [1, 2, 3, 4, 5, 6], "sums"),
    ("sum-2", "maths", [5, 4, 3, 7], "sums"),
    ("refusal-1", "harmful", [8, 9, 8, 6], "refusal-1"),
)
N_TOKENS = {"all": 14_000, "maths": 10_000, "harmful": 4_000}

FEATURES = (0, 1, 2, 4, 5)
"""Those that fire."""
SUM_NAMES = ("n11", "n10", "n01", "n_documents", "n_clusters", "a", "b", "a2", "b2", "both_a", "both_b")
FEATURE_SUMS = {  # variant -> a row a feature of FEATURES, pooled over the domains; changes: a line each
    "maths": [  # +0.6, -0.95, -1/3, -0.6, +1
        (400, 0, 400, 60, 40, 800, 2000, 2000, 8000, 800, 1100), (100, 900, 0, 90, 40, 2000, 100, 4800, 100, 200, 100),
        (300, 100, 0, 60, 30, 600, 400, 1000, 600, 500, 400), (4000, 1000, 500, 120, 40, 10000, 4000, 24000, 5000, 8000, 3500),
        (0, 0, 20, 9, 8, 0, 40, 0, 90, 0, 0)],
    "maths-seed2": [  # +0.5, -0.8, -0.6, -0.5, +1
        (400, 0, 300, 60, 40, 800, 1600, 2000, 6000, 800, 1100), (200, 800, 0, 90, 40, 2000, 400, 4800, 900, 400, 400),
        (200, 200, 0, 60, 30, 600, 240, 1000, 400, 300, 240), (4200, 800, 500, 120, 40, 10000, 5000, 24000, 8000, 8400, 4400),
        (0, 0, 30, 9, 8, 0, 50, 0, 90, 0, 0)],
    "safety": [  # 0, -0.55, -0.6, -0.1, +1
        (400, 0, 0, 60, 40, 800, 800, 2000, 2000, 800, 800), (600, 400, 0, 90, 40, 2000, 900, 4800, 2000, 1300, 900),
        (200, 200, 0, 60, 30, 600, 240, 1000, 400, 300, 240), (4600, 400, 100, 120, 40, 10000, 9000, 24000, 21000, 9200, 8900),
        (0, 0, 800, 30, 12, 0, 1200, 0, 2000, 0, 0)],
}  # fmt: skip
SEGMENT_TOKENS = {"text": 10_000, "template": 1_000, "prompt": 1_000, "response": 2_000}
# feature -> segment -> (n11, n10, n01, sum a, sum b); the segments add up to FEATURE_SUMS. maths-seed2 has none.
SEGMENT_SUMS = {
    "maths": {0: {"text": (300, 0, 300, 600, 1500), "response": (100, 0, 100, 200, 500)},
              1: {"text": (100, 600, 0, 1400, 100), "template": (0, 100, 0, 200, 0), "response": (0, 200, 0, 400, 0)},
              2: {"text": (300, 100, 0, 600, 400)}},
    "safety": {0: {"text": (400, 0, 0, 800, 800)},
               1: {"text": (400, 300, 0, 1400, 700), "prompt": (100, 0, 0, 200, 100), "response": (100, 100, 0, 400, 100)},
               5: {"template": (0, 0, 100, 0, 900), "text": (0, 0, 600, 0, 200), "response": (0, 0, 100, 0, 100)}},
}  # fmt: skip

# (variant, layer) -> a row a feature of FEATURES: reason, detectable_loss, twin_low, twin_high, q_twin, q_replicates,
# near_threshold, did_shift, moved_to. The rest of the evidence follows from the changes (see _evidence).
EVIDENCE_NAMES = (
    "reason", "detectable_loss", "twin_low", "twin_high", "q_twin", "q_replicates", "near_threshold", "did_shift", "moved_to",
)  # fmt: skip
EVIDENCE = {
    ("maths", 5): [
        ("like_twins", 0.6, -0.1, 0.7, 0.4, 0.3, 0.75, 0.12, 1),
        ("fell", 0.5, -0.2, 0.1, 0.01, 0.004, 0.1, -0.19, 0),
        ("steady", 0.7, -0.3, 0.2, None, None, 0.0, -0.02, None),
        ("norm", 0.5, -0.3, 0.1, None, None, 0.2, 0.0, 0),
        ("few_firings", None, 0.0, 1.0, None, None, None, 0.0, None),
    ],
    ("maths", 12): [
        ("rose", 0.6, -0.1, 0.2, 0.02, 0.03, 0.0, 0.12, 1),
        ("fell", 0.5, -0.2, 0.1, 0.01, 0.004, 0.1, -0.19, 0),
        ("undetectable", None, -0.9, 0.2, None, None, 0.0, -0.02, None),
        ("fell", 0.5, -0.3, 0.1, 0.02, 0.01, 0.2, 0.0, 0),
        ("few_firings", None, 0.0, 1.0, None, None, None, 0.0, None),
    ],
    ("maths-seed2", 5): [
        ("like_twins", 0.6, -0.2, 0.8, 0.5, 0.3, 0.5, 0.08, 1),
        ("fell", 0.5, -0.1, 0.2, 0.02, 0.004, 0.1, -0.16, 0),
        ("not_replicated", 0.6, -0.3, 0.1, 0.02, None, 0.0, -0.03, 0),
        ("norm", 0.5, -0.2, 0.1, None, None, 0.2, 0.0, 0),
        ("few_firings", None, 0.0, 1.0, None, None, None, 0.0, None),
    ],
    ("maths-seed2", 12): [
        ("rose", 0.6, -0.2, 0.1, 0.03, 0.03, 0.0, 0.08, 1),
        ("fell", 0.5, -0.1, 0.2, 0.02, 0.004, 0.1, -0.16, 0),
        ("not_replicated", 0.6, -0.3, 0.1, 0.02, None, 0.0, -0.03, 0),
        ("fell", 0.5, -0.2, 0.1, 0.03, 0.01, 0.2, 0.0, 0),
        ("few_firings", None, 0.0, 1.0, None, None, None, 0.0, None),
    ],
    ("safety", 5): [
        ("steady", 0.6, -0.2, 0.2, None, None, None, 0.0, None),
        ("no_replicate", 0.5, -0.2, 0.1, 0.01, None, 0.1, 0.01, None),
        ("uneven", 0.9, -0.4, 0.3, None, None, 0.1, 0.0, None),
        ("steady", 0.5, -0.1, 0.1, None, None, 0.1, 0.0, None),
        ("few_clusters", None, 0.0, 1.0, None, None, 0.2, 0.03, None),
    ],
    ("safety", 12): [
        ("steady", 0.6, -0.2, 0.2, None, None, None, 0.0, None),
        ("misfit", 0.5, -0.2, 0.1, None, None, 0.1, 0.01, None),
        ("uneven", 0.9, -0.4, 0.3, None, None, 0.1, 0.0, None),
        ("steady", 0.5, -0.1, 0.1, None, None, 0.1, 0.0, None),
        ("few_clusters", None, 0.0, 1.0, None, None, 0.2, 0.03, None),
    ],
}
RESCALED = {"norm": -0.1}
"""Change beside the base at the variant's norm, by reason; of the others it is their change."""
UNEVEN = (-1.0, 0.1)
"""The interval of what is uneven; of the others it is change -+ 0.05."""

# domain or segment -> (tokens, documents, clusters, whether there are intervals: value +- 0.02, excess +- 0.01)
MARGINS = {
    ("all", "all"): (14_000, 120, 40, True), ("maths", "all"): (10_000, 117, 38, True),
    ("harmful", "all"): (4_000, 3, 2, False),
    ("all", "text"): (10_000, 117, 38, True), ("all", "template"): (1_000, 3, 2, False),
    ("all", "prompt"): (1_000, 3, 2, False), ("all", "response"): (2_000, 3, 2, False),
}  # fmt: skip
COUNTS = {  # of features, all domains together: observed (as FEATURE_SUMS have it) and in each twin
    "maths": {"observed": (4, 2, 1), "twin_1": (4, 1, 1), "twin_2": (4, 0, 0)},
    "maths-seed2": {"observed": (4, 3, 1), "twin_1": (4, 1, 0), "twin_2": (3, 0, 1)},
    "safety": {"observed": (4, 2, 0), "twin_1": (4, 1, 0), "twin_2": (4, 2, 1)},
}
COUNT_NAMES = ("n_seen", "n_halved", "n_doubled")

RERUN = {"overlap": 0.99, "relative_shift": 0.001, "l0_inflation": 1.0}
RESCALED_BASE = {"overlap": 0.97, "relative_shift": 0.02, "l0_inflation": 1.01}
CONTROL_VALUES = {  # variant -> control or twin -> metric -> value
    "maths": {
        "rerun": RERUN, "isotropic": {"overlap": 0.33, "relative_shift": 0.1, "l0_inflation": 3.1}, "rescaled": RESCALED_BASE,
        "twin_1": {"overlap": 0.4, "relative_shift": 0.1, "l0_inflation": 1.3},
        "twin_2": {"overlap": 0.42, "relative_shift": 0.098, "l0_inflation": 1.2},
    },
    "maths-seed2": {
        "rerun": RERUN, "isotropic": {"overlap": 0.34, "relative_shift": 0.1, "l0_inflation": 3.0}, "rescaled": RESCALED_BASE,
        "twin_1": {"overlap": 0.43, "relative_shift": 0.1, "l0_inflation": 1.2},
        "twin_2": {"overlap": 0.41, "relative_shift": 0.102, "l0_inflation": 1.1},
    },
    "safety": {
        "rerun": RERUN, "isotropic": {"overlap": 0.452, "relative_shift": 0.1, "l0_inflation": 1.24}, "rescaled": RESCALED_BASE,
        "twin_1": {"overlap": 0.46, "relative_shift": 0.1, "l0_inflation": 1.1},
        "twin_2": {"overlap": 0.47, "relative_shift": 0.1, "l0_inflation": 1.05},
    },
}  # fmt: skip
LESS_IS_MORE = ("overlap",)
"""Of the metrics above, those whose excess is control - observed."""


def make_tiny_store(folder: Path, controls: bool = True) -> Path:
    """Write the store, with controls, twins and the verdicts that rest on them, or without; returns its folder."""
    writer = StoreWriter(folder)
    write_documents(writer)
    for layer in LAYERS:
        write_layer(writer, layer)
        for variant in VARIANTS:
            write_statistics(writer, layer, variant)
            _metrics(writer, layer, variant, controls)
            _features(writer, layer, variant, controls)
            _segments(writer, layer, variant)
            if controls:
                _shape(writer, layer, variant)
    if controls:
        _replicas_and_predictions(writer)
    write_parts(writer, VARIANTS)
    np.savez(writer.partial / PILOT_FILE, **{f"{layer}/mean": np.zeros(4) for layer in LAYERS})
    writer.finish(_manifest())
    return folder


def write_documents(writer: StoreWriter) -> None:
    lengths = [len(ids) for _, _, ids, _ in DOCUMENTS]
    first_rows = np.cumsum([0, *lengths[:-1]])
    frame = pd.DataFrame(
        [
            {"document": i, "source": source, "domain": domain, "cluster": cluster, "part": 0, "first_row": int(first_rows[i]),
             "n_tokens": len(ids), "has_codes": True}
            for i, (source, domain, ids, cluster) in enumerate(DOCUMENTS)
        ]
    )  # fmt: skip
    writer.load("documents", frame)
    rows = [
        {"document": i, "position": p, "context": 0, "token_id": token,
         "segment": "text" if domain == DOCUMENTS[0][1] else ("template", "prompt", "response", "response")[p]}
        for i, (_, domain, ids, _) in enumerate(DOCUMENTS)
        for p, token in enumerate(ids)
    ]  # fmt: skip
    writer.load("tokens", pd.DataFrame(rows))
    writer.load("vocabulary", pd.DataFrame({"token_id": range(len(TOKENS)), "token": TOKENS}))


def write_layer(writer: StoreWriter, layer: int) -> None:
    writer.load(
        "layers",
        pd.DataFrame(
            [{"layer": layer, "hook_name": f"blocks.{layer}.hook_resid_post", "sae": f"tiny-{layer}",
              "architecture": "jumprelu", "d_model": 4, "d_sae": D_SAE, "n_tokens": 14_000, "n_sinks": 0, "median_norm": 100.0,
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
                "density": [4 / 140, 10 / 140, 4 / 140, 0.0, 50 / 140, 0.0],
                "label": ["sums", "small words", f"{HOSTILE} label", None, "every line", "new here"],
                "label_source": ["automatic", "automatic", "imported", None, "automatic", "automatic"],
                "promoted": [[5, 1], [4, 2], [7, 8], [1, 2], [6, 3], [1, 3]],
                "promoted_logits": [[3.0, 2.0]] * D_SAE,
                "suppressed": [[8, 9]] * D_SAE,
                "suppressed_logits": [[-3.0, -2.0]] * D_SAE,
                "neighbours": [[2, 1], [2, 0], [1, 0], [0, 1], [0, 1], [0, 1]],
                "neighbour_cosines": [[0.2, 0.1], [0.82, 0.1], [0.82, 0.2], [0.3, -0.1], [0.2, 0.1], [0.1, 0.0]],
            }
        ),
    )
    edges = 2.0 ** (np.arange(-16, 17) / 2)
    writer.load("histogram_bins", pd.DataFrame({"layer": layer, "bin": range(32), "low": edges[:-1], "high": edges[1:]}))
    counts = [("base", 0, 16, 3), ("base", 0, 18, 1), ("base", 1, 18, 10), ("maths", 0, 18, 6), ("maths", 1, 16, 1)]
    writer.load(
        "histograms",
        pd.DataFrame([{"layer": layer, "feature": f, "model": m, "bin": b, "count": n} for m, f, b, n in counts]),
    )


def write_statistics(writer: StoreWriter, layer: int, variant: str) -> None:
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
        for i, (_, _, ids, _) in enumerate(DOCUMENTS)
        for p in range(len(ids))
    ]  # fmt: skip
    writer.load("token_metrics", pd.DataFrame(tokens))


def _fvu(layer: int, variant: str) -> tuple[float, float]:
    return (0.1, 0.12) if layer == 5 else ((0.3, 0.95) if variant == "safety" else (0.3, 0.5))


def _metrics(writer: StoreWriter, layer: int, variant: str, controls: bool) -> None:
    """layer_metrics: what was observed, the same everywhere but for cosine and fit; controls and twins beside it."""
    fvu = _fvu(layer, variant)
    observed = {"cosine": 0.97 - layer / 1000, "overlap": 0.45, "l0_base": 2.0, "l0_variant": 2.5, "l0_inflation": 1.25,
                "fvu_base": fvu[0], "fvu_variant": fvu[1], "relative_shift": 0.1, "latent_cosine": 0.8}  # fmt: skip
    rows = []
    for (domain, segment), (n_tokens, n_documents, n_clusters, intervals) in MARGINS.items():
        key = {"variant": variant, "layer": layer, "domain": domain, "segment": segment}
        n = {"n_tokens": n_tokens, "n_documents": n_documents, "n_clusters": n_clusters}
        for control, values in {"observed": observed, **(CONTROL_VALUES[variant] if controls else {})}.items():
            for metric, value in values.items():
                row = {**key, "metric": metric, "control": control, "value": value, **n}
                if intervals and controls:
                    row |= {"low": value - 0.02, "high": value + 0.02}
                if control != "observed" and metric != "relative_shift":
                    excess = (value - observed[metric]) * (1 if metric in LESS_IS_MORE else -1)
                    row["excess"] = excess
                    if "low" in row:
                        row |= {"excess_low": excess - 0.01, "excess_high": excess + 0.01}
                rows.append(row)
        if (domain, segment) == ("all", "all"):
            rows += [
                {**key, "metric": metric, "control": control, "value": float(count), **n}
                for control, counts in COUNTS[variant].items()
                if controls or control == "observed"
                for metric, count in zip(COUNT_NAMES, counts, strict=True)
            ]
    writer.load("layer_metrics", pd.DataFrame(rows))


def _features(writer: StoreWriter, layer: int, variant: str, controls: bool) -> None:
    """feature_stats from the sums, pooled and taken for each domain alike; evidence where there are controls and twins."""
    sums = _sums(variant)
    key = {"variant": variant, "layer": layer}
    for domain, n_tokens in N_TOKENS.items():
        rows = pd.DataFrame({**key, "domain": domain, "feature": FEATURES, **feature_values(sums, n_tokens)})
        if domain == "all":
            rows = pd.concat([rows, _evidence(layer, variant, controls)], axis=1)
        writer.load("feature_stats", rows)


def _sums(variant: str) -> dict[str, np.ndarray]:
    return dict(zip(SUM_NAMES, np.array(FEATURE_SUMS[variant], dtype=float).T, strict=True))


def _change(variant: str) -> np.ndarray:
    sums = _sums(variant)
    return change_between(sums["a"], sums["b"])


def _evidence(layer: int, variant: str, controls: bool) -> pd.DataFrame:
    """A row a feature of FEATURES."""
    found = pd.DataFrame(EVIDENCE[variant, layer], columns=list(EVIDENCE_NAMES))
    change = _change(variant)
    uneven = found["reason"] == "uneven"
    low, high = (np.where(uneven, bound, np.clip(change + by, -1, 1)) for bound, by in zip(UNEVEN, (-0.05, 0.05), strict=True))
    interval = pd.DataFrame({"change_low": low, "change_high": high})
    if not controls:
        return pd.concat([interval, found[["near_threshold", "did_shift", "moved_to"]]], axis=1)
    found["change_rescaled"] = found["reason"].map(RESCALED).fillna(pd.Series(change)).astype(float)
    found["verdict"] = found["reason"].map(REASONS)
    group = next(members for members in GROUPS.values() if variant in members)
    if len(group) > 1:
        changes = np.array([_change(member) for member in group])
        found = found.assign(replicate_low=changes.min(axis=0), replicate_high=changes.max(axis=0))
    return pd.concat([interval, found], axis=1)


def _segments(writer: StoreWriter, layer: int, variant: str) -> None:
    """feature_segments and document_sums: ||delta||^2 is 36 and 24 in the texts, 30 on the template, 10 and 20 after it."""
    rows = []
    for feature, by_segment in SEGMENT_SUMS.get(variant, {}).items():
        total = sum(b - a for *_, a, b in by_segment.values())
        rows += [
            {"variant": variant, "layer": layer, "segment": segment, "feature": feature, "n11": n11, "n10": n10, "n01": n01,
             "mean_base": a / SEGMENT_TOKENS[segment],
             "shift": (b - a) / SEGMENT_TOKENS[segment], "share": (b - a) / total if total else None}
            for segment, (n11, n10, n01, a, b) in by_segment.items()
        ]  # fmt: skip
    if rows:
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
              "value": value, "n_tokens": 14_000, "n_documents": 120, "n_clusters": 40} for metric, value in shape.items()]
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


def write_parts(writer: StoreWriter, variants: Sequence[str]) -> None:
    """Feature 0 fires on rows 0, 2, 4 and 10 with raw codes 3, 1, 4, 1 in every model; feature 1 on row 9 in the base only."""
    indptr = np.zeros(15, dtype=np.int64)
    rows, index, value = [0, 2, 4, 10], [0, 0, 0, 0], [3.0, 1.0, 4.0, 1.0]
    np.cumsum(np.bincount(rows, minlength=14), out=indptr[1:])
    variant = Codes(indptr, np.array(index), np.array(value, dtype=np.float32))
    base_indptr = np.zeros(15, dtype=np.int64)
    np.cumsum(np.bincount([0, 2, 4, 9, 10], minlength=14), out=base_indptr[1:])
    base = Codes(base_indptr, np.array([0, 0, 0, 1, 0]), np.array([3, 1, 4, 2, 1], dtype=np.float32))
    codes = {"base": base, **dict.fromkeys(variants, variant)}
    writer.write_part(0, {layer: LayerCodes(D_SAE, 1.0, np.ones(14, dtype=bool), codes) for layer in LAYERS})


def _manifest() -> Manifest:
    return Manifest(
        base={"name": "tiny-base", "sha256": "0"},
        variants={name: _variant(name) for name in VARIANTS},
        saes={str(layer): {"name": f"tiny-{layer}", "hook_name": f"blocks.{layer}.hook_resid_post"} for layer in LAYERS},
        tokenizer={"name": "tiny", "vocab_size": len(TOKENS)},
        corpus={"sources": ["hand-written"], "domains": {DOCUMENTS[0][1]: {"documents": 2, "tokens": 10}}},
        settings={"tokens": 14, "material": 0.5},
        packages={},
        pilot={},
        counts={"tokens": 14, "documents": 3, "skipped": {}, "bos": True},
        created="2026-01-01T00:00:00+00:00",
    )


def _variant(name: str) -> dict[str, str]:
    first = next(first for first, members in GROUPS.items() if name in members)
    return {"kind": "adapter", "name": f"{name}-lora", "sha256": "1"} | ({"replicate_of": first} if first != name else {})
