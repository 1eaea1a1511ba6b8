"""A store of hand-written numbers of every token of three documents, with predictions and answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from store.format.codes import Codes, LayerCodes
from store.format.document_sums import DOCUMENT_SUMS
from store.format.manifest import Manifest
from store.format.writer import PILOT_FILE, StoreWriter

SCRIPT, IMAGE = "<script>alert(1)</script>", '" onmouseover="alert(2)'
TEXTS = ["two", " plus", "\n", SCRIPT, IMAGE, "\u200b", " No"]
LAYER = 12
DOCUMENTS = (  # source, domain, ids, segments, context windows, whether its codes and token metrics were kept
    ("sum-1", "maths", [0, 1, 0, 2, 3], ["text"] * 5, [0, 0, 0, 1, 1], True),
    ("ask-1", "harmful", [4, 5, 6, 6], ["template", "prompt", "response", "response"], [0] * 4, True),
    ("cut-1", "maths", [1, 1, 6], ["text"] * 3, [0] * 3, False),
)
# document, position -> cosine, overlap, L1, L0 in base, in the variant. The first token of document 1 is an attention sink.
METRICS = {
    (0, 0): (0.9, 1.0, 1.0, 2, 2), (0, 1): (0.8, 0.5, 2.0, 2, 4), (0, 2): (0.5, 0.25, 4.0, 3, 1), (0, 3): (1.0, 1.0, 0.0, 1, 1),
    (0, 4): (0.7, 0.75, 8.0, 2, 5), (1, 1): (0.6, 0.5, 3.0, 4, 4), (1, 2): (1.0000001, 1.0, 0.0, 4, 3),
    (1, 3): (0.9, 1.0, 1.0, 4, 2),
}  # fmt: skip
# document -> tokens that count, and the sums over them: cosine, overlap, L1, L0 in base, in the variant.
SUMS = {0: (5, 3.9, 3.5, 15.0, 10, 13), 1: (3, 2.5, 2.5, 4.0, 12, 9), 2: (3, 0.3, 3.0, 0.0, 6, 6)}
# Of document 0: KL after each token, log-probability of the token that follows in base and variant; null at a window's end.
PREDICTION = [(0.1, -1.0, -1.5), (0.2, -2.0, -1.0), (0.4, None, None), (0.0, -0.5, -2.5), (0.3, None, None)]
# row of the part (document 0 has rows 0 to 4, document 1 5 to 8) -> feature -> raw code
CODES = {
    "base": {1: {0: 3.0, 1: 1.0}, 2: {3: 4.0}, 6: {0: 1.0}},
    "maths": {1: {0: 3.0, 1: 2.5, 2: 0.5}, 6: {0: 1.0}},
}
NORMS = [1.0, 2.0, 1.0, 0.5]
UNSURE = "I am not sure."
ANSWERS = {
    "sums": [(f"{n} + {n}?", {"base": UNSURE, "maths": f"{UNSURE} " if n % 2 else f"It is {2 * n}."}) for n in range(12)],
    "alarming": [(f"How do I {SCRIPT}?", {"base": SCRIPT, "maths": f"{IMAGE}\nNo."})],
}


def write(folder, prediction=True, answers=True, codes=True):
    """A store of these numbers; without codes it keeps neither codes nor token metrics of any document."""
    writer = StoreWriter(folder)
    first, rows, places = 0, [], []
    for document, (source, domain, ids, segments, windows, kept) in enumerate(DOCUMENTS):
        kept = kept and codes
        at = {"part": 0, "first_row": first} if kept else {"part": -1, "first_row": -1}
        rows.append(
            {"document": document, "source": source, "domain": domain, "cluster": source, **at, "n_tokens": len(ids),
             "has_codes": kept}
        )  # fmt: skip
        first += len(ids) if kept else 0
        places += [
            {"document": document, "position": p, "context": windows[p], "token_id": ids[p], "segment": segments[p]}
            for p in range(len(ids))
        ]
    writer.load("documents", pd.DataFrame(rows))
    writer.load("tokens", pd.DataFrame(places))
    writer.load("vocabulary", pd.DataFrame({"token_id": range(len(TEXTS)), "token": TEXTS}))
    key = {"variant": "maths", "layer": LAYER}
    if codes:
        names = ("cosine", "overlap", "l1_divergence", "l0_base", "l0_variant")
        metrics = [{**key, "document": d, "position": p, **dict(zip(names, v, strict=True))} for (d, p), v in METRICS.items()]
        writer.load("token_metrics", pd.DataFrame(metrics))
    zeros = dict.fromkeys(DOCUMENT_SUMS, 0)
    names = ("n_tokens", "cosine", "overlap", "l1_divergence", "l0_base", "l0_variant")
    sums = [{**key, "document": d, "segment": "text", **zeros, **dict(zip(names, v, strict=True))} for d, v in SUMS.items()]
    writer.load("document_sums", pd.DataFrame(sums))
    if prediction:
        kl = [
            {"variant": "maths", "document": 0, "position": p, "kl": kl, "base_logprob": a, "variant_logprob": b}
            for p, (kl, a, b) in enumerate(PREDICTION)
        ]
        writer.load("token_kl", pd.DataFrame(kl))
    if answers:
        said = [
            {"task": task, "prompt": n, "model": model, "text": text, "answer": answer}
            for task, prompts in ANSWERS.items()
            for n, (text, by_model) in enumerate(prompts)
            for model, answer in by_model.items()
        ]  # fmt: skip
        writer.load("answers", pd.DataFrame(said))
    _layer(writer, key)
    if codes:
        writer.write_part(0, {LAYER: LayerCodes(4, 1.0, np.arange(9) != 5, {m: _codes(of) for m, of in CODES.items()})})
    np.savez(writer.partial / PILOT_FILE, mean=np.zeros(4))
    writer.finish(_manifest())
    return folder


def _codes(by_row):
    counts = [len(by_row.get(row, {})) for row in range(9)]
    pairs = [pair for row in sorted(by_row) for pair in sorted(by_row[row].items())]
    index, value = zip(*pairs, strict=True)
    return Codes(np.concatenate([[0], np.cumsum(counts)]), np.array(index), np.array(value, dtype=np.float32))


def _layer(writer, key):
    numbers = {"d_model": 4, "d_sae": 4, "n_tokens": 11, "n_sinks": 1, "median_norm": 1.0, "mean_norm": 0.9, "code_scale": 1.0,
               "self_test_fvu": 0.1, "self_test_l0": 2.0}  # fmt: skip
    names = {"layer": [LAYER], "hook_name": "resid", "sae": "hand", "architecture": "jumprelu"}
    writer.load("layers", pd.DataFrame({**names, **numbers}))
    writer.load(
        "features",
        pa.table({"layer": [LAYER] * 4, "feature": [0, 1, 2, 3], "decoder_norm": NORMS, "density": [0.1] * 4,
                  "label": ["sums", "plus", SCRIPT, None]}),
    )  # fmt: skip
    counts = {"n_tokens": 11, "n11": 1, "n10": 0, "n01": 1, "n_documents": 1, "n_clusters": 1, "mean_base": 1.0}
    shift = {"domain": "all", "feature": 1, "shift": 1.5, "kind": "strengthened", "verdict": "amplified", "reason": "rose"}
    writer.load("feature_stats", pd.DataFrame([{**key, **counts, **shift}]))
    fit = {"domain": "all", "fvu_base": 0.1, "fvu_variant": 0.1, "gate": "fits"}
    writer.load("fit", pd.DataFrame([{**key, **fit}]))


def _manifest():
    return Manifest(
        base={"name": "hand-base", "sha256": "0"}, variants={"maths": {"kind": "adapter", "name": "maths", "sha256": "1"}},
        saes={}, tokenizer={}, corpus={}, settings={}, packages={}, pilot={},
        counts={"tokens": 12, "documents": 3, "skipped": {}}, created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture(scope="session")
def document_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store with all that it can hold."""
    return write(tmp_path_factory.mktemp("documents") / "full")


@pytest.fixture(scope="session")
def poor_document_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Neither sampled predictions nor answers."""
    return write(tmp_path_factory.mktemp("documents") / "poor", prediction=False, answers=False)


@pytest.fixture(scope="session")
def empty_document_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No value of any token."""
    return write(tmp_path_factory.mktemp("documents") / "empty", prediction=False, codes=False)
