"""Every stored statistic against a dense float64 computation of docs/metrics.md: see tests/support/reference.py.

Long because each table of one extraction is held to the second implementation.

One small run holds the awkward cases: decoder norms far from 1, tokens with no code at all, sink tokens (and a domain of
nothing else), a domain of a single token, features that never fire, documents longer than a context window, repeated
passages, every kind of variant at once, several shards; every control, tasks and neutral text, a second dictionary, two
features of nearly the same direction that a planted change plays off against each other, and clusters of documents, given
and by their ids, enough for intervals. Two runs of a recipe silence 8 features of layer 1 and make 10 rare ones louder, a
LoRA alone silences 12, so that every verdict occurs; each variant has four twins.
"""

import math
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from sae_lens import SAE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from extract.__main__ import main
from store import open_store, verify
from store.format.codes import Codes, LayerCodes
from store.format.document_sums import DOCUMENT_SUMS
from store.format.part_reading import read_codes
from store.format.part_writing import write_part
from store.metrics import decoys
from store.metrics import feature_numbers as metrics
from store.metrics.evidence import Member, Recipe, Side
from store.metrics.layer_metrics import layer_values
from store.metrics.verdicts import REASONS
from store.names import CONTROLS, KINDS, VERDICTS
from store.read.store import Store
from tests.support.evidence import Pair, decided, like_features
from tests.support.reference import Reference, cosine_table, encode, hashed, recording, window_by_window
from tests.support.world import (
    World,
    make_base,
    make_checkpoint,
    make_run,
    make_sae,
    one_thread,
    quiet_axes,
    sentences,
    write_jsonl,
)

SUM = 1e-9  # relative, of float64 sums
FLOAT32 = 2.0**-23
RATES = ("freq_base", "freq_variant", "log_ratio", "suppression", "emergence")
"""Worked out from the counts when read."""
CHANGES = (
    "change", "loss", "gain", "change_low", "change_high", "twin_low", "twin_high", "replicate_low", "replicate_high",
)  # fmt: skip
"""Shares of activation."""
FLOAT16 = 2.0**-11  # half a unit in the last place of the stored codes
SINK = " moon"
RARE_REASONS = {"uneven", "recurs_by_chance", "replicate_unseen", "run_misfit"}
"""What does not occur in this run; tests/unit/store/metrics/test_verdicts.py has them all."""
LOUDER = slice(7, 12)
"""Of layer 1's quiet axes those that two runs of a recipe make louder."""
PAIR = (20, 22)
"""Features of layer 2 at a cosine of 0.77, between which lies the direction that the variant 'nudged' adds."""


# ---- the run ----


@dataclass(frozen=True)
class Run:
    """The store, what it should hold, and where its models are."""

    store: Store
    truth: Reference
    folder: Path


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Extract once through the command line, recording what the models gave."""
    folder = tmp_path_factory.mktemp("reference")
    config = awkward_config(world, folder)
    with one_thread(), recording() as record:
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    truth = Reference(yaml.safe_load(config.read_text()), record)
    with open_store(folder / "store") as store:
        yield Run(store, truth, folder)


def awkward_config(world: World, folder: Path) -> Path:
    """A configuration with every awkward case; its inputs are made in the folder."""
    token = PreTrainedTokenizerFast.from_pretrained(world.base).encode(SINK, add_special_tokens=False)
    assert len(token) == 1

    def raise_sink(model: torch.nn.Module) -> None:
        model.get_input_embeddings().weight[token[0]] *= 20

    base = make_checkpoint(folder / "base", world.base, raise_sink)
    dictionaries = awkward_dictionaries(world, folder)
    axes = quiet_axes(dictionaries[0])
    return world.config(
        folder,
        base=str(base),
        variants={
            "tuned": {"adapter": str(world.adapter), "task": ["prose"]},
            "sft": {"model": str(make_run(folder / "sft", base, axes[:4], axes[LOUDER], seed=5))},
            "again": {"model": str(make_run(folder / "again", base, axes[:5], axes[LOUDER], seed=6)), "replicate_of": "sft"},
            "nudged": {"planted": {"layer": 2, "feature": 9, "strength": 0.4}, "task": ["sinks"]},
            "muted": {"adapter": str(make_muting_adapter(folder / "muted", base, axes[:6]))},
        },
        saes=[{"path": str(path)} for path in dictionaries],
        replicas=[{"path": str(make_sae(folder / "second_1", world.base, 1, seed=8))}],
        corpus=awkward_corpus(folder),
        neutral_domains=["talks"],
        controls=list(CONTROLS),
        twins=4,
        spectrum=6,
        neighbours=3,
        tokens=4000,
        shard_tokens=500,
        pilot_documents=12,
        sink_factor=1.5,
    )


def make_muting_adapter(folder: Path, base: Path, silenced: torch.Tensor) -> Path:
    """A LoRA adapter that takes away what the blocks up to layer 1 write along some axes, [n, d_model]."""
    model = AutoModelForCausalLM.from_pretrained(base)
    rank = len(silenced)
    settings = {"target_modules": ["o_proj", "down_proj"], "layers_to_transform": [0, 1]}
    peft = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, **settings))
    with torch.no_grad():
        for module in peft.modules():
            if isinstance(module, LoraLayer):
                module.lora_A["default"].weight.copy_(silenced @ module.get_base_layer().weight)
                module.lora_B["default"].weight.copy_(-silenced.T)
    peft.save_pretrained(folder)
    return folder


def awkward_dictionaries(world: World, folder: Path) -> list[Path]:
    """Layer 1: decoder norms 1 to 2, one feature dead, those along LOUDER rare. Layer 2: norms of 1/50, rarely fires but for
    PAIR. Layer 3: TopK."""
    made = [make_sae(folder / f"sae_{n}", world.base, n, seed=n, decoder_scale=s) for n, s in ((1, 1.0), (2, 0.02))]
    first, second = (SAE.load_from_disk(path) for path in made)
    with torch.no_grad():
        first.threshold[5] = 1e9
        louder = torch.nn.functional.normalize(first.W_dec, dim=1) @ quiet_axes(made[0])[LOUDER].T
        first.threshold[(louder.abs() > 0.99).any(1)] *= 1.6
        second.threshold *= 3.2
        unit = torch.nn.functional.normalize(second.W_dec, dim=1)
        for feature, side in zip(PAIR, (0.34, -0.34), strict=True):
            norm, direction = second.W_dec[feature].norm(), (1 - side**2) ** 0.5 * unit[PAIR[0]] + side * unit[9]
            second.W_dec[feature], second.W_enc[:, feature] = norm * direction, direction / norm
            second.threshold[feature] /= 2.5
    first.save_model(made[0])
    second.save_model(made[1])
    return [*made, make_topk(folder / "sae_3", SAE.load_from_disk(world.saes[3]))]


def make_topk(folder: Path, like: SAE) -> Path:
    """A TopK dictionary with another's directions, whose codes already carry the decoder's norm."""
    config = {key: value for key, value in like.cfg.to_dict().items() if key != "architecture"}
    topk = SAE.from_dict({**config, "architecture": "topk", "k": 7, "rescale_acts_by_decoder_norm": True})
    with torch.no_grad():
        for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
            getattr(topk, name).copy_(getattr(like, name))
    topk.save_model(folder)
    return folder


def awkward_corpus(folder: Path) -> list[dict]:
    """Prose with shared openings, a repeated text and an empty one; conversations; a domain of sinks; a single token.

    Clusters of one document and of several, given in the record or by the id; one name in two domains; some cut by shards.
    """
    opening = "the cat sat on the red mat and the dog ran under the big tree"
    tails = sentences(16, seed=11)
    prose = [{"source": f"plain-{i}", "text": text, "cluster": f"work {i // 2}"} for i, text in enumerate(tails)]
    prose += [{"source": f"short/{i // 2}/{i}", "text": text[:60]} for i, text in enumerate(sentences(26, seed=15))]
    prose += [{"source": f"shared-{i}", "text": f"{opening} {text}", "cluster": "shared"} for i, text in enumerate(tails[:6])]
    prose += [{"source": "again", "text": tails[0]}, {"source": "nothing", "text": " \n "}]
    prose += [{"source": "long", "text": " ".join(sentences(4, seed=12))}]
    talks = [
        {"source": f"pair-{i}", "prompt": ask, "response": reply}
        for i, (ask, reply) in enumerate(zip(sentences(9, seed=13), sentences(9, seed=14), strict=True))
    ]
    turns = [("system", "be big"), ("user", "  the sun? "), ("assistant", "a moon, a river."), ("user", "and?")]
    talks += [{"source": "turns", "messages": [{"role": role, "content": text} for role, text in turns], "cluster": "shared"}]
    return [
        {"path": str(write_jsonl(folder / "prose.jsonl", prose)), "domain": "prose", "cluster_by_source": True},
        {"path": str(write_jsonl(folder / "talks.jsonl", talks)), "domain": "talks"},
        {"path": str(write_jsonl(folder / "sinks.jsonl", [{"source": "moons", "text": SINK * 5}])), "domain": "sinks"},
        {"path": str(write_jsonl(folder / "single.jsonl", [{"source": "one", "text": " cat"}])), "domain": "single"},
    ]


# ---- comparing ----


def assert_same(
    found: pd.DataFrame, expected: pd.DataFrame, key: list[str], tolerance: dict | float = SUM, zero: float = 1e-12
) -> None:
    """The same rows, integers and texts exactly, floats within a relative tolerance, or `zero` where the value is 0."""
    found, expected = (frame.sort_values(key).reset_index(drop=True) for frame in (found, expected))
    pd.testing.assert_frame_equal(found[key], expected[key], check_dtype=False, obj="keys")
    for column in expected.columns.difference(key):
        left, right = found[column].to_numpy(), expected[column].to_numpy()
        if right.dtype.kind == "f":
            near = tolerance if isinstance(tolerance, float) else tolerance.get(column, SUM)
            np.testing.assert_allclose(left.astype(float), right, rtol=near, atol=zero, err_msg=column)
        else:
            np.testing.assert_array_equal(np.where(pd.isna(left), None, left), np.where(pd.isna(right), None, right), column)


def stored(run: Run, table: str, columns: pd.Index) -> pd.DataFrame:
    """The store's rows of a table, with the columns that the reference has."""
    return run.store.sql(f"SELECT {', '.join(columns)} FROM {table}")


# ---- every table ----


def test_the_awkward_cases_are_there(run: Run) -> None:
    """What the module's docstring promises does occur, or the comparisons below would prove little."""
    truth = run.truth
    assert len(truth.first_row) >= 3
    assert (truth.context > 0).any() and (truth.position == truth.config["document_tokens"] - 1).any()
    for layer in truth.layers.values():
        assert 10 < (~layer.counted).sum() < truth.n_tokens / 3
        assert not layer.counted[truth.domain == "sinks"].any()
        assert (layer.counted & (truth.domain == "single")).sum() == 1
    assert truth.layers[1].norm.max() > 1.9 and truth.layers[2].norm.max() < 0.05
    assert np.allclose(truth.layers[3].norm, 1)
    assert (truth.layers[2].raw["base"][truth.layers[2].counted].sum(1) == 0).any()
    assert not truth.layers[1].raw["base"][:, 5].any()
    stats = truth.table("feature_stats")
    sizes = truth.table("layer_metrics").drop_duplicates("domain")[["domain", "n_documents", "n_clusters"]]
    documents = stats.merge(sizes, on="domain")
    assert (documents["n_documents_x"] < documents["n_documents_y"]).any()
    assert (documents["n_clusters_x"] < documents["n_documents_x"]).any()
    assert set(stats["kind"]) == set(KINDS)
    pooled = stats[stats["domain"] == "all"].set_index("variant")
    assert set(pooled["verdict"]) == set(VERDICTS)
    assert set(pooled["reason"]) == set(REASONS) - RARE_REASONS
    assert set(pooled.loc["nudged"].dropna(subset="moved_to")["feature"]) >= set(PAIR)
    assert (pooled["reason"].value_counts()[["fell", "rose"]] >= 10).all()
    assert 1 <= len(truth.run_again) < len(truth.documents) / 4


def test_documents_and_tokens(run: Run) -> None:
    """Order, shards, cut documents, context windows, token ids and segments."""
    documents, tokens = run.truth.table("documents"), run.truth.table("tokens")
    assert_same(stored(run, "documents", documents.columns), documents, ["document"])
    assert_same(stored(run, "tokens", tokens.columns), tokens, ["document", "position"])
    counts = run.store.manifest.counts
    assert counts["tokens"] == run.truth.n_tokens and counts["documents"] == len(run.truth.documents)
    assert counts["skipped"] == {"empty text": 1, "text seen before": 1}


def test_layers(run: Run) -> None:
    """One row a dictionary: counts, the pilot's norms, the self-test."""
    expected = run.truth.table("layers")
    assert_same(stored(run, "layers", expected.columns), expected, ["layer"], {"median_norm": 4 * FLOAT32})


def test_pilot_mean(run: Run) -> None:
    """The means that the pilot fixed are kept beside the parts."""
    with np.load(run.store.path / "pilot.npz") as pilot:
        for number, layer in run.truth.layers.items():
            np.testing.assert_allclose(pilot[f"{number}/mean"], layer.mean, rtol=SUM, atol=1e-12)
            for variant, mean in layer.mean_delta.items():
                np.testing.assert_allclose(pilot[f"{number}/mean_delta/{variant}"], mean, rtol=SUM, atol=1e-12)


def test_pilot_documents(run: Run) -> None:
    """The pilot reads the first context window of the first documents of each domain, by the hash of their source."""
    truth, taken, rows = run.truth, dict.fromkeys(run.truth.domains, 0), 0
    for document in sorted(truth.documents, key=lambda document: hashed(document.source)):
        if taken[document.domain] < truth.config["pilot_documents"]:
            taken[document.domain] += 1
            rows += min(len(document.token_ids), truth.config["context_length"] - 1)
    for model in truth.models:
        assert sum(len(of_batch) for of_batch, residuals in truth.record.pilot if model in residuals) == rows


def test_twins_are_as_large_as_their_variants(run: Run) -> None:
    """Relative shift, in geometric mean over the layers: within 5 % on the sample that sized them, and so about 10 % here."""
    truth = run.truth
    for variant in truth.variants:
        layers = [number for number in truth.layers if truth.pair(variant, number).size > 0]
        for twin in truth.twins:
            ratios = [truth.pair((variant, twin), number).size / truth.pair(variant, number).size for number in layers]
            assert math.prod(ratios) ** (1 / len(layers)) == pytest.approx(1, abs=0.1), (variant, twin)
        for number in truth.layers:
            of_twins = [truth.pair((variant, twin), number).b for twin in truth.twins]
            for one, other in combinations(of_twins, 2):
                assert (truth.pair(variant, number).size == 0) == np.array_equal(one, other), (variant, number)


def test_layer_metrics(run: Run) -> None:
    """Every metric on every margin of domains and segments, of the variant and of every control, and its excess."""
    expected = run.truth.table("layer_metrics")
    observed = expected["control"] != "rerun"
    key = ["variant", "layer", "domain", "segment", "metric", "control"]
    found = stored(run, "layer_metrics", expected.columns)
    rerun = found["control"] == "rerun"
    assert_same(found[~rerun], expected[observed], key)
    # Where nothing but rounding changed, ratios of what changed are ratios of rounding errors.
    steady = expected["metric"] != "delta_coverage"
    ours, theirs = found[rerun & found["metric"].isin(expected["metric"][steady])], expected[~observed & steady]
    # So is an excess of a few times 1e-7: the difference of two values, each of which is held to 1e-6.
    assert_same(ours, theirs, key, {"value": 1e-6, "excess": 1e-6}, zero=1e-8)


def test_controls_are_of_the_same_size(run: Run) -> None:
    """Isotropic and shuffled: ||c - h_a|| = ||h_b - h_a|| token by token; mean_shift: c - h_a the mean of the pilot's delta;
    rescaled: along h_a, and as long as h_b."""
    for layer in run.truth.layers.values():
        base = layer.h["base"][layer.counted]
        rounding = 2 * FLOAT32 * np.linalg.norm(base, axis=1)
        for variant in run.truth.variants:
            size = np.linalg.norm(layer.h[variant][layer.counted] - base, axis=1)
            for control in ("isotropic", "shuffled"):
                moved = np.linalg.norm(layer.h[variant, control][layer.counted] - base, axis=1)
                assert (np.abs(moved - size) <= 1e-5 * size + rounding).all(), (variant, control)
            moved = layer.h[variant, "mean_shift"][layer.counted] - base
            assert np.abs(moved - layer.mean_delta[variant]).max() <= FLOAT32 * np.abs(base).max()
            norms = [np.linalg.norm(h, axis=1, keepdims=True) for h in (layer.h[variant][layer.counted], base)]
            scaled = base * norms[0] / norms[1]
            np.testing.assert_allclose(layer.h[variant, "rescaled"][layer.counted], scaled, rtol=4 * FLOAT32, atol=1e-6)


EXACT = (
    "cosine", "centred_cosine", "overlap", "weighted_overlap", "latent_cosine", "no_code_share", "l1_divergence", "l0_base",
    "l0_variant", "l0_inflation", "delta_coverage",
)  # fmt: skip
"""Ratios of sums over documents: the interval is the jackknife's, digit for digit."""


def test_intervals(run: Run) -> None:
    """Against leaving out one cluster after the other, of every group of 20 clusters on; below there is none.

    Exactly for ratios; to 2 % for the two roots of ratios, whose derivative is used. For fvu, whose variance is about a mean
    that the pilot did not know, at most a third too narrow and no more than three times too wide.
    """
    found = stored(run, "layer_metrics", pd.Index([
        "variant", "layer", "domain", "segment", "metric", "control", "value", "low", "high", "excess", "excess_low",
        "excess_high", "n_clusters",
    ]))  # fmt: skip
    few = (found["n_clusters"] < 20) | found["metric"].isin(["n_seen", "n_halved", "n_doubled", "effective_rank", "mean_share"])
    assert found.loc[few, ["low", "high", "excess_low", "excess_high"]].isna().all(axis=None)
    key = ["variant", "layer", "domain", "segment", "metric", "control"]
    chosen = [("tuned", 1, "observed"), ("tuned", 1, "isotropic"), ("sft", 3, "twin_2"), ("nudged", 1, "mean_shift")]
    for of_side in chosen:
        expected = pd.DataFrame(list(run.truth.intervals(*of_side)))
        both = found[~few].merge(expected, on=key)
        assert len(both) == len(expected) >= 15
        for row in both.itertuples():
            for value, low, high, half in (
                (row.value, row.low, row.high, row.half),
                (row.excess, row.excess_low, row.excess_high, row.excess_half),
            ):
                if np.isnan(value) or np.isnan(half):
                    assert np.isnan(low) and np.isnan(high), row
                elif row.metric.startswith("fvu"):
                    assert value - low == pytest.approx(high - value)
                    assert 2 / 3 * half <= high - value <= 3 * half, row
                else:
                    near = 1e-6 if row.metric in EXACT else 0.02
                    assert [value - low, high - value] == pytest.approx([half, half], rel=near, abs=1e-11), row


def test_fit(run: Run) -> None:
    """Both fvu and the gate of every domain."""
    expected = run.truth.table("fit")
    assert_same(stored(run, "fit", expected.columns), expected, ["variant", "layer", "domain"])
    assert len(set(expected["gate"])) > 1


def test_document_sums(run: Run) -> None:
    """Every additive sum of every document and segment, and no column without a reference."""
    expected = run.truth.table("document_sums")
    assert set(DOCUMENT_SUMS) <= set(expected.columns)
    key = ["variant", "layer", "document", "segment"]
    assert_same(stored(run, "document_sums", expected.columns), expected, key, FLOAT32)


def test_token_metrics(run: Run) -> None:
    """One row a counted token, in float32."""
    expected = run.truth.table("token_metrics")
    tolerance = dict.fromkeys(("cosine", "overlap", "l1_divergence"), FLOAT32)
    key = ["variant", "layer", "document", "position"]
    assert_same(stored(run, "token_metrics", expected.columns), expected, key, tolerance)


def test_feature_stats(run: Run) -> None:
    """Every column, for everything together and for each domain, and rows only where a feature fired."""
    expected = run.truth.table("feature_stats")
    columns = run.store.sql("SELECT * FROM feature_stats LIMIT 0").columns
    assert set(columns) == set(expected.columns)
    key = ["variant", "layer", "domain", "feature"]
    rounded = ("mean_base", "shift", "std_shift", "magnitude_ratio", "near_threshold", "did_shift", "detectable_loss")
    tolerance = dict.fromkeys((*rounded, "change_rescaled"), FLOAT32)
    found = stored(run, "feature_stats", columns)
    apart = ["mean_variant", *CHANGES]
    assert_same(found.drop(columns=apart), expected.drop(columns=apart), key, tolerance)
    assert_means_of_the_variant(found, expected, key)
    # Of a change that is a rounding error of two sums the sign is one too.
    for frame in (found, expected):
        frame.loc[frame["change"].abs() < 1e-9, ["loss", "gain"]] = np.nan
    assert_same(found[[*key, *CHANGES]], expected[[*key, *CHANGES]], key, 4 * FLOAT32, zero=1e-6)


@pytest.mark.parametrize("first", ["sft", "muted"])
def test_like_features_are_compared_with_each_other(run: Run, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Strata of 10 features, which a dictionary of 64 has six of: evidence over the recorded runs, by both implementations."""
    monkeypatch.setattr(decoys, "LEAST_FEATURES", 10)
    runs = run.truth.recipe(first, 1)
    assert len(set(like_features(list(runs.values()), least=10))) == 6
    members = {
        name: Member(side(each.own), [side(twin) for twin in each.twins], each.rescaled.sum(0), each.fits)
        for name, each in runs.items()
    }
    found, expected = Recipe(members, material=0.5).columns(), decided(runs, least=10)
    fires = runs[first].own.of_clusters[0].any(0) | runs[first].own.of_clusters[1].any(0)
    for name in runs:
        for column, values in expected[name].items():
            if column in found[name]:
                pd.testing.assert_series_equal(
                    pd.Series(found[name][column][fires]), pd.Series(values[fires]), rtol=1e-9, check_dtype=False, obj=column
                )


def side(pair: Pair) -> Side:
    """What the sums of a run say of a variant or twin."""
    (a, b), on_a, on_b = pair.of_clusters, pair.a > 0, pair.b > 0
    sums = {
        "n11": (on_a & on_b).sum(0), "n10": (on_a & ~on_b).sum(0), "n01": (~on_a & on_b).sum(0),
        "a": a.sum(0), "b": b.sum(0), "cluster_a2": (a**2).sum(0), "cluster_b2": (b**2).sum(0), "cluster_ab": (a * b).sum(0),
    }  # fmt: skip
    return Side(sums, pair.size)


def assert_means_of_the_variant(found: pd.DataFrame, expected: pd.DataFrame, key: list[str]) -> None:
    """mean_variant follows from two float32 numbers: within their rounding, and exactly 0 where the variant never fires."""
    found, expected = (frame.sort_values(key).reset_index(drop=True) for frame in (found, expected))
    error = (found["mean_variant"] - expected["mean_variant"]).abs()
    assert (error <= FLOAT32 * expected[["mean_base", "mean_variant"]].max(axis=1)).all()
    silent = expected["mean_variant"] == 0
    assert (found.loc[silent, "mean_variant"] == 0).all()


def test_feature_segments(run: Run) -> None:
    """The same counts by segment, and the segment's part of the whole change."""
    expected = run.truth.table("feature_segments")
    tolerance = dict.fromkeys(("mean_base", "shift"), FLOAT32)
    key = ["variant", "layer", "segment", "feature"]
    found = stored(run, "feature_segments", expected.columns)
    apart = ["share", "mean_variant"]
    assert_same(found.drop(columns=apart), expected.drop(columns=apart), key, tolerance)
    assert_means_of_the_variant(found, expected, key)
    ours, theirs = (frame.sort_values(key)["share"].to_numpy() for frame in (found, expected))
    np.testing.assert_allclose(ours, theirs, rtol=FLOAT32, atol=FLOAT32)  # a difference of two sums of float32 codes, over one
    assert set(expected["segment"]) == {"text", "template", "prompt", "response"}


def test_spectrum(run: Run) -> None:
    """The mean of the change and its principal directions (up to sign), their shares, and the decoder rows nearest to them."""
    expected = run.truth.table("spectrum")
    found = run.store.sql("SELECT * FROM spectrum ORDER BY variant, layer, component")
    key = ["variant", "layer", "component"]
    expected = expected.sort_values(key).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[key], expected[key], check_dtype=False)
    np.testing.assert_allclose(found["share"], expected["share"], rtol=1e-7, atol=1e-9)
    for ours, theirs in zip(found.itertuples(), expected.itertuples(), strict=True):
        sign = np.sign(ours.direction @ theirs.direction)
        assert sign == 1 or ours.component > 0  # the mean has a sign
        np.testing.assert_allclose(ours.direction, sign * theirs.direction, atol=1e-5)
        largest = np.abs(ours.direction).argmax()
        assert ours.component == 0 or ours.direction[largest] > 0
        np.testing.assert_allclose(np.abs(ours.cosines), np.abs(theirs.cosines), atol=1e-5)  # opposite rows may swap places
        along = dict(zip(theirs.features, sign * theirs.cosines, strict=True))
        for feature, cosine in list(zip(ours.features, ours.cosines, strict=True))[:4]:  # the fifth's opposite may be theirs
            assert cosine == pytest.approx(along[feature], abs=1e-5)
    ranks = run.store.sql("SELECT value FROM layer_metrics WHERE metric = 'effective_rank'")["value"]
    assert len(ranks) == 15 and ranks.dropna().between(1, 32).all()
    assert ranks.isna().sum() == 2  # of the layer below the planted edit, and of its own: the same at every token


def test_chance(run: Run) -> None:
    """The 95th percentile of 1,000 draws lies where that of others does: between their 93rd and 97th.

    Of 1,000 draws the share below the true percentile has a standard error of 0.7 %; that of the 4,000 here adds little.
    """
    found = run.store.sql("SELECT DISTINCT layer, chance FROM spectrum").set_index("layer")["chance"]
    assert len(found) == 3
    for number, chance in found.items():
        low, high = np.quantile(run.truth.chance(number, 4000), [0.93, 0.97])
        assert low < chance < high


def test_replicas(run: Run) -> None:
    """The second dictionary of layer 1: the nearest row of each feature's, and how that shifted."""
    expected = run.truth.table("replicas")
    assert_same(stored(run, "replicas", expected.columns), expected, ["variant", "layer", "feature"], FLOAT32)
    assert len(expected) == 5 * 64 and expected["cosine"].between(0.1, 0.95).all()


def test_features(run: Run) -> None:
    """Decoder norms and densities, also of features that never fire."""
    expected = run.truth.table("features")
    assert_same(stored(run, "features", expected.columns), expected, ["layer", "feature"])


def test_neighbours(run: Run) -> None:
    """The three features with the most similar decoder rows, nearest first; of equal cosines any."""
    for number, layer in run.truth.layers.items():
        cosine = cosine_table(layer.directions, layer.directions)
        np.fill_diagonal(cosine, -np.inf)
        for row in run.store.sql("SELECT * FROM features WHERE layer = ?", [number]).itertuples():
            best = np.sort(cosine[row.feature])[::-1][:3]
            np.testing.assert_allclose(row.neighbour_cosines, best, atol=1e-6)
            np.testing.assert_allclose(cosine[row.feature][row.neighbours], best, atol=1e-6)
            assert len(set(row.neighbours)) == 3
    nearest = run.store.sql("SELECT feature, neighbours[1] AS nearest FROM features WHERE layer = 2").set_index("feature")
    assert nearest["nearest"].loc[list(PAIR)].tolist() == list(PAIR)[::-1]


def test_promoted_tokens(run: Run) -> None:
    """The direct path to the logits: unit decoder row x gain of the final norm x unembedding."""
    model = AutoModelForCausalLM.from_pretrained(run.truth.config["base"])
    gain = 1 + model.model.norm.weight.detach().double().numpy()
    unembedding = model.lm_head.weight.detach().double().numpy()
    for number, layer in run.truth.layers.items():
        decoder = layer.sae.W_dec.detach().double().numpy()
        logits = decoder / np.linalg.norm(decoder, axis=1, keepdims=True) * gain @ unembedding.T
        for row in run.store.sql("SELECT * FROM features WHERE layer = ? ORDER BY feature", [number]).itertuples():
            effects, size = logits[row.feature], 1e-5 * np.abs(logits[row.feature]).max()
            for ids, values, best in (
                (row.promoted, row.promoted_logits, np.sort(effects)[::-1]),
                (row.suppressed, row.suppressed_logits, np.sort(effects)),
            ):
                np.testing.assert_allclose(values, best[: len(values)], atol=size)
                np.testing.assert_allclose(effects[ids], values, atol=size)
                assert len(set(ids)) == run.truth.config["promoted_tokens"]


def test_vocabulary(run: Run) -> None:
    """Every id that the store mentions has its text."""
    found = run.store.sql("SELECT * FROM vocabulary").set_index("token_id")["token"]
    mentioned = set(run.truth.token_id)
    for column in ("promoted", "suppressed"):
        mentioned |= set(np.concatenate(run.store.sql(f"SELECT {column} FROM features")[column].to_list()))
    assert set(found.index) == mentioned
    for token in set(run.truth.token_id):
        assert found[token] == run.truth.tokenizer.decode([token])


def test_scales(run: Run) -> None:
    """Code scale and histogram unit are the powers of two nearest to the pilot's median codes."""
    for number, layer in run.truth.layers.items():
        pilot = run.store.manifest.pilot[str(number)]
        scaled = layer.pilot_codes * layer.norm
        for name, values in (("code_scale", layer.pilot_codes), ("activation_unit", scaled)):
            distance = math.log2(np.median(values[values > 0]) / pilot[name])
            assert abs(distance) <= 0.5 + 1e-3, name
            assert float(math.log2(pilot[name])).is_integer()


def test_histograms(run: Run) -> None:
    """Half-octave bins over 2^-8 to 2^8 units, outer bins open; base and variants on the same bins."""
    bins = run.store.sql("SELECT * FROM histogram_bins ORDER BY layer, bin")
    run.truth.edges = {}
    for number, rows in bins.groupby("layer"):
        unit = run.store.manifest.pilot[str(number)]["activation_unit"]
        np.testing.assert_allclose(rows["low"], [unit * 2 ** (k / 2) for k in range(-16, 16)], rtol=1e-15)
        np.testing.assert_allclose(rows["high"], [unit * 2 ** (k / 2) for k in range(-15, 17)], rtol=1e-15)
        run.truth.edges[number] = np.append(rows["low"], rows["high"].iloc[-1])
    expected = run.truth.table("histograms")
    assert_same(stored(run, "histograms", expected.columns), expected, ["layer", "feature", "model", "bin"])


def test_contexts(run: Run) -> None:
    """Every ranking: which tokens, in which order, each text once, with the window and where both models fire in it."""
    expected = run.truth.table("contexts")
    found = run.store.sql("SELECT * FROM contexts")
    lists = ["base_at", "variant_at", "base_activations", "variant_activations"]
    key = ["variant", "layer", "feature", "ranking", "rank"]
    assert_same(found.drop(columns=lists), expected.drop(columns=lists), key, {"score": FLOAT32})
    found, expected = (frame.sort_values(key).reset_index(drop=True) for frame in (found, expected))
    smallest = {n: run.store.manifest.pilot[str(n)]["code_scale"] * 2.0**-24 for n in run.truth.layers}
    for side in ("base", "variant"):
        places, activations = f"{side}_at", f"{side}_activations"
        assert_lists(found[places], expected[places])
        least = np.repeat(found["layer"].map(smallest).to_numpy(), found[places].str.len())
        assert_lists(found[activations], expected[activations], least)


def assert_lists(found: pd.Series, expected: pd.Series, least: np.ndarray | None = None) -> None:
    """Equal lengths; equal integers, or activations within the error of float16 codes."""
    assert list(found.str.len()) == list(expected.map(len))
    left, right = np.concatenate(found.to_list()), np.concatenate(expected.to_list())
    if least is None:
        np.testing.assert_array_equal(left, right)
    else:
        assert (left > 0).all()
        assert (np.abs(left - right) <= (FLOAT16 + FLOAT32) * right + least).all()


def test_contexts_are_read_with_their_text(run: Run) -> None:
    """What Store.contexts puts together for one feature: the window's tokens, and both models' activations at every one."""
    truth, variant = run.truth, run.store.variants[0]
    number, layer = next(iter(truth.layers.items()))
    a, b = layer.scaled["base"], layer.scaled[variant]
    feature = int(a.sum(axis=0).argmax())
    found = run.store.contexts(number, feature, variant, "base")
    assert len(found) > 0
    for row in found.itertuples():
        peak = int(np.flatnonzero((truth.document == row.document) & (truth.position == row.position))[0])
        span = slice(peak - row.peak, peak - row.peak + row.n_window)
        np.testing.assert_array_equal(row.token_ids, truth.token_id[span])
        assert len(row.tokens) == row.n_window
        for values, dense in ((row.base_values, a), (row.variant_values, b)):
            np.testing.assert_array_equal(np.asarray(values) > 0, dense[span, feature] > 0)
            np.testing.assert_allclose(values, dense[span, feature], rtol=FLOAT16 + FLOAT32)


def test_contexts_are_deduplicated(run: Run) -> None:
    """Shared passages do give the same text several times, and a ranking shows it once."""
    contexts = run.store.sql(
        """
        SELECT variant, layer, feature, ranking, peak, list(token_id ORDER BY t.position) AS text
        FROM contexts c JOIN tokens t ON t.document = c.document
             AND t.position BETWEEN c.position - c.peak AND c.position - c.peak + c.n_window - 1
        GROUP BY variant, layer, feature, ranking, rank, peak
        """
    )
    assert len(contexts) == run.store.manifest.rows["contexts"]
    assert not contexts.assign(text=contexts["text"].map(tuple)).duplicated().any()
    ids, document = run.truth.token_id, run.truth.document
    openings = [tuple(ids[document == d][:8]) for d in np.unique(document)]
    assert len(openings) > len(set(openings))


# ---- codes ----


def code_groups(run: Run) -> list[tuple[h5py.Group, int, str, np.ndarray]]:
    """(group, layer, model, dense raw codes float32 [rows, d_sae]) of every part."""
    out = []
    for part in range(len(run.truth.first_row)):
        rows = run.truth.part == part
        file = h5py.File(run.store.path / "latents" / f"part-{part:05d}.h5")
        for number, layer in run.truth.layers.items():
            group = file[f"layer_{number}"]
            np.testing.assert_array_equal(group["counted"][:], layer.counted[rows])
            out += [(group["codes"][model], number, model, layer.raw[model][rows]) for model in run.truth.models]
    return out


def test_codes_equal_sae_lens(run: Run) -> None:
    """Token-major codes are ``sae.encode`` of the residual: the same features, values to float16's error."""
    for group, _, _, expected in code_groups(run):
        by_token = group["by_token"]
        indptr, index = by_token["indptr"][:], by_token["index"][:]
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        wanted_row, wanted_feature = np.nonzero(expected)
        np.testing.assert_array_equal(row, wanted_row)
        np.testing.assert_array_equal(index, wanted_feature)
        scale = float(group.parent.parent.attrs["code_scale"])
        exact = expected[row, index].astype(np.float64)
        assert (np.abs(by_token["value"][:].astype(np.float64) * scale - exact) <= FLOAT16 * exact + scale * 2.0**-24).all()


def test_both_indexes_hold_the_same(run: Run) -> None:
    """The feature-major index is the transpose of the token-major one, bit for bit."""
    for group, _, _, expected in code_groups(run):
        by_token, by_feature = group["by_token"], group["by_feature"]
        row = np.repeat(np.arange(len(expected)), np.diff(by_token["indptr"][:]))
        feature = np.repeat(np.arange(expected.shape[1]), np.diff(by_feature["indptr"][:]))
        order = np.lexsort((row, by_token["index"][:]))
        np.testing.assert_array_equal(by_token["index"][:][order], feature)
        np.testing.assert_array_equal(row[order], by_feature["row"][:])
        np.testing.assert_array_equal(by_token["value"][:][order], by_feature["value"][:])


def test_codes_take_four_bytes_a_non_zero_and_index(run: Run) -> None:
    """2-byte index and 2-byte value in either index, 4-byte indptr, a flag a token; nothing else, and compression helps."""
    sizes = {"indptr": 4, "index": 2, "row": 2, "value": 2}
    for part in range(len(run.truth.first_row)):
        path = run.store.path / "latents" / f"part-{part:05d}.h5"
        with h5py.File(path) as file:
            datasets = []
            file.visititems(lambda name, item, d=datasets: d.append((name, item)) if isinstance(item, h5py.Dataset) else None)
            expected = 0
            for name, data in datasets:
                leaf = name.rsplit("/", 1)[1]
                assert leaf == "counted" or data.dtype.itemsize == sizes[leaf], name
                assert data.id.get_storage_size() <= data.nbytes + 64, name
            n_rows = int((run.truth.part == part).sum())
            for layer in run.truth.layers.values():
                expected += n_rows
                for model in run.truth.models:
                    non_zero = np.count_nonzero(layer.raw[model][run.truth.part == part])
                    expected += 2 * 4 * non_zero + 4 * (n_rows + 1) + 4 * (layer.norm.size + 1)
            assert sum(data.nbytes for _, data in datasets) == expected
            # HDF5's own headers: well under 1 KiB for each dataset and group.
            assert path.stat().st_size <= expected + 1024 * 2 * len(datasets)


def test_wide_dictionaries_take_four_byte_indexes(tmp_path: Path) -> None:
    """Beyond 65,536 features the index of a non-zero is uint32, and still nothing is wider."""
    for d_sae, kind in ((65_536, np.uint16), (65_537, np.uint32)):
        codes = Codes(np.array([0, 1, 2]), np.array([0, d_sae - 1]), np.array([1.0, 2.0], dtype=np.float32))
        path = tmp_path / f"{d_sae}.h5"
        write_part(path, 0, {0: LayerCodes(d_sae, 1.0, np.ones(2, dtype=bool), {"base": codes})})
        with h5py.File(path) as file:
            assert file["layer_0/codes/base/by_token/index"].dtype == kind
            assert file["layer_0/codes/base/by_feature/row"].dtype == np.uint16
        np.testing.assert_array_equal(read_codes(path, 0, "base").index, [0, d_sae - 1])


def test_reading_by_token_and_by_feature(run: Run) -> None:
    """``activations`` and ``codes`` of the Python interface give scaled activations of the right tokens."""
    truth = run.truth
    for number, layer in truth.layers.items():
        least = run.store.manifest.pilot[str(number)]["code_scale"] * 2.0**-24 * layer.norm.max()
        for model in truth.models:
            scaled = layer.scaled[model]
            feature = int((scaled > 0).sum(0).argmax())
            where = np.flatnonzero(scaled[:, feature])
            found = run.store.activations(number, feature, model)
            np.testing.assert_array_equal(found["document"], truth.document[where])
            np.testing.assert_array_equal(found["position"], truth.position[where])
            np.testing.assert_allclose(found["value"], scaled[where, feature], rtol=FLOAT16 + FLOAT32, atol=least)
            document = len(truth.documents) // 2
            rows = scaled[truth.document == document]
            found = run.store.codes(document, number, model)
            np.testing.assert_array_equal(found[["position", "feature"]].to_numpy(), np.argwhere(rows))
            np.testing.assert_allclose(found["value"], rows[rows > 0], rtol=FLOAT16 + FLOAT32, atol=least)


def test_store_verifies(run: Run) -> None:
    """Nothing above disturbed the store, and its own check agrees."""
    assert verify(run.store.path) == []


# ---- residuals by another way ----


@pytest.fixture(scope="module")
def other_way(run: Run, world: World) -> dict[str, dict[int, np.ndarray]]:
    """model -> layer -> residuals by transformers' own hidden states, one unpadded window at a time."""
    base = AutoModelForCausalLM.from_pretrained(run.truth.config["base"]).eval()
    sft = AutoModelForCausalLM.from_pretrained(run.truth.config["variants"]["sft"]["model"]).eval()
    with one_thread():
        found = {
            name: {layer: window_by_window(model, run.truth, layer) for layer in run.truth.layers}
            for name, model in (("base", base), ("sft", sft))
        }
        adapted = PeftModel.from_pretrained(base, world.adapter).eval()
        found["tuned"] = {layer: window_by_window(adapted, run.truth, layer) for layer in run.truth.layers}
    return found


def test_residuals_match_window_by_window(run: Run, other_way: dict) -> None:
    """Batching, padding, hooks, adapters switched on one base: none of it changes a residual beyond rounding."""
    for model, layers in other_way.items():
        for number, residuals in layers.items():
            recorded = run.truth.layers[number].h[model]
            distance = np.linalg.norm(recorded - residuals, axis=1) / np.linalg.norm(residuals, axis=1)
            assert distance.max() < 1e-4, (model, number)


def test_codes_match_window_by_window(run: Run, other_way: dict) -> None:
    """Active sets agree on 99.9 % of (token, feature) that fire, values to 2^-9, as docs/metrics.md promises."""
    for model, layers in other_way.items():
        for number, residuals in layers.items():
            layer = run.truth.layers[number]
            stored, again = layer.raw[model][layer.counted], encode(layer.sae, residuals[layer.counted])
            both, either = (stored > 0) & (again > 0), (stored > 0) | (again > 0)
            assert both.sum() >= 0.999 * either.sum()
            np.testing.assert_allclose(stored[both], again[both], rtol=2.0**-9)


# ---- memory ----

MEASURED_RUN = """
import sys
from pathlib import Path
import torch
from extract.__main__ import main

torch.set_num_threads(1)
assert main(["run", sys.argv[1], "--out", sys.argv[2]]) == 0
# Not getrusage: across fork and exec its maximum is inherited from the parent.
status = Path("/proc/self/status").read_text()
print("peak", next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory from Linux's /proc")
def test_peak_memory_does_not_grow_with_tokens(tmp_path: Path) -> None:
    """Four times the tokens in shards of the same size: the same peak.

    The slack of 24 MiB covers the lists of tokens and documents, the directories of the shards' sums that are open at once
    (0.4 MiB each) and what allocators scatter by: 1,118 MiB at 6,000 tokens, 1,123 at 18,000, 1,122 at 26,000. Keeping the
    residuals alone (20,000 more tokens x 256 x 3 layers x 2 models x 4 bytes) would be 117 MiB, and the control's, or dense
    codes, more. Less than 6,000 tokens are too few shards for one to be always read while another is written.
    """
    base = make_base(tmp_path / "base", d_model=256)
    saes = [make_sae(tmp_path / f"sae_{layer}", base, layer, seed=layer) for layer in (1, 2, 3)]
    texts = [{"source": f"text-{i}", "text": text} for i, text in enumerate(sentences(900, seed=21))]
    content = {
        "base": str(base),
        "variants": {"nudged": {"planted": {"layer": 1, "feature": 3, "strength": 0.5}}},
        "saes": [{"path": str(path)} for path in saes],
        "corpus": [{"path": str(write_jsonl(tmp_path / "texts.jsonl", texts)), "domain": "salad"}],
        "context_length": 64,
        "batch_tokens": 512,
        "shard_tokens": 1024,
        "document_tokens": 64,
        "contexts": 3,
        "promoted_tokens": 0,
        "controls": ["isotropic"],
        "device": "cpu",
    }
    running = []
    for tokens in (6_000, 26_000):
        config = tmp_path / f"{tokens}.yaml"
        config.write_text(yaml.safe_dump({**content, "tokens": tokens}), encoding="utf-8")
        command = [sys.executable, "-c", MEASURED_RUN, str(config), str(tmp_path / f"store_{tokens}")]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
    peaks = []
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        peaks.append(int(output.rsplit("peak", 1)[1]))
    few, many = peaks
    assert many - few < 24 * 1024, f"{few / 1024:.0f} MiB for 6,000 tokens, {many / 1024:.0f} MiB for 26,000"


# ---- store/metrics/feature_numbers.py by hand ----


def sums(**given: float) -> dict[str, float]:
    """Additive sums of a group, all 1 but for those given."""
    return dict.fromkeys(DOCUMENT_SUMS, 1) | given


def test_layer_values_by_hand() -> None:
    """Four tokens with round numbers; each expected value worked out as a fraction."""
    found = layer_values(
        sums(
            n_tokens=4, cosine=3, centred_cosine=-1, base_norm2=100, variant_norm2=144, delta_norm2=4, base_error2=8,
            variant_error2=36, delta_error2=5, overlap=2.5, minimum=6, maximum=8, latent_cosine=1.5, n_latent_cosine=3,
            l1_divergence=2, l0_base=10, l0_variant=15,
        ),
        base_total_norm2=240,  # 240 / 4 = 60 of the 100 lie in the mean
        variant_total_norm2=288,
        mean_norm=4.0,
    )  # fmt: skip
    expected = {
        "cosine": Fraction(3, 4),
        "centred_cosine": Fraction(-1, 4),
        "mean_alignment": Fraction(4, 5),  # sqrt(100 / 4) = 5
        "relative_shift": Fraction(1, 5),
        "overlap": Fraction(5, 8),
        "weighted_overlap": Fraction(3, 4),
        "latent_cosine": Fraction(1, 2),
        "l1_divergence": Fraction(1, 2),
        "l0_base": Fraction(5, 2),
        "l0_variant": Fraction(15, 4),
        "l0_inflation": Fraction(3, 2),
        "fvu_base": Fraction(8, 40),
        "fvu_variant": Fraction(36, 72),
        "delta_coverage": Fraction(-1, 4),
        "no_code_share": Fraction(1, 4),
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-15), name


def test_l1_and_weighted_overlap_are_one_curve() -> None:
    """Relative l1_divergence is 2 (1 - w) / (1 + w) of weighted_overlap w, so the store keeps one of the two."""
    a, b = np.array([3.0, 0.0, 2.0]), np.array([1.0, 4.0, 2.0])
    w = Fraction(1 + 0 + 2, 3 + 4 + 2)
    relative = Fraction(2 + 4 + 0) / (Fraction(5 + 7) / 2)
    assert relative == 2 * (1 - w) / (1 + w)
    assert layer_values(sums(minimum=np.minimum(a, b).sum(), maximum=np.maximum(a, b).sum()), 0, 0, 0)[
        "weighted_overlap"
    ] == pytest.approx(float(w))


def test_layer_values_without_anything_to_divide_by() -> None:
    """No code anywhere and no change: undefined is NaN, never 0 or infinity."""
    found = layer_values(
        sums(minimum=0, maximum=0, latent_cosine=0, n_latent_cosine=0, l0_base=0, l0_variant=0, delta_norm2=0, delta_error2=0),
        1, 1, 1,
    )  # fmt: skip
    undefined = {"weighted_overlap", "latent_cosine", "l0_inflation", "fvu_base", "fvu_variant", "delta_coverage"}
    assert {name for name, value in found.items() if math.isnan(value)} == undefined
    assert found["no_code_share"] == 1 and found["relative_shift"] == 0


@pytest.mark.parametrize(
    ("fvu_base", "fvu_variant", "gate"),
    [
        (0.2, 0.2, "fits"),
        (0.2, 0.3, "fits"),  # exactly 1.5 x
        (0.2, 0.31, "strained"),
        (0.4, 0.5, "fits"),
        (0.4, 0.51, "strained"),  # within 1.5 x, but beyond 0.5
        (0.25, 0.75, "strained"),  # exactly 3 x
        (0.25, 0.76, "does not fit"),
        (0.9, 0.8, "strained"),
        (0.9, 0.81, "does not fit"),
        (0.0, 0.0, "fits"),
        (0.0, 1e-9, "does not fit"),
        (math.nan, math.nan, "strained"),
        (math.nan, 0.9, "does not fit"),
        (0.2, math.nan, "strained"),
    ],
)
def test_fit_gate(fvu_base: float, fvu_variant: float, gate: str) -> None:
    """The three thresholds of docs/metrics.md, on either side of each."""
    assert metrics.fit_gate(fvu_base, fvu_variant) == gate


def test_feature_values_by_hand() -> None:
    """One feature on five tokens: a = 2 4 0 0 2, b = 1 0 3 0 2."""
    a, b = np.array([2, 4, 0, 0, 2]), np.array([1, 0, 3, 0, 2])
    both = (a > 0) & (b > 0)
    sums = {
        "n11": np.array([2]), "n10": np.array([1]), "n01": np.array([1]), "n_documents": np.array([2]),
        "a": np.array([a.sum()]), "b": np.array([b.sum()]), "a2": np.array([(a**2).sum()]),
        "b2": np.array([(b**2).sum()]), "both_a": np.array([a[both].sum()]), "both_b": np.array([b[both].sum()]),
    }  # fmt: skip
    found = metrics.feature_values(sums, n_tokens=5) | metrics.firing_rates(sums, n_tokens=5)
    assert found["mean_base"][0] + found["shift"][0] == pytest.approx(6 / 5, rel=1e-12)  # the column mean_variant
    variance_a, variance_b = Fraction(24, 5) - Fraction(8, 5) ** 2, Fraction(14, 5) - Fraction(6, 5) ** 2
    expected = {
        "freq_base": Fraction(3, 5),
        "freq_variant": Fraction(3, 5),
        "log_ratio": Fraction(0),
        "mean_base": Fraction(8, 5),
        "shift": Fraction(-2, 5),
        "std_shift": Fraction(-2, 5) / Fraction(math.sqrt((variance_a + variance_b) / 2)),
        "suppression": Fraction(1, 3),
        "emergence": Fraction(1, 3),
        "magnitude_ratio": Fraction(3, 4),
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(float(value), rel=1e-12), name
    assert found["kind"][0] == "steady" and found["n_documents"][0] == 2  # a quarter is lost


def test_log_ratio_by_hand() -> None:
    """log2((n_b + 1/2) / (n_a + 1/2)): defined where one of the models never fires."""
    counts = {"n11": np.array([0, 0]), "n10": np.array([0, 3]), "n01": np.array([3, 0]), "n_documents": np.array([1, 1])}
    found = metrics.firing_rates(counts, 10)
    np.testing.assert_allclose(found["log_ratio"], [math.log2(7), -math.log2(7)])
    assert np.isnan(found["suppression"][0]) and found["suppression"][1] == 1
    assert found["emergence"][0] == 1 and np.isnan(found["emergence"][1])


def test_histogram_edges_and_scales_by_hand() -> None:
    """33 edges, two an octave, the unit in the middle; powers of two nearest in the logarithm."""
    edges = metrics.histogram_edges(4.0)
    assert len(edges) == metrics.HISTOGRAM_BINS + 1 == 33
    assert edges[0] == 4 / 256 and edges[16] == 4 and edges[32] == 4 * 256
    np.testing.assert_allclose(edges[1:] / edges[:-1], math.sqrt(2))
    powers = {1.0: 1, 1.4: 1, 1.5: 2, 2.8: 2, 3.0: 4, 0.3: 0.25, 0.0: 1, -1.0: 1}
    assert {value: metrics.power_of_two(value) for value in powers} == powers
