"""A store of hand-written numbers in which tasks, runs and a second dictionary can be compared."""

import numpy as np
import pandas as pd
import pyarrow as pa

from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter

HOSTILE = "<script>alert(1)</script>"
VARIANTS = ("maths", "code", "safety", "safety-seed2")
D_SAE = 10
FLOOR = 0.5
SUP, AMP, NOISE, BLIND = "suppressed", "amplified", "within noise", "untestable"

# Layer 7, feature -> (shift, verdict) of maths, code, safety, safety-seed2; None: no row. Feature 9 never fires.
LAYER_7 = {
    0: ((-4.0, SUP), (-3.0, SUP), (-2.0, SUP), (-2.5, SUP)),  # every task, down
    1: ((3.0, AMP), (0.1, NOISE), (-0.1, NOISE), (0.0, NOISE)),  # maths alone
    2: ((0.2, NOISE), (-0.2, NOISE), (-5.0, SUP), (-4.5, SUP)),  # safety alone, both runs
    3: ((0.3, NOISE), (0.1, NOISE), (-1.5, SUP), (-0.4, NOISE)),  # safety alone, one run
    4: ((2.0, AMP), (-2.0, SUP), (0.05, NOISE), (0.05, NOISE)),  # maths and code, opposite
    5: ((0.2, NOISE), (0.0, NOISE), (1.0, AMP), (-1.2, SUP)),  # safety alone, its runs opposite
    6: ((1.5, AMP), (0.3, NOISE), (1.4, AMP), (0.5, NOISE)),  # maths and one run of safety, up
    7: ((0.9, BLIND), (0.8, BLIND), (0.7, BLIND), (0.9, BLIND)),
    8: (None, (0.6, NOISE), None, None),  # fires in code alone
}
# Layer 3, feature -> (shift, std_shift, shift_isotropic) of maths and of code; nothing was called there.
LAYER_3 = {
    0: ((-2.0, -1.0, 0.1), (-1.0, -1.0, 0.4)),
    1: ((0.0, None, 0.2), (0.0, 0.0, 0.3)),
    2: ((1.0, 2.0, 0.3), None),
    3: ((3.0, 1.0, 0.4), (2.0, 3.0, 0.1)),
}
# Layer 7's second dictionary, safety: feature -> (cosine, the counterpart's shift).
REPLICAS = {
    0: (0.9, -1.8), 1: (0.95, -0.05), 2: (0.8, -0.3), 3: (0.5, -1.0), 4: (0.3, 1.0), 5: (0.75, -0.2), 6: (0.71, 0.6),
    7: (0.72, 0.0),
}  # fmt: skip


def write(folder, variants=VARIANTS, evidence=True, replicas=True, settings=None):
    """A store of these numbers in the domains all and maths; without evidence there is no floor, noise or verdict."""
    writer = StoreWriter(folder)
    tasks = {"document": [0, 1], "source": ["a", "b"], "domain": ["maths", "harmful"], "part": -1, "first_row": -1}
    writer.load("documents", pd.DataFrame({**tasks, "n_tokens": 10, "has_codes": False}))
    rows = []
    for at, variant in enumerate(variants):
        for feature, of_variants in LAYER_7.items():
            if of_variants[at] is not None:
                shift, verdict = of_variants[at]
                found = {"verdict": verdict, "floor": FLOOR, "shift_isotropic": 0.01 * feature} if evidence else {}
                rows.append(_row(variant, 7, "all", feature, shift, shift / 2, found))
                rows.append(_row(variant, 7, "maths", feature, -shift, shift / 2, {"floor": 2.0} if evidence else {}))
        for feature, of_variants in LAYER_3.items():
            if at < 2 and of_variants[at] is not None:
                shift, std_shift, noise = of_variants[at]
                found = {"verdict": NOISE, "floor": 9.0, "shift_isotropic": noise} if evidence else {}
                rows.append(_row(variant, 3, "all", feature, shift, std_shift, found))
    writer.load("feature_stats", pd.DataFrame(rows))
    for layer in (3, 7):
        _layer(writer, layer, variants)
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


def _row(variant, layer, domain, feature, shift, std_shift, found):
    key = {"variant": variant, "layer": layer, "domain": domain, "feature": feature}
    counts = {"n_tokens": 100, "n11": 40, "n10": 10, "n01": 10, "n_documents": 30}
    means = {"mean_base": 9.0, "mean_variant": 9.0 + shift, "shift": shift, "std_shift": std_shift}
    kind = "amplified" if shift > 0 else "attenuated" if shift < 0 else "unchanged"
    return {**key, **counts, **means, "kind": kind, "magnitude_ratio": 1.0, **found}


def _layer(writer, layer, variants):
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
                "control": "observed", "value": 0.9, "n_tokens": 20, "n_documents": 2} for variant in variants]  # fmt: skip
    writer.load("layer_metrics", pd.DataFrame(metrics))


def _manifest(variants, settings):
    made = {name: {"kind": "adapter", "name": name, "sha256": "1"} for name in variants}
    return Manifest(
        base={"name": "hand-base", "sha256": "0"}, variants=made, saes={}, tokenizer={}, corpus={}, settings=settings,
        packages={}, pilot={}, counts={"tokens": 20, "documents": 2, "skipped": {}}, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
