"""Whole runs at each point of a block, and with transcoders: what is in the store, against activations read by torch's plain
hooks; planted edits; the causal check and contributions there."""

from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from sae_lens import SAE
from transformers import AutoModelForCausalLM

from extract.__main__ import main
from store import open_store
from store.read.store import Store
from store.sidecar.entries import read_steering
from tests.support.contributed import ASKED, Reference, table
from tests.support.point_dictionaries import GEMMA, TRANSCODERS, make_dictionary, make_transcoder
from tests.support.points_by_hand import at_input, at_output, listened
from tests.support.world import LAYERS, World, one_thread

FEATURE, PLANTED_AT = 4, 2
VARIANTS = {  # no token's id is divisible by 999
    "shifted": {"planted": {"layer": PLANTED_AT, "feature": FEATURE, "strength": 0.5}},
    "nothing": {"planted": {"layer": PLANTED_AT, "feature": FEATURE, "strength": 0.5, "every": 999}},
}


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        point, reads: where its dictionaries write, and read.
        config, store: where they are.
        saes: by layer.
    """

    point: str
    reads: str
    config: Path
    store: Path
    saes: dict[int, Path]


def cases() -> list:
    quick = ("attn_z", "transcoder")
    kinds = ("resid_pre", "resid_mid", "attn_z", "attn_out", "mlp_in", "mlp_out", "transcoder")
    return [pytest.param(kind, marks=() if kind in quick else pytest.mark.thorough) for kind in kinds]


@pytest.fixture(scope="module", params=cases())
def case(request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory) -> Case:
    kind, folder = request.param, tmp_path_factory.mktemp("point")
    with one_thread():
        if kind == "transcoder":
            made = zip(LAYERS, TRANSCODERS, strict=True)
            saes = {layer: make_transcoder(folder / f"sae_{layer}", world.base, layer, name, layer) for layer, name in made}
        else:
            saes = {layer: make_dictionary(folder / f"sae_{layer}", world.base, layer, kind, layer) for layer in LAYERS}
        variants = {"tuned": {"adapter": str(world.adapter), "task": ["chats"]}, **VARIANTS}
        config = world.config(folder, saes=[{"path": str(path)} for path in saes.values()], variants=variants, twins=1)
        assert main(["check", str(config)]) == 0
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    point, reads = ("mlp_out", "mlp_in") if kind == "transcoder" else (kind, kind)
    return Case(point, reads, config, folder / "store", saes)


@pytest.fixture(scope="module")
def store(case: Case) -> Store:
    with open_store(case.store) as opened:
        yield opened


def models(world: World) -> PeftModel:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(world.base).eval(), world.adapter).eval()


@pytest.fixture(scope="module")
def by_hand(world: World, case: Case, store: Store) -> dict[tuple[str, int, str], torch.Tensor]:
    """(model, layer, point) -> float32 [tokens, width], window by window, in the store's order."""
    tokens = store.sql("SELECT document, position, context, token_id FROM tokens ORDER BY document, position")
    peft, rows = models(world), defaultdict(list)
    with torch.no_grad(), one_thread(), listened(GEMMA, peft.get_base_model(), LAYERS) as seen:
        for _, window in tokens.groupby(["document", "context"], sort=False):
            for model in ("base", "tuned"):
                with peft.disable_adapter() if model == "base" else nullcontext():
                    peft(torch.tensor([[2, *window["token_id"]]]))
                for layer, point in product(LAYERS, {case.point, case.reads}):
                    rows[model, layer, point].append(seen[layer, point][0, 1:])
    return {at: torch.cat(kept) for at, kept in rows.items()}


def decoded(sae: SAE, codes: np.ndarray, read: np.ndarray) -> np.ndarray:
    """float64 [tokens, width], by numpy."""
    weights = {name: weight.double().numpy() for name, weight in sae.state_dict().items()}
    found = codes.astype(np.float64) @ weights["W_dec"] + weights["b_dec"]
    return found + read @ weights["W_skip"].T if "W_skip" in weights else found


def test_the_store_says_where_it_was_read(case: Case, store: Store):
    for facts in store.manifest.saes.values():
        assert (facts["point"], facts["reads"]) == (case.point, case.reads)


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_metrics_are_of_the_point(case: Case, store: Store, by_hand, layer: int):
    """Of every token whose norm at the point is no sink's, and the error is against what the dictionary should have written."""
    sae = SAE.load_from_disk(case.saes[layer])
    wide = {model: by_hand[model, layer, case.point].double().numpy() for model in ("base", "tuned")}
    read = {model: by_hand[model, layer, case.reads] for model in ("base", "tuned")}
    norms = np.linalg.norm(wide["base"], axis=1)
    facts = store.sql("SELECT * FROM layers WHERE layer = ?", [layer]).iloc[0]
    assert facts["median_norm"] == pytest.approx(np.median(norms), rel=0.1)
    counts = norms <= store.manifest.settings["sink_factor"] * facts["median_norm"]
    assert facts["n_tokens"] == counts.sum()
    with torch.inference_mode():
        codes = {model: sae.encode(activation).numpy()[counts] for model, activation in read.items()}
    h, seen = {m: w[counts] for m, w in wide.items()}, {m: r.double().numpy()[counts] for m, r in read.items()}
    error = {m: h[m] - decoded(sae, codes[m], seen[m]) for m in h}
    delta = h["tuned"] - h["base"]
    cosine = (h["base"] * h["tuned"]).sum(1) / np.linalg.norm(h["base"], axis=1) / np.linalg.norm(h["tuned"], axis=1)
    on = {m: codes[m] > 0 for m in codes}
    expected = {
        "cosine": cosine.mean(),
        "relative_shift": np.sqrt((delta**2).sum() / (h["base"] ** 2).sum()),
        "fvu_base": (error["base"] ** 2).sum() / ((h["base"] - h["base"].mean(0)) ** 2).sum(),
        "fvu_variant": (error["tuned"] ** 2).sum() / ((h["tuned"] - h["tuned"].mean(0)) ** 2).sum(),
        "delta_coverage": 1 - ((error["tuned"] - error["base"]) ** 2).sum() / (delta**2).sum(),
        "l0_base": on["base"].sum(1).mean(),
        "l0_variant": on["tuned"].sum(1).mean(),
    }
    rows = store.layer_metrics(variant="tuned")
    rows = rows[(rows["layer"] == layer) & (rows["domain"] == "all") & (rows["segment"] == "all")]
    found = rows[rows["control"] == "observed"].set_index("metric")["value"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-3, abs=1e-5), name
    assert 0 < expected["fvu_base"] < 0.95
    query = "SELECT sum(base_norm2) FROM document_sums WHERE variant = 'tuned' AND layer = ? AND segment <> 'all'"
    assert store.sql(query, [layer]).iloc[0, 0] == pytest.approx((h["base"] ** 2).sum(), rel=2e-3)


def test_token_metrics_are_of_the_point(case: Case, store: Store, by_hand):
    rows = store.sql("SELECT * FROM token_metrics WHERE variant = 'tuned' AND layer = 2 ORDER BY document, position")
    places = store.sql("SELECT document, position FROM tokens ORDER BY document, position")
    base, tuned = (by_hand[model, 2, case.point].double() for model in ("base", "tuned"))
    expected = places.assign(own=torch.cosine_similarity(base, tuned).numpy())
    found = rows.merge(expected)
    assert len(found) == len(rows) > 1000
    np.testing.assert_allclose(found["cosine"], found["own"], atol=1e-4)


def shares(store: Store, variant: str) -> pd.Series:
    rows = store.layer_metrics(variant=variant)
    rows = rows[(rows["domain"] == "all") & (rows["segment"] == "all") & (rows["control"] == "observed")]
    return rows[rows["metric"] == "relative_shift"].set_index("layer")["value"]


def test_a_planted_edit_is_found_where_it_is_and_above_and_nowhere_below(case: Case, store: Store):
    found = shares(store, "shifted")
    assert found[1] == 0
    assert found[2] == pytest.approx(0.5, rel=0.2)  # half the median norm is added
    assert found[3] > 0.01
    assert (shares(store, "nothing") == 0).all()


def test_the_planted_feature_is_the_one_that_moved_most(case: Case, store: Store):
    """Of a transcoder's layer, which reads elsewhere, no code moved; above it some did."""
    moved = store.sql(
        "SELECT layer, feature, shift FROM feature_stats WHERE variant = 'shifted' AND domain = 'all' ORDER BY abs(shift) DESC"
    )
    here = moved[moved["layer"] == PLANTED_AT]
    if case.reads == case.point:
        assert (here["feature"].iloc[0], here["shift"].iloc[0] > 0) == (FEATURE, True)
    else:
        assert (here["shift"] == 0).all()
    assert (moved[moved["layer"] == 3]["shift"] != 0).any()


def test_promoted_tokens(case: Case, store: Store, world: World):
    """Through the output projection and the norm after it from the heads; of what an MLP reads there are none."""
    rows = store.sql("SELECT feature, promoted, promoted_logits FROM features WHERE layer = 2 ORDER BY feature")
    if case.point == "mlp_in":
        assert rows["promoted"].isna().all()
        return
    model = AutoModelForCausalLM.from_pretrained(world.base)
    block = model.model.layers[2]
    with torch.no_grad():
        directions = torch.nn.functional.normalize(SAE.load_from_disk(case.saes[2]).W_dec, dim=1)
        if case.point == "attn_z":
            directions = directions @ block.self_attn.o_proj.weight.T * (1 + block.post_attention_layernorm.weight)
        effects = (directions * (1 + model.model.norm.weight)) @ model.lm_head.weight.T
    strongest = effects.topk(3, dim=1)
    np.testing.assert_allclose(np.stack(rows["promoted_logits"]), strongest.values, rtol=1e-3, atol=1e-5)
    assert (np.stack(rows["promoted"]) == strongest.indices.numpy()).mean() > 0.99


# ---- contributions and the causal check ----


class AtAPoint(Reference):
    """Contributions by transformers, PEFT and sae-lens, at a point."""

    def __init__(self, world: World, case: Case) -> None:
        super().__init__(world, case.store)
        self.case = case
        self.saes = {layer: SAE.load_from_disk(path) for layer, path in case.saes.items()}

    def read(self, there):
        return there if self.case.reads == self.case.point else self._read

    def forward(self, ids, layer, replaced=None):
        places = {"resid_pre": "", "attn_out": GEMMA.attention, "mlp_out": GEMMA.mlp_out, "attn_z": GEMMA.projection,
                  "mlp_in": GEMMA.mlp, "resid_mid": GEMMA.attention}  # fmt: skip
        module = self.blocks[layer].get_submodule(places[self.case.point])
        at = at_input if self.case.point in ("resid_pre", "attn_z", "mlp_in") else at_output
        kept = {}

        def on(activation):
            if self.case.point == "resid_mid":  # what attention adds to what the block begins with
                kept["here"] = kept["begin"] + activation[0]
                return None if replaced is None else (replaced - kept["begin"])[None]
            kept["here"] = activation[0]
            return None if replaced is None else replaced[None]

        def begin(activation):
            kept["begin"] = activation[0]

        with at_input(self.blocks[layer], begin), at(module, on), listened(GEMMA, self.model.get_base_model(), [layer]) as seen:
            logits = self.model(ids[None]).logits[0]
        self._read = seen[layer, self.case.reads][0]
        return kept["here"], logits.log_softmax(1)


@pytest.fixture(scope="module")
def contributions(case: Case) -> Path:
    with one_thread():
        assert main(["contributions", str(case.store), str(case.config), *ASKED]) == 0
    return case.store


@pytest.mark.parametrize("layer", LAYERS)
def test_contributions_at_the_point(case: Case, contributions: Path, world: World, layer: int):
    """L(0) - L(1), and what features have of it, by whole passes with torch's plain hooks."""
    predictions = table(contributions, "taken_apart").sort_values(["document", "position"])
    predictions = predictions[predictions["variant"] == "tuned"] if "variant" in predictions else predictions
    with one_thread():
        reference = AtAPoint(world, case)
        found = [reference.passage(rows, layer) for _, rows in predictions.groupby("document")]
    rows = table(contributions, "layers")
    row = rows[(rows["variant"] == "tuned") & (rows["layer"] == layer) & (rows["control"] == "observed")]
    row = row[row["domain"] == "all"].iloc[0]
    for name in ("gain", "kl"):
        assert row[name] == pytest.approx(sum(one[name] for one in found) / len(predictions), abs=1e-5)
        assert abs(row[name]) > 1e-4
    features = table(contributions, "features")
    features = features[(features["layer"] == layer) & (features["domain"] == "all") & (features["variant"] == "tuned")]
    dense = sum(one["by_feature"]["gain"] for one in found) / len(predictions)
    np.testing.assert_allclose(features["gain"], dense[features["feature"]], atol=1e-4)


def test_steering_at_the_point(case: Case, store: Store, capsys):
    """Of the edit along a feature most is undone by taking that feature back; a transcoder's codes do not see it."""
    variant, feature = ("shifted", FEATURE) if case.reads == case.point else ("tuned", None)
    if feature is None:
        rows = store.shifted_features(variant="tuned", layer=2, sort="abs_shift", dense=True, limit=1)
        feature = int(rows["feature"].iloc[0])
    options = ["--layer", "2", "--feature", str(feature), "--variant", variant, "--contexts", "8", "--random", "5"]
    with one_thread():
        assert main(["steer", str(case.store), str(case.config), *options]) == 0
    result = {one.variant: one for one in read_steering(case.store, store.manifest.digest)}[variant]
    assert result.kl_before > 0
    if variant == "shifted":
        assert result.kl_after < 0.5 * result.kl_before
        assert result.rank == 1
    else:
        assert result.kl_after != result.kl_before
