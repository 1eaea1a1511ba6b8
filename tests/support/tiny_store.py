"""A tiny store made by the real writer from hand-written numbers: 2 layers, 2 variants, 4 features, 3 documents.

Small enough to know by heart: what each query must return can be worked out from this page.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from store.manifest import Manifest
from store.metrics import feature_values, fit_gate
from store.parts import Codes, LayerCodes
from store.writer import PILOT_FILE, StoreWriter

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
SUM_NAMES = ("n11", "n10", "n01", "n_documents", "a", "b", "a2", "b2", "both_a", "both_b")


def make_tiny_store(folder: Path) -> Path:
    """Write the store; returns its folder."""
    writer = StoreWriter(folder)
    _documents(writer)
    for layer in LAYERS:
        _layer(writer, layer)
        for variant in VARIANTS:
            _statistics(writer, layer, variant)
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
         "segment": "text" if domain == "maths" else ("prompt" if p < 2 else "response")}
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
    sums = dict(zip(SUM_NAMES, np.array(FEATURE_SUMS[variant]).T, strict=True))
    for domain, n_tokens in N_TOKENS.items():
        values = feature_values(sums, n_tokens)
        writer.load("feature_stats", pd.DataFrame({**key, "domain": domain, "feature": range(3), **values}))
    fvu = (0.1, 0.12) if layer == 5 else ((0.3, 0.5) if variant == "maths" else (0.3, 0.95))
    metrics = {"cosine": 0.97 - layer / 1000, "overlap": 0.45, "l0_base": 2.0, "l0_variant": 2.5, "l0_inflation": 1.25,
               "fvu_base": fvu[0], "fvu_variant": fvu[1], "relative_shift": 0.1, "latent_cosine": 0.8}  # fmt: skip
    margins = [("all", "all"), ("maths", "all"), ("harmful", "all"), ("all", "text"), ("all", "prompt"), ("all", "response")]
    rows = [
        {**key, "domain": domain, "segment": segment, "metric": metric, "control": "observed", "value": value,
         "n_tokens": N_TOKENS.get(domain, 14) if segment == "all" else 4, "n_documents": 3}
        for domain, segment in margins
        for metric, value in metrics.items()
    ]  # fmt: skip
    writer.load("layer_metrics", pd.DataFrame(rows))
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
                "peak": [c[3] for c in contexts], "token_ids": [DOCUMENTS[c[2]][2] for c in contexts],
                "base_values": [c[4] for c in contexts], "variant_values": [c[5] for c in contexts],
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
        corpus={"sources": ["hand-written"], "domains": {"maths": {"documents": 2, "tokens": 10}}},
        settings={"tokens": 14},
        packages={},
        pilot={},
        counts={"tokens": 14, "documents": 3, "skipped": {}, "bos": True},
        created="2026-01-01T00:00:00+00:00",
    )
