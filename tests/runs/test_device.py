"""What a GPU needs, as far as a CPU can show it: nothing waits for the device between the ends of a batch, one copy brings what
is found to the host, and the dictionaries may be bfloat16. The same arithmetic as the waiting one, to the bit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae_lens import SAE

import extract.measure.shard
from extract.__main__ import main
from extract.config_sections import SaeConfig
from extract.corpus.token_index import TokenIndex
from extract.device import Fetch
from extract.measure.comparison import LayerComparison
from extract.models.batch_reader import BatchResiduals
from extract.models.loading import model_config, resolve_sae_dtype
from extract.models.sites import Site
from extract.pilot.controls import ControlInputs, Donors
from extract.pilot.layer_pilot import LayerPilot
from extract.saes.dictionary import Dictionary
from extract.saes.dictionary_set import load_dictionaries
from store import open_store, verify
from store.errors import UserError
from store.format.manifest import read_manifest
from store.names import CONTROLS
from store.points import RESID_POST
from tests.support.world import make_sae, one_thread

ARCHITECTURES = {"jumprelu": {}, "topk": {"k": 3}, "standard": {}}


def random_sae(architecture: str, d_in: int = 8, d_sae: int = 20) -> SAE:
    sae = SAE.from_dict(
        {
            "architecture": architecture, "d_in": d_in, "d_sae": d_sae, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": True, "normalize_activations": "none",
            "metadata": {"hook_name": "blocks.1.hook_resid_post"}, **ARCHITECTURES[architecture],
        }
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(generator=generator)
    return sae


# ---- the copy ----


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["bool", "float32", "float64", "int64", "bfloat16", "uint8"]),
                          st.lists(st.integers(0, 4), max_size=3))))  # fmt: skip
def test_what_is_brought_is_what_was_sent(kinds):
    generator = torch.Generator().manual_seed(1)
    sent = [torch.randint(0, 2, shape, generator=generator).to(getattr(torch, name)) for name, shape in kinds]
    brought = Fetch(sent).result()
    assert len(brought) == len(sent)
    for one, other in zip(sent, brought, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


# ---- codes in arrays of a size fixed beforehand ----


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_codes_with_room_are_the_codes(architecture):
    dictionary = Dictionary(random_sae(architecture), "test")
    residuals = torch.randn(30, 8, generator=torch.Generator().manual_seed(2)) * 5
    codes, reconstruction = dictionary.encode(residuals)
    for capacity in (len(codes.value), len(codes.value) + 1, 30 * 20, 5000):
        found, decoded = dictionary.encode_padded(residuals, capacity)
        assert int(found.count) == len(codes.value) and len(found.codes.value) == capacity
        assert found.is_finite and found.is_positive
        real = found.codes.of(slice(0, len(codes.value)))
        for name in ("row", "feature", "value"):
            assert torch.equal(getattr(real, name), getattr(codes, name))
        assert torch.equal(decoded, reconstruction)


def test_too_little_room_is_said():
    dictionary = Dictionary(random_sae("topk"), "test")
    found, _ = dictionary.encode_padded(torch.randn(30, 8), 10)
    assert int(found.count) > 10 and len(found.codes.value) == 10


def test_no_token_at_all():
    found, decoded = Dictionary(random_sae("topk"), "test").encode_padded(torch.zeros(0, 8), 0)
    assert int(found.count) == 0 and decoded.shape == (0, 8)


@pytest.mark.parametrize(("is_finite", "is_positive", "said"), [(False, False, "NaN or infinite"), (True, False, "negative")])
def test_codes_that_mean_nothing(is_finite, is_positive, said):
    with pytest.raises(UserError, match=f"{said} codes at layer 1"):
        Dictionary(random_sae("topk"), "test").check(is_finite, is_positive)


# ---- whole runs ----


@pytest.fixture(scope="module")
def everything(world, tmp_path_factory):
    """A configuration with every control, a twin and a replica."""
    folder = tmp_path_factory.mktemp("device")
    replica = make_sae(folder / "second", world.base, 2, seed=9)
    beside = {"controls": list(CONTROLS), "twins": 1, "replicas": [{"path": str(replica)}]}
    return world.config(folder, tokens=600, shard_tokens=300, promoted_tokens=0, **beside)


@pytest.fixture(scope="module")
def waiting(everything, tmp_path_factory):
    """The digest of a run as a CPU makes it."""
    out = tmp_path_factory.mktemp("waiting") / "store"
    with one_thread():
        assert main(["run", str(everything), "--out", str(out)]) == 0
    return read_manifest(out).digest


@pytest.mark.parametrize("per_token", [64, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_run_that_does_not_wait_gives_the_same_store(everything, waiting, tmp_path, monkeypatch, per_token):
    """With capacity enough; and with too little at first, so that batches are compared a second time."""
    grown, begun = [], []

    def initial_capacity(context):
        grown.append(dict.fromkeys(context.layers, per_token))
        return grown[-1]

    real = LayerComparison.compare

    def compare(self, dictionary, batch, counts, capacity):
        begun.append(capacity)
        return real(self, dictionary, batch, counts, capacity)

    monkeypatch.setattr(extract.measure.shard, "initial_capacity", initial_capacity)
    monkeypatch.setattr(LayerComparison, "compare", compare)
    with one_thread():
        assert main(["run", str(everything), "--out", str(tmp_path / "store")]) == 0
    assert verify(tmp_path / "store") == []
    assert read_manifest(tmp_path / "store").digest == waiting
    assert None not in begun
    assert all(capacity > 1 for of_shard in grown for capacity in of_shard.values())
    assert (1 in begun) == (per_token == 1)


# ---- nothing between the ends of a batch needs to know a number ----


def meta_batch(n: int = 12, d_model: int = 8) -> tuple[LayerComparison, BatchResiduals, torch.Tensor]:
    """A layer of a batch on torch's ``meta`` device, whose tensors have no numbers: what asks for one fails."""
    numbers = torch.arange(n)
    token_index = TokenIndex(numbers // 4, numbers * 7919, numbers, numbers % 2, numbers % 3, numbers % 4)
    donors = Donors(torch.ones(n, d_model, dtype=torch.float16), token_index)
    change = ControlInputs(torch.zeros(d_model, dtype=torch.float64), donors)
    pilot = LayerPilot(1.0, torch.zeros(d_model, dtype=torch.float64), 1.0, 1.0, 0.1, 3.0, changes={"sft": change})
    config = SimpleNamespace(variants={"sft": None}, controls=list(CONTROLS), twins=1, spectrum=4)
    models = SimpleNamespace(names=["base", "sft"], twins=["sft:twin_1"])
    replica = Dictionary(random_sae("jumprelu").to("meta"), "second")
    context = SimpleNamespace(config=config, models=models, pilots={1: pilot}, replicas=[replica])
    comparison = LayerComparison(context, {1: SimpleNamespace(token_index=token_index, n_cells=6)}, {1: 5})

    def residuals() -> dict[Site, torch.Tensor]:
        return {Site(1, RESID_POST): torch.empty(n, d_model, device="meta")}

    batch = BatchResiduals(numbers, {name: residuals() for name in ("base", "sft", "sft:twin_1")}, (numbers, residuals()))
    return comparison, batch, numbers != 3


def without_product(self: Dictionary, _indptr: torch.Tensor, codes, _residuals) -> torch.Tensor:
    """The one operation that the meta device lacks, a sparse matrix times a dense one."""
    return self.decoder.new_empty(codes.n_rows, self.d_model)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layer_is_compared_without_waiting(monkeypatch, architecture):
    monkeypatch.setattr(Dictionary, "_decode", without_product)
    comparison, batch, counts = meta_batch()
    dictionary = Dictionary(random_sae(architecture).to("meta"), "test")
    found = comparison.compare(dictionary, batch, counts, 5)
    assert {tensor.device.type for tensor in found.tensors()} == {"meta"}
    assert {control for _, control in found.counterparts} == {"observed", "twin_1", *CONTROLS}
    assert len(found.replica_codes) == 2 and len(found.base.rows) == 11


def test_that_a_question_would_have_failed(monkeypatch):
    monkeypatch.setattr(Dictionary, "_decode", without_product)
    comparison, batch, counts = meta_batch()
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        comparison.compare(Dictionary(random_sae("topk").to("meta"), "test"), batch, counts, None)


# ---- dictionaries in bfloat16 ----


@pytest.mark.parametrize(
    ("given", "models", "expected"),
    [("auto", torch.float32, torch.float32), ("auto", torch.bfloat16, torch.bfloat16), ("auto", torch.float16, torch.float32),
     ("float32", torch.bfloat16, torch.float32), ("bfloat16", torch.float32, torch.bfloat16)],
)  # fmt: skip
def test_the_dictionaries_dtype(given, models, expected):
    assert resolve_sae_dtype(given, models) == expected


def test_a_dictionary_in_bfloat16_sums_in_float32():
    """Of a thousand products of about 1 a sum in bfloat16 is off by several; rounded once at the end, by 2 at most."""
    sae = random_sae("standard", d_in=1000, d_sae=4)
    with torch.no_grad():
        sae.W_enc.fill_(1.0)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    sae = sae.to(torch.bfloat16)
    sae.dtype = torch.bfloat16
    codes, _ = Dictionary(sae, "test").encode(torch.full((3, 1000), 1.0078125))
    assert codes.value.dtype == torch.float32
    np.testing.assert_allclose(codes.value.numpy(), 1007.8125, atol=2)


@pytest.mark.thorough
def test_a_run_with_dictionaries_in_bfloat16(world, tmp_path, capsys):
    """Weights are rounded to 8 bits: the figures of a layer stay where they were."""
    rows = {}
    for dtype in ("float32", "bfloat16"):
        folder = tmp_path / dtype
        folder.mkdir()
        config = world.config(folder, tokens=600, promoted_tokens=0, sae_dtype=dtype, saes=[{"path": str(world.saes[2])}])
        with one_thread():
            assert main(["run", str(config), "--out", str(folder / "store")]) == 0
        with open_store(folder / "store") as store:
            rows[dtype] = store.overview().iloc[0]
    for name, most in (("cosine", 0.0), ("overlap", 0.03), ("fvu_base", 0.01), ("l0_base", 1.0)):
        assert abs(rows["float32"][name] - rows["bfloat16"][name]) <= most, name
    assert rows["float32"]["overlap"] != rows["bfloat16"]["overlap"]
    (loaded,) = load_dictionaries([SaeConfig(path=str(world.saes[2]))], model_config(str(world.base)), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.sae.parameters()} == {torch.bfloat16}
