"""Contributions beside the tiny store, by hand: its variants, layers and features (tests/support/tiny_store.py).

`maths` learned 0.5 nats a token on its task and cost 0.2 elsewhere, its twin lost 0.3 and 0.25; `safety` has no task that
the sample knows. Of `maths` at layer 12 feature 0 carries most, feature 1 takes away.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from store.format.additions import addition_path, write_contributions
from store.format.manifest import read_manifest
from tests.support.tiny_store import LAYERS, VARIANTS

N = {"n_predictions": 64, "n_clusters": 8}
GAINS = {  # variant -> domain -> nats a predicted token of the variant; of its twin where it has one
    "maths": {"all": (0.1, -0.28), "*task": (0.5, -0.3), "*neutral": (-0.2, -0.25), "maths": (0.5, -0.3),
              "harmful": (-0.2, -0.25)},
    "maths-seed2": {"all": (0.12, None), "*task": (0.55, None), "*neutral": (-0.15, None)},
    "safety": {"all": (0.3, -0.2), "*neutral": (-0.1, -0.2)},
}  # fmt: skip
FEATURES = {  # variant -> feature at layer 12 -> gain, kl
    "maths": {0: (0.08, 0.05), 1: (-0.03, 0.02), 5: (0.01, 0.06)},
    "maths-seed2": {0: (0.07, 0.04)},
    "safety": {1: (0.05, 0.07)},
}
WORDS = {1: "####", 2: " total", 3: " sorry", 4: "<script>alert(3)</script>"}


def add_contributions(store: Path) -> Path:
    """Write them beside a tiny store."""
    path = addition_path(store)
    write_contributions(path, read_manifest(store).digest, {"predictions": 64, "a_passage": 8, "points": 2, "twins": 1}, fill)
    return path


def fill(load: Callable[[str, pd.DataFrame], None]) -> None:
    """Every table."""
    learned, layers = [], []
    for variant, of_domains in GAINS.items():
        for domain, gains in of_domains.items():
            for control, gain in zip(("observed", "twin_1"), gains, strict=True):
                if gain is None:
                    continue
                place = {"variant": variant, "control": control, "domain": domain}
                learned.append(place | {"slot": "all", "gain": gain, "low": gain - 0.05, "high": gain + 0.05, "kl": 0.4} | N)
                for share, layer in zip((0.2, 0.6), LAYERS, strict=True):
                    part = share * gain
                    layers.append(
                        place | {"layer": layer, "whole": gain, "gain": part, "low": part - 0.02, "high": part + 0.02}
                        | {"features": 0.8 * part, "rest": 0.2 * part, "kl": 0.1, "features_kl": 0.08, "rest_kl": 0.02}
                        | {"completeness": 0.004, "completeness_kl": 0.004, "largest": 0.08, "smallest": -0.03}
                        | {"carrying_half": 2} | N
                    )  # fmt: skip
    load("learned", pd.DataFrame(learned))
    load("layers", pd.DataFrame(layers))
    features = [
        {
            "variant": variant, "layer": 12, "domain": domain, "feature": feature, "gain": gain, "low": gain - 0.01,
            "high": gain + 0.01, "q": 0.01, "rank": rank, "kl": kl, "n_clusters": 6,
            **({"replicate_low": 0.07, "replicate_high": 0.08} if variant != "safety" and feature == 0 else {}),
        }
        for variant, of_variant in FEATURES.items()
        for domain in ("all", *(("*task", "maths") if variant != "safety" else ()))
        for rank, (feature, (gain, kl)) in enumerate(of_variant.items(), 1)
    ]  # fmt: skip
    load("features", pd.DataFrame(features))
    agreement = [("maths", "maths-seed2", 0.9), ("maths", "twin_1", 0.1), ("maths-seed2", "maths", 0.9)]
    columns = ["variant", "other", "correlation"]
    load("agreement", pd.DataFrame(agreement, columns=columns).assign(layer=12, domain="*task"))
    curve = [
        {"variant": "maths", "layer": 12, "domain": "*task", "chosen_by": by, "k": k, "gain": share * k / (k + 2), "kl": 0.1}
        for by, share in (("contribution", 0.3), ("size", 0.2), ("random", 0.05), ("same norm", 0.1))
        for k in (1, 2, 5)
    ]
    whole = {"variant": "maths", "layer": 12, "domain": "*task", "chosen_by": "layer", "k": 6, "gain": 0.3, "kl": 0.1}
    load("curves", pd.DataFrame([*curve, whole]))
    acts = [("maths", 0, 0, 2, 0.5), ("maths", 0, 0, 4, -0.2), ("safety", 1, 2, 1, 0.3)]
    columns = ["variant", "feature", "document", "position", "gain"]
    load("acts", pd.DataFrame(acts, columns=columns).assign(layer=12))
    positions = [(0, 1, "first"), (0, 2, "rest"), (2, 0, "answer")]
    load(
        "predictions",
        pd.DataFrame(
            [
                {"variant": v, "document": d, "position": p, "slot": s, "base_logprob": -2.0, "variant_logprob": -1.5}
                for v in VARIANTS
                for d, p, s in positions
            ]
        ).assign(kl=0.4, weight=1.0),
    )
    load("taken_apart", pd.DataFrame(positions, columns=["document", "position", "slot"]).assign(weight=1.0))
    changes = [
        {"variant": variant, "control": control, "domain": domain, "slot": "all", "token_id": token, "change": change}
        for variant in VARIANTS
        for control in ("observed", "twin_1")
        for domain in ("all", "*task")
        for token, change in ((1, 0.2), (2, 0.1), (3, -0.15), (4, -0.05))
    ]
    load("word_changes", pd.DataFrame(changes))
    said = [
        {
            "variant": variant, "layer": layer, "component": component, "way": way, "domain": domain, "slot": slot,
            "against": against,
            "token_id": token, "score": 3.0 - token / 2, "chance": 0.8,
        }
        for variant in VARIANTS
        for layer in LAYERS
        for component, way, domain, slot, against in (
            (0, "+", "*task", "opening", "nothing"), (0, "+", "*task", "opening", "others"),
            (0, "+", "all", "all", "others"), (1, "+", "all", "all", "nothing"), (1, "-", "all", "all", "nothing"),
        )
        for token in WORDS
    ]  # fmt: skip
    load("change_words", pd.DataFrame(said))
    load("vocabulary", pd.DataFrame({"token_id": list(WORDS), "token": list(WORDS.values())}))
