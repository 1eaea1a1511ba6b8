"""The prediction pass against transformers' own logits, one window at a time; its join with features, worked out densely.

Long because one extraction is held to a second implementation, which is in it.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, GraniteConfig

import extract.measure.token_kl
import extract.models.predictions
from extract.__main__ import main
from extract.corpus.documents import Document
from extract.measure.token_kl import changes, choose_documents
from extract.models.predictions import Predictions
from store import open_store, verify
from store.format.codes import Codes
from store.format.manifest import read_manifest
from store.read.store import Store
from tests.support.world import World, make_checkpoint, one_thread

TOKENS = 500
CHUNK = 7
SOFTCAP = 1.5
D_SAE = 64
BOS = 2
SETTINGS = {"token_kl": TOKENS, "sink_factor": 1.15}  # so low that there are sinks
KEY = ["variant", "document", "position"]


def extract_store(config: Path, out: Path) -> Path:
    """Run the command line; the store it made."""
    with one_thread():
        assert main(["run", str(config), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def wider(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with seven words more, as a fine-tune with marks of its own has them."""

    def change(model: nn.Module) -> None:
        model.resize_token_embeddings(model.config.vocab_size + 7)

    return make_checkpoint(tmp_path_factory.mktemp("wider") / "model", world.base, change)


@pytest.fixture(scope="module")
def widths() -> list[int]:
    """How many positions each piece of logits had."""
    return []


@pytest.fixture(scope="module")
def store(world: World, wider: Path, widths: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A run with the pass: an adapter, a planted edit, and two checkpoints that predict what the base does."""
    folder = tmp_path_factory.mktemp("token_kl")
    copy = make_checkpoint(folder / "copy", world.base, lambda _model: None)
    variants = {
        "tuned": {"adapter": str(world.adapter)},
        "planted": {"planted": {"layer": 1, "feature": 3, "strength": 0.5, "every": 2}},
        "copy": {"model": str(copy)},
        "wider": {"model": str(wider)},
    }
    with pytest.MonkeyPatch.context() as patch:
        n_words = AutoModelForCausalLM.from_pretrained(world.base).config.vocab_size
        patch.setattr(extract.models.predictions, "LOGITS_AT_ONCE", 4 * (CHUNK * n_words + 1))
        real = extract.measure.token_kl.divergence
        patch.setattr(extract.measure.token_kl, "divergence", lambda base, b: widths.append(len(b)) or real(base, b))
        made = extract_store(world.config(folder, variants=variants, **SETTINGS), folder / "store")
    with open_store(made) as opened:
        yield opened


def windows(store: Store) -> Iterator[pd.DataFrame]:
    """The tokens of every window of the sampled documents, in order."""
    tokens = store.sql("SELECT * FROM tokens SEMI JOIN token_kl USING (document) ORDER BY document, position")
    for _, rows in tokens.groupby(["document", "context"]):
        yield rows


@torch.inference_mode()
def reference(store: Store, base: nn.Module, variant: nn.Module) -> pd.DataFrame:
    """What token_kl must say, from two models' own logits: one unpadded window at a time, float64 from there on."""
    frames = []
    for window in windows(store):
        ids = torch.tensor([[BOS, *window["token_id"]]])
        a, b = (model(ids).logits[0, 1:].double().log_softmax(1) for model in (base, variant))
        following = ids[0, 2:]
        said = {name: np.full(len(window), np.nan) for name in ("base_logprob", "variant_logprob")}
        for name, logprob in (("base_logprob", a), ("variant_logprob", b)):
            said[name][:-1] = logprob[torch.arange(len(following)), following]
        kl = (a.exp() * (a - b)).sum(1).numpy()
        frames.append(window[["document", "position"]].assign(kl=kl, **said))
    return pd.concat(frames, ignore_index=True)


def assert_predicts(store: Store, variant: str, expected: pd.DataFrame) -> None:
    """The rows of one variant agree with the reference."""
    rows = store.sql("SELECT * EXCLUDE variant FROM token_kl WHERE variant = ? ORDER BY document, position", [variant])
    assert rows[["document", "position"]].values.tolist() == expected[["document", "position"]].values.tolist()
    np.testing.assert_allclose(rows["kl"], expected["kl"], rtol=1e-4, atol=2e-6)
    for name in ("base_logprob", "variant_logprob"):
        np.testing.assert_allclose(rows[name].astype(float), expected[name], rtol=1e-5, atol=1e-5)


def load(path: Path, adapter: Path | None = None) -> nn.Module:
    """A model as transformers and PEFT load it."""
    model = AutoModelForCausalLM.from_pretrained(path).eval()
    return model if adapter is None else PeftModel.from_pretrained(model, adapter).eval()


# ---- predictions ----


def test_predictions_agree_with_transformers(store: Store, world: World) -> None:
    """KL and both log-probabilities at every token, null exactly at the windows' ends."""
    with one_thread():
        expected = reference(store, load(world.base), load(world.base, world.adapter))
    assert expected["kl"].median() > 1e-3  # so that the relative tolerance means something
    assert_predicts(store, "tuned", expected)
    ends = sum(1 for _ in windows(store))
    assert ends > store.sql("SELECT count(DISTINCT document) AS n FROM token_kl")["n"].item()
    nulls = store.sql("SELECT count(*) AS n FROM token_kl WHERE variant_logprob IS NULL AND base_logprob IS NULL")["n"]
    assert nulls.item() == 4 * ends


def test_a_planted_edit_changes_predictions_through_the_blocks_above_it(store: Store, world: World) -> None:
    """The reference adds the direction to the tokens with an even id itself."""
    pilot = store.manifest.pilot["1"]
    decoder = torch.tensor(np.array(decoder_row(world.saes[1], 3)))
    direction = (decoder / decoder.norm() * 0.5 * pilot["median_norm"]).float()
    edited = load(world.base)
    even: list[torch.Tensor] = []
    edited.model.register_forward_pre_hook(
        lambda _m, _args, kwargs: even.append(kwargs["input_ids"] % 2 == 0), with_kwargs=True
    )
    edited.model.layers[1].register_forward_hook(
        lambda _m, _args, output: torch.where(even[-1][..., None], output + direction, output)
    )
    with one_thread():
        expected = reference(store, load(world.base), edited)
    assert expected["kl"].median() > 1e-3
    assert_predicts(store, "planted", expected)


def decoder_row(sae: Path, feature: int) -> np.ndarray:
    """One decoder row of a dictionary on disk."""
    from safetensors.numpy import load_file

    return load_file(sae / "sae_weights.safetensors")["W_dec"][feature]


def test_an_equal_model_has_no_kl(store: Store) -> None:
    """Exactly: the same operations on the same numbers; and no feature changed."""
    rows = store.sql("SELECT * FROM token_kl WHERE variant = 'copy'")
    assert len(rows) >= TOKENS and (rows["kl"] == 0).all()
    assert rows["base_logprob"].equals(rows["variant_logprob"])
    assert store.sql("SELECT * FROM feature_kl WHERE variant = 'copy'").empty


def test_a_model_with_more_words_is_compared_on_the_shared_ones(store: Store) -> None:
    """Its own seven words have no part in either distribution."""
    rows = store.sql("SELECT * FROM token_kl WHERE variant = 'wider'")
    assert len(rows) >= TOKENS and (rows["kl"] < 2e-6).all()
    np.testing.assert_allclose(rows["base_logprob"], rows["variant_logprob"], atol=1e-5)


def test_logits_exist_for_a_few_positions_at_a_time(store: Store, widths: list[int]) -> None:
    """Never more than the chunk, and the batches were longer than one."""
    assert max(widths) == CHUNK and sum(widths) == 4 * store.sql("SELECT * FROM token_kl WHERE variant = 'copy'").shape[0]


@pytest.mark.thorough
def test_softcapped_logits(store: Store, world: World, tmp_path: Path) -> None:
    """A base with final_logit_softcapping, other batches and shards: its own logits, on the same documents."""
    base = shutil.copytree(world.base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "final_logit_softcapping": SOFTCAP}))
    shape = {"base": str(base), "batch_tokens": 96, "shard_tokens": 300}
    with open_store(extract_store(world.config(tmp_path, **shape, **SETTINGS), tmp_path / "store")) as capped:
        with one_thread():
            models = load(base), load(base, world.adapter)
            assert models[0].config.final_logit_softcapping == SOFTCAP
            assert_predicts(capped, "tuned", reference(capped, *models))
        columns = "SELECT document, position, kl FROM token_kl WHERE variant = 'tuned' ORDER BY ALL"
        here, there = capped.sql(columns), store.sql(columns)
    assert here[["document", "position"]].equals(there[["document", "position"]])
    assert not np.allclose(here["kl"], there["kl"], rtol=0.1)  # the cap matters


class Models:
    """As much of a ModelSet as predictions ask for, with one model."""

    device = "cpu"

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def change(self, _name: str) -> None:
        return None

    @contextmanager
    def active(self, _name: str, _input_ids: torch.Tensor) -> Iterator[nn.Module]:
        yield self.model


@pytest.mark.parametrize("scaling", [1.0, 8.0])
def test_what_a_model_does_to_its_logits_is_done(scaling: float) -> None:
    """Granite divides its logits by a number of its own."""
    config = GraniteConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, logits_scaling=scaling, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.arange(1, 17).reshape(2, 8)
    kept = ids % 3 > 0
    read = Predictions(Models(model), "base", ids, torch.ones_like(ids), kept)
    with torch.inference_mode():
        expected = model(ids).logits[kept].log_softmax(1)
    for chunk in (slice(0, 4), slice(4, 11)):
        torch.testing.assert_close(read.log_probabilities(chunk, 50), expected[chunk])


# ---- which documents ----


def document(source: str, domain: str, length: int) -> Document:
    """A document of that many tokens."""
    return Document(source, domain, np.arange(length, dtype=np.int32) + 3, np.zeros(length, dtype=np.int8))


CORPUS = [document(f"{domain}-{i}", domain, length) for domain, length in (("a", 10), ("b", 30)) for i in range(20)]


def chosen(documents: list[Document], n_tokens: int) -> list[Document]:
    return [documents[place] for place in choose_documents(documents, n_tokens)]


def test_documents_are_chosen_evenly_over_domains() -> None:
    """Turns go to the domain with fewer tokens: a 10, b 30, a 20, a 30, then a 40, b 60, a 50, a 60."""
    sample = chosen(CORPUS, 120)
    assert sorted(found.domain for found in sample) == ["a"] * 6 + ["b"] * 2
    assert len(chosen(CORPUS, 121)) == 9
    assert len(chosen(CORPUS, 1)) == 1
    assert choose_documents(CORPUS, 10**6) == list(range(40))


def test_a_domain_that_runs_out_leaves_its_share() -> None:
    """200 tokens of a are all there is; b fills the rest of 500."""
    sample = chosen(CORPUS, 500)
    assert sum(found.domain == "a" for found in sample) == 20
    assert sum(found.domain == "b" for found in sample) == 10


def test_the_choice_does_not_depend_on_the_order() -> None:
    """Nor on what else there is, but for who is left out: more tokens only add documents."""
    sources = {found.source for found in chosen(CORPUS, 200)}
    assert {found.source for found in chosen(CORPUS[::-1], 200)} == sources
    assert sources < {found.source for found in chosen(CORPUS, 300)}
    assert sources != {found.source for found in CORPUS if found.domain == "a"}


def test_whole_documents_of_every_domain(store: Store) -> None:
    """About as many tokens as were asked for, every position of every chosen document, for each variant."""
    counts = store.sql(
        """
        SELECT variant, domain, document, any_value(n_tokens) AS length, count(*) AS n, min(position) AS first,
               max(position) AS last
        FROM token_kl JOIN documents USING (document) GROUP BY ALL
        """
    )
    assert (counts["n"] == counts["length"]).all() and (counts["last"] == counts["length"] - 1).all()
    assert (counts["first"] == 0).all() and counts["variant"].nunique() == 4
    lengths = counts[counts["variant"] == "tuned"].groupby("domain")["n"].sum()
    assert TOKENS <= lengths.sum() < TOKENS + 60 and abs(lengths["stories"] - lengths["chats"]) <= 60
    assert lengths.sum() < store.manifest.counts["tokens"]


# ---- features ----


@pytest.mark.parametrize("variant", ["tuned", "planted"])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_feature_kl_is_the_dense_formula(store: Store, variant: str, layer: int) -> None:
    """Every feature at once, from the store's codes; tokens that do not count at the layer are left out."""
    at = "variant = ? ORDER BY document, position"
    tokens = store.sql(f"SELECT * FROM token_kl WHERE {at}", [variant])
    counting = store.sql(f"SELECT document, position FROM token_metrics WHERE layer = {layer} AND {at}", [variant])
    tokens = tokens.merge(counting, on=["document", "position"])
    a, b = (dense_codes(store, tokens, layer, model) for model in ("base", variant))
    change, kl = np.abs(b - a), tokens["kl"].to_numpy(dtype=np.float64)
    features = np.flatnonzero((a != b).any(axis=0))
    where_changed = (change * kl[:, None]).sum(axis=0)[features] / change.sum(axis=0)[features]
    rows = store.sql("SELECT * FROM feature_kl WHERE variant = ? AND layer = ? ORDER BY feature", [variant, layer])
    assert rows["feature"].tolist() == features.tolist() and len(rows) >= (20 if variant == "tuned" else 2)
    assert rows["n_tokens"].tolist() == (a != b).sum(axis=0)[features].tolist()
    np.testing.assert_allclose(rows["kl_where_changed"], where_changed, rtol=1e-5)
    np.testing.assert_allclose(rows["kl_ratio"], where_changed / kl.mean(), rtol=1e-5)


def dense_codes(store: Store, tokens: pd.DataFrame, layer: int, model: str) -> np.ndarray:
    """float64 [tokens, D_SAE], scaled activations."""
    dense = np.zeros((len(tokens), D_SAE))
    place = {pair: row for row, pair in enumerate(zip(tokens["document"], tokens["position"], strict=True))}
    for number in tokens["document"].unique():
        for code in store.codes(int(number), layer, model).itertuples():
            dense[place[number, code.position], code.feature] = code.value
    return dense


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_some_sampled_tokens_do_not_count(store: Store, layer: int) -> None:
    """Else the test above would not see them left out."""
    missing = store.sql(
        """
        SELECT count(*) AS n FROM token_kl ANTI JOIN (SELECT * FROM token_metrics WHERE layer = ?)
        USING (variant, document, position) WHERE variant = 'tuned'
        """,
        [layer],
    )
    assert 0 < missing["n"].item() < TOKENS


def test_changes_of_hand_written_codes() -> None:
    """Two tokens, three features, norms 1, 2, 4; the third token is not asked for."""
    base = Codes(np.array([0, 2, 3, 4]), np.array([0, 1, 2, 0]), np.array([1.0, 2.0, 3.0, 9.0], dtype=np.float32))
    variant = Codes(np.array([0, 2, 3, 3]), np.array([0, 1, 1]), np.array([1.0, 0.5, 1.0], dtype=np.float32))
    row, feature, change = changes(base, variant, np.array([1.0, 2.0, 4.0]), np.array([True, True, False]))
    assert list(zip(row, feature, change, strict=True)) == [(0, 1, 3.0), (1, 1, 2.0), (1, 2, 12.0)]


# ---- going on ----


class _PowerCutError(BaseException):
    """Stands for whatever ends a run in the middle."""


def counting_compare(patch: pytest.MonkeyPatch, until: int) -> list[int]:
    """Let the pass die at its batch number ``until``; the list fills with the tokens of each batch that was done."""
    done, real = [], extract.measure.token_kl._compare

    def compare(models, batch):
        if len(done) == until:
            raise _PowerCutError
        done.append(int((batch.rows >= 0).sum()))
        return real(models, batch)

    patch.setattr(extract.measure.token_kl, "_compare", compare)
    return done


@pytest.mark.long
def test_an_interrupted_pass_goes_on(world: World, tmp_path: Path) -> None:
    """The same command gives the digest of an uninterrupted run, and computes no finished group again."""
    config = world.config(tmp_path, **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        everything = counting_compare(patch, until=10**6)
        whole = extract_store(config, tmp_path / "whole")
    out = tmp_path / "store"
    with pytest.MonkeyPatch.context() as patch:
        counting_compare(patch, until=5)
        with pytest.raises(_PowerCutError), one_thread():
            main(["run", str(config), "--out", str(out)])
    files = sorted((tmp_path / "store.partial" / "work").glob("kl-*.npz"))
    assert 1 <= len(files) <= 5 and not out.exists()
    finished = sum(len(np.load(file)["base|logprob"]) for file in files)
    with pytest.MonkeyPatch.context() as patch:
        rest = counting_compare(patch, until=10**6)
        extract_store(config, out)
    assert sum(rest) == sum(everything) - finished
    assert verify(out) == [] and read_manifest(out).digest == read_manifest(whole).digest


@pytest.mark.thorough
def test_another_number_of_tokens_is_another_run(world: World, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What was kept of one sample is not resumed from for another."""
    out = tmp_path / "store"
    with pytest.MonkeyPatch.context() as patch:
        counting_compare(patch, until=1)
        with pytest.raises(_PowerCutError), one_thread():
            main(["run", str(world.config(tmp_path, **SETTINGS)), "--out", str(out)])
    assert main(["run", str(world.config(tmp_path, **{**SETTINGS, "token_kl": 100})), "--out", str(out)]) == 2
    assert "settings" in capsys.readouterr().err


def test_off_by_default(extracted: Path) -> None:
    """No pass, no rows."""
    with open_store(extracted) as without:
        assert without.manifest.rows["token_kl"] == without.manifest.rows["feature_kl"] == 0
