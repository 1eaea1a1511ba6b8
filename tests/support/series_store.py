"""A store of checkpoints by hand: three trainings over steps, made by the real writer as tests/support/tiny_store.py is.

`maths` is a training of three steps, run twice (`maths-seed2`), so that its changes are claimed; `code` one of two steps, run
once; `safety` no series. The manifest names steps out of order. At layer 12, and there alone, features of maths changed:

- 0 rose from step 200 on; 1 fell from the first step on; 2 came and went; 4 flickers; 5 never changed.

Of `code` feature 1 stands out at its last step, in this run only.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from store.format.additions import addition_path, write_contributions
from store.format.manifest import Manifest, read_manifest
from store.format.writer import PILOT_FILE, StoreWriter
from store.metrics.feature_numbers import feature_kind
from store.metrics.verdicts import REASONS
from tests.support.forged import forge_tables, rewrite_manifest
from tests.support.tiny_store import (
    DOCUMENTS,
    FEATURES,
    LAYERS,
    write_documents,
    write_layer,
    write_parts,
    write_statistics,
)

VARIANTS = {  # variant -> series, step, replicate_of
    "maths-400": ("maths", 400, None), "maths-100": ("maths", 100, None), "maths-200": ("maths", 200, None),
    "second-100": ("maths-seed2", 100, "maths-100"), "second-200": ("maths-seed2", 200, "maths-200"),
    "second-400": ("maths-seed2", 400, "maths-400"),
    "code-20": ("code", 20, None), "code-5": ("code", 5, None),
    "safety": (None, None, None),
}  # fmt: skip
CHANGES = {  # layer 12: series -> a row a step: feature of FEATURES -> change; a second run's are less by 0.01
    "maths": {100: (0.1, -0.6, 0.0, 0.7, 0.0), 200: (0.6, -0.8, -0.7, 0.1, 0.1), 400: (0.7, -0.9, -0.1, 0.8, -0.1)},
    "code": {5: (0.0, -0.2, 0.0, 0.0, 0.0), 20: (0.0, -0.75, 0.0, 0.1, 0.0)},
    None: {None: (0.0, -0.95, 0.0, 0.0, 0.0)},
}
METRICS = {  # of every layer, by the step's place in its series: cosine, centred cosine, overlap, latent cosine, shift
    0: (0.99, 0.98, 0.9, 0.97, 0.02), 1: (0.96, 0.93, 0.7, 0.9, 0.08), 2: (0.9, 0.85, 0.5, 0.75, 0.2),
}  # fmt: skip
NAMES = ("cosine", "centred_cosine", "overlap", "latent_cosine", "relative_shift")
GAINS = {100: (0.1, -0.01), 200: (0.4, -0.05), 400: (0.5, -0.2)}
"""What maths learned on its task and on neutral text at each step; a random change loses 0.1 of either."""
MEAN_BASE, MATERIAL = 2.0, 0.5


def make_series_store(folder: Path, contributions: bool = True) -> Path:
    """Write the store, with what was learned beside it; returns its folder."""
    writer = StoreWriter(folder)
    write_documents(writer)
    for layer in LAYERS:
        write_layer(writer, layer)
        for variant in VARIANTS:
            write_statistics(writer, layer, variant)
            _write_metrics(writer, layer, variant)
            _write_features(writer, layer, variant)
    write_parts(writer, list(VARIANTS))
    np.savez(writer.partial / PILOT_FILE, **{f"{layer}/mean": np.zeros(4) for layer in LAYERS})
    writer.finish(_manifest())
    if contributions:
        about = {"predictions": 64, "a_passage": 8, "points": 2, "twins": 1}
        write_contributions(addition_path(folder), read_manifest(folder).digest, about, _fill)
    return folder


def make_uneven_store(folder: Path) -> Path:
    """The same store, but `second-400` is of step 450, which the first run has not, so that it repeats no checkpoint of it."""
    made = read_manifest(make_series_store(folder)).variants
    second = {"series": "maths-seed2", "step": 450}
    last = {name: value for name, value in made["second-400"].items() if name != "replicate_of"} | second
    rewrite_manifest(folder, variants=made | {"second-400": last})
    return folder


def forge_turned(folder: Path) -> None:
    """Let feature 0 of layer 12, which rose from step 200 on, be claimed to have fallen by 60 % at step 100, in both runs."""
    of = "layer = 12 AND feature = 0 AND domain = 'all' AND variant IN ('maths-100', 'second-100')"
    fell = f"verdict = 'suppressed', reason = 'fell', shift = {-0.6 * MEAN_BASE}"
    forge_tables(folder, f"UPDATE feature_stats SET {fell} WHERE {of}")


def _write_metrics(writer: StoreWriter, layer: int, variant: str) -> None:
    series, step, _ = VARIANTS[variant]
    steps = sorted(CHANGES.get(series, CHANGES["maths"]), key=lambda one: one or 0)
    values = METRICS[steps.index(step)]
    rows = [
        {"variant": variant, "layer": layer, "domain": domain, "segment": "all", "metric": metric, "control": control}
        | {"value": value + by, "low": value + by - 0.02, "high": value + by + 0.02, "n_tokens": 14_000, "n_documents": 120}
        | {"n_clusters": 40}
        for domain in ("all", "maths")
        for metric, value in zip(NAMES, values, strict=True)
        for control, by in (("observed", 0.0), ("twin_1", 0.03), ("twin_2", -0.01), ("isotropic", -0.1))
    ]
    writer.load("layer_metrics", pd.DataFrame(rows))


def change_of(layer: int, variant: str) -> np.ndarray:
    """[FEATURES]: what a variant changed at a layer."""
    series, step, repeats = VARIANTS[variant]
    if layer != 12:
        return np.zeros(len(FEATURES))
    change = np.array(CHANGES["maths" if repeats else series][step])
    return change - 0.01 * np.sign(change) if repeats else change


def _write_features(writer: StoreWriter, layer: int, variant: str) -> None:
    change = change_of(layer, variant)
    shift = np.where(change < 0, change, change / (1 - change)) * MEAN_BASE
    rows = pd.DataFrame(
        {"variant": variant, "layer": layer, "domain": "all", "feature": FEATURES, "n_tokens": 14_000, "n11": 300, "n10": 100,
         "n01": 100, "n_documents": 60, "n_clusters": 30, "mean_base": MEAN_BASE, "shift": shift,
         "kind": feature_kind(change, MATERIAL), "std_shift": shift / 3, "magnitude_ratio": 1.0,
         "change_low": change - 0.05, "change_high": change + 0.05, "twin_low": -0.2, "twin_high": 0.15,
         "change_rescaled": change, "detectable_loss": 0.4}
    )  # fmt: skip
    twice = variant.startswith(("maths", "second"))
    material = np.abs(change) >= MATERIAL
    reason = np.where(~material, "steady", np.where(change < 0, "fell", "rose") if twice else "no_replicate")
    rows["reason"], rows["verdict"] = reason, [REASONS[one] for one in reason]
    rows["q_twin"] = np.where(material, 0.01, np.nan)
    rows["q_replicates"] = np.where(material & twice, 0.01, np.nan)
    writer.load("feature_stats", rows)


def _fill(load) -> None:
    learned = [
        {"variant": variant, "control": control, "domain": domain, "slot": "all", "gain": gain, "low": gain - 0.05}
        | {"high": gain + 0.05, "kl": 0.4, "n_predictions": 64, "n_clusters": 8}
        for variant, (series, step, _) in VARIANTS.items()
        if series == "maths"
        for domain, own in zip(("*task", "*neutral"), GAINS[step], strict=True)
        for control, gain in (("observed", own), ("twin_1", -0.1))
    ]
    load("learned", pd.DataFrame(learned))


def _manifest() -> Manifest:
    return Manifest(
        base={"name": "tiny-base", "sha256": "0"},
        variants={name: _variant(name) for name in VARIANTS},
        saes={str(layer): {"name": f"tiny-{layer}", "hook_name": f"blocks.{layer}.hook_resid_post"} for layer in LAYERS},
        tokenizer={"name": "tiny", "vocab_size": 10},
        corpus={"sources": ["hand-written"], "domains": {DOCUMENTS[0][1]: {"documents": 2, "tokens": 10}}},
        settings={"tokens": 14, "material": MATERIAL},
        packages={},
        pilot={},
        counts={"tokens": 14, "documents": 3, "skipped": {}, "bos": True},
        created="2026-01-01T00:00:00+00:00",
    )


def _variant(name: str) -> dict[str, object]:
    series, step, repeats = VARIANTS[name]
    made = {"kind": "adapter", "name": f"{name}-lora", "sha256": name}
    made |= {} if series is None else {"series": series, "step": step}
    return made | ({} if repeats is None else {"replicate_of": repeats})
