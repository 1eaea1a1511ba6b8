"""A store of hand-written numbers in which tasks, runs and a second dictionary can be compared."""

import numpy as np
import pandas as pd
import pyarrow as pa

from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.feature_numbers import feature_kind
from store.metrics.thresholds import MATERIAL
from store.metrics.verdicts import REASONS

HOSTILE = "<script>alert(1)</script>"
VARIANTS = ("maths", "code", "safety", "safety-seed2")
REPLICATE_OF = {"safety-seed2": "safety"}
D_SAE = 10
MEAN_BASE = 8.0
SUP, AMP, STEADY, TWIN, BLIND = "fell", "rose", "steady", "like_twins", "uneven"
"""Reasons, by which the verdicts follow."""

# Layer 7, feature -> (shift, reason) of maths, code, safety, safety-seed2; None: no row. Feature 9 never fires. The base's mean
# is 8 everywhere, so that a shift of -4 is a change of -0.5 and one of 8 a change of +0.5. Other runs of maths and code,
# which their claims would need, were left out of this store.
LAYER_7 = {
    0: ((-4.0, SUP), (-5.0, SUP), (-6.0, SUP), (-6.0, SUP)),  # every task, down
    1: ((8.0, AMP), (0.0, STEADY), (-1.0, STEADY), (0.0, STEADY)),  # maths alone
    2: ((0.5, STEADY), (-1.0, STEADY), (-8.0, SUP), (-7.0, SUP)),  # safety alone, both runs
    3: ((1.0, STEADY), (0.5, STEADY), (-4.0, SUP), (-1.0, STEADY)),  # safety alone, one run
    4: ((8.0, AMP), (-4.0, SUP), (0.5, STEADY), (0.5, STEADY)),  # maths and code, opposite
    5: ((0.5, STEADY), (0.0, STEADY), (24.0, AMP), (-4.0, SUP)),  # safety alone, its runs opposite
    6: ((8.0, AMP), (1.0, STEADY), (12.0, AMP), (1.0, STEADY)),  # maths and one run of safety, up
    7: ((8.0, BLIND), (8.0, BLIND), (8.0, BLIND), (8.0, BLIND)),
    8: (None, (-4.0, TWIN), None, None),  # fires in code and the base alone
}
# Layer 3, feature -> (shift, std_shift) of maths and of code; nothing was called there.
LAYER_3 = {
    0: ((-2.0, -1.0), (-1.0, -1.0)),
    1: ((0.0, None), (0.0, 0.0)),
    2: ((1.0, 2.0), None),
    3: ((3.0, 1.0), (2.0, 3.0)),
}
# Layer 7's second dictionary, safety: feature -> (cosine, the counterpart's shift).
REPLICAS = {
    0: (0.9, -1.8), 1: (0.95, -0.05), 2: (0.8, -0.3), 3: (0.5, -1.0), 4: (0.3, 1.0), 5: (0.75, -0.2), 6: (0.71, 0.6),
    7: (0.72, 0.0),
}  # fmt: skip


def write(folder, variants=VARIANTS, evidence=True, replicas=True, settings=None):
    """A store of these numbers in the domains all and maths; without evidence there are no twins and no verdicts."""
    writer = StoreWriter(folder)
    tasks = {"document": [0, 1], "source": ["a", "b"], "domain": ["maths", "harmful"], "part": -1, "first_row": -1}
    writer.load("documents", pd.DataFrame({**tasks, "cluster": tasks["source"], "n_tokens": 10, "has_codes": False}))
    rows = []
    for at, variant in enumerate(variants):
        for feature, of_variants in LAYER_7.items():
            if of_variants[at] is not None:
                shift, reason = of_variants[at]
                rows.append(_row(variant, 7, "all", feature, shift, shift / 2, reason if evidence else None))
                rows.append(_row(variant, 7, "maths", feature, -shift / 4, shift / 2, None))
        for feature, of_variants in LAYER_3.items():
            if at < 2 and of_variants[at] is not None:
                shift, std_shift = of_variants[at]
                rows.append(_row(variant, 3, "all", feature, shift, std_shift, STEADY if evidence else None))
    writer.load("feature_stats", pd.DataFrame(rows))
    for layer in (3, 7):
        _layer(writer, layer, variants, evidence)
    if replicas:
        found = [
            {"variant": "safety", "layer": 7, "feature": feature, "replica_feature": feature + 1, "cosine": cosine,
             "freq_base": 0.1, "freq_variant": 0.1, "log_ratio": 0.0, "shift": shift, "std_shift": shift}
            for feature, (cosine, shift) in REPLICAS.items()
        ]  # fmt: skip
        writer.load("replicas", pd.DataFrame(found))
    np.savez(writer.partial / PILOT_FILE, mean=np.zeros(4))
    writer.finish(_manifest(variants, settings or {}))
    return folder


def _row(variant, layer, domain, feature, shift, std_shift, reason):
    key = {"variant": variant, "layer": layer, "domain": domain, "feature": feature}
    counts = {"n_tokens": 1000, "n11": 40, "n10": 10, "n01": 10, "n_documents": 30, "n_clusters": 20}
    change = shift / max(MEAN_BASE, MEAN_BASE + shift)
    kind = str(feature_kind(np.array([change]), MATERIAL)[0])
    found = {} if reason is None else {"reason": reason, "verdict": REASONS[reason]}
    return {
        **key,
        **counts,
        "mean_base": MEAN_BASE,
        "shift": shift,
        "std_shift": std_shift,
        "kind": kind,
        "magnitude_ratio": 1.0,
    } | found


def _layer(writer, layer, variants, evidence):
    numbers = {"d_model": 4, "d_sae": D_SAE, "n_tokens": 20, "n_sinks": 0, "median_norm": 1.0, "mean_norm": 0.9,
               "code_scale": 1.0, "self_test_fvu": 0.1, "self_test_l0": 2.0}  # fmt: skip
    names = {"layer": [layer], "hook_name": "resid", "sae": "hand", "architecture": "jumprelu"}
    writer.load("layers", pd.DataFrame({**names, **numbers}))
    labels = [f"label {feature}" for feature in range(D_SAE - 1)] + [None]
    labels[2] = HOSTILE
    writer.load(
        "features",
        pa.table({"layer": [layer] * D_SAE, "feature": list(range(D_SAE)), "decoder_norm": [1.0] * D_SAE,
                  "density": [0.1] * D_SAE, "label": labels}),
    )  # fmt: skip
    fit = [{"variant": variant, "layer": layer, "domain": "all", "fvu_base": 0.1, "fvu_variant": 0.1, "gate": "fits"}
           for variant in variants]  # fmt: skip
    writer.load("fit", pd.DataFrame(fit))
    metrics = [{"variant": variant, "layer": layer, "domain": "all", "segment": "all", "metric": "cosine",
                "control": control, "value": 0.9, "n_tokens": 20, "n_documents": 2, "n_clusters": 2}
               for variant in variants for control in ("observed", "twin_1")[: 1 + evidence]]  # fmt: skip
    writer.load("layer_metrics", pd.DataFrame(metrics))


def _manifest(variants, settings):
    made = {name: {"kind": "adapter", "name": name, "sha256": "1"} for name in variants}
    for name in variants:
        if name in REPLICATE_OF:
            made[name]["replicate_of"] = REPLICATE_OF[name]
    return Manifest(
        base={"name": "hand-base", "sha256": "0"}, variants=made, saes={}, tokenizer={}, corpus={}, settings=settings,
        packages={}, pilot={}, counts={"tokens": 20, "documents": 2, "skipped": {}}, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
