"""Twins of a variant: as large as its change, of the same singular values and of no meaning, wherever they are drawn.

Long because each kind of weights is worked out by hand.
"""

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from extract.config import load_config
from extract.corpus.batches import Batch
from extract.models.adapters import inside
from extract.models.batch_reader import read_batches
from extract.models.model_set import ModelSet
from extract.models.residuals import ResidualReader
from extract.models.sites import PlantedChange, Site
from extract.models.twins import permutation, permuted, planted_twin, variant_of, write_checkpoint
from store.points import RESID_POST
from tests.support.runs import in_a_process
from tests.support.world import make_checkpoint, make_gpt2

SITES = [Site(1, RESID_POST), Site(3, RESID_POST)]
PLACE = "model.layers.2.mlp.down_proj"


def tuned(model: nn.Module) -> None:
    """A checkpoint's change: some of every parameter."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter += 0.02 * torch.randn_like(parameter)


def adapted(folder, base, config) -> dict:
    """A variant: an adapter of random tensors."""
    torch.manual_seed(1)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("lora_", "ia3_", "modules_to_save")):
                parameter.normal_(0, 0.05)
    model.save_pretrained(folder)
    return {"adapter": str(folder)}


@pytest.fixture(scope="module")
def variants(world, tmp_path_factory) -> dict:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("twins")
    return {
        "lora": {"adapter": str(world.adapter)},
        "full": {"model": str(make_checkpoint(folder / "full", world.base, tuned))},
        "planted": {"planted": {"layer": 1, "feature": 3, "strength": 0.05}},
    }


def model_set(world, folder, device: str = "cpu", **changes) -> ModelSet:
    folder.mkdir(exist_ok=True)
    return ModelSet(load_config(world.config(folder, **{"twins": 2, **changes})), device, torch.float32)


@pytest.fixture(scope="module")
def models(world, variants, tmp_path_factory) -> ModelSet:
    models = model_set(world, tmp_path_factory.mktemp("models"), variants=variants)
    plant(models)
    return models


def plant(models: ModelSet) -> None:
    direction = torch.linspace(-1, 1, models.shape.hidden_size)

    def of(hidden: torch.Tensor, input_ids: torch.Tensor, _seen: torch.Tensor) -> torch.Tensor:
        return hidden + direction * hidden.norm(dim=-1, keepdim=True)

    models.plant({"planted": PlantedChange(SITES[0], of, SITES[0])})


def batch() -> Batch:
    ids = np.arange(10, 30).reshape(2, 10)
    return Batch(ids, np.ones_like(ids), np.arange(20).reshape(2, 10))


def read(models: ModelSet, folder) -> dict:
    """Model -> layer -> residuals."""
    (found,) = read_batches(ResidualReader(models), [batch()], np.zeros(20, dtype=bool), SITES, folder)
    return found.residuals


def lora_change(models: ModelSet, name: str, place: str = PLACE) -> torch.Tensor:
    """B A of one module, as PEFT holds it."""
    module = models.base.get_submodule(place)
    return (module.lora_B[inside(name)].weight @ module.lora_A[inside(name)].weight).detach()


def test_a_permutation_holds_each_once_and_follows_its_key():
    drawn = permutation(50, "weights", "twin_1", "a.weight", "0")
    assert sorted(drawn.tolist()) == list(range(50))
    assert torch.equal(drawn, permutation(50, "weights", "twin_1", "a.weight", "0"))
    others = [("weights", "twin_2", "a.weight", "0"), ("weights", "twin_1", "a.weight", "1"), ("x", "twin_1", "a.weight", "0")]
    assert not any(torch.equal(drawn, permutation(50, *key)) for key in others)


def test_the_same_in_another_process():
    assert in_a_process(_drawn) == _drawn()


def _drawn() -> list[int]:
    return permutation(20, "weights", "twin_1").tolist()


def test_each_axis_by_hand():
    tensor = torch.arange(6.0).reshape(2, 3)
    rows, columns = permutation(2, "k", "0").tolist(), permutation(3, "k", "1").tolist()
    expected = [[3.0 * row + column for column in columns] for row in rows]
    assert permuted(tensor, (0, 1), "k").tolist() == expected


def test_every_variant_has_its_twins_beside_the_models(models):
    assert models.names == ["base", "full", "lora", "planted"]
    assert models.twins == [f"{name}:twin_{draw}" for name in ("full", "lora", "planted") for draw in (1, 2)]
    assert [models.owner(name) for name in models.twins] == ["full:twin_1", "full:twin_2", *["base"] * 4]
    assert [variant_of(name) for name in ("full:twin_2", "full")] == ["full", "full"]


def test_residuals_of_twins_are_read_and_differ_from_all_others(models, tmp_path):
    residuals = read(models, tmp_path)
    assert list(residuals) == [*models.names, *models.twins]
    found = [residuals[name][SITES[1]] for name in residuals]
    assert not any(torch.equal(one, other) for place, one in enumerate(found) for other in found[:place])


def test_a_twin_of_an_adapter_keeps_singular_values(models, tmp_path):
    own, first, second = (lora_change(models, name) for name in ("lora", "lora:twin_1", "lora:twin_2"))
    values = torch.linalg.svdvals(own)
    assert values[0] > 0.01
    torch.testing.assert_close(torch.linalg.svdvals(first), values)
    torch.testing.assert_close(torch.linalg.svdvals(second), values)
    assert not torch.allclose(first, own) and not torch.allclose(first, second)


def test_a_twin_of_an_adapter_by_hand(models, world):
    """base + factor x scaling x B' A', of tensors from the file and permutations drawn here."""
    stored = load_file(world.adapter / "adapter_model.safetensors")
    a, b = (stored[f"base_model.model.{PLACE}.lora_{part}.weight"] for part in "AB")
    key = (models.digests["lora"], "twin_2", PLACE)
    models.set_twin_factors({"lora:twin_2": 1.5})
    turned = b[permutation(len(b), *key, "B", "0")] @ a[:, permutation(a.shape[1], *key, "A", "1")]
    weight = models.base.get_submodule(PLACE).base_layer.weight
    x = torch.linspace(-1, 1, weight.shape[1])
    with models.active("lora:twin_2", torch.zeros(1, 1)), torch.inference_mode():
        given = models.base.get_submodule(PLACE)(x[None])[0]
    models.set_twin_factors({"lora:twin_2": 1.0})
    torch.testing.assert_close(given, (weight + 1.5 * (4 / 2) * turned) @ x)


def test_a_twin_of_a_checkpoint_keeps_singular_values_and_the_vocabulary(models):
    base, own, twin = (dict(models._weights(name).named_parameters()) for name in ("full", "full", "full:twin_1"))
    base = {name.replace(".base_layer", ""): parameter for name, parameter in models.base.named_parameters()}
    change = own[f"{PLACE}.weight"] - base[f"{PLACE}.weight"]
    turned = twin[f"{PLACE}.weight"] - base[f"{PLACE}.weight"]
    torch.testing.assert_close(torch.linalg.svdvals(turned), torch.linalg.svdvals(change))
    assert not torch.allclose(turned, change)
    words = "model.embed_tokens.weight"
    torch.testing.assert_close((twin[words] - base[words]).norm(dim=1), (own[words] - base[words]).norm(dim=1))
    norm = "model.norm.weight"
    torch.testing.assert_close((twin[norm] - base[norm]).sort().values, (own[norm] - base[norm]).sort().values)


def test_factor_0_is_the_base(models, tmp_path):
    models.set_twin_factors(dict.fromkeys(models.twins, 0.0))
    residuals = read(models, tmp_path)
    models.set_twin_factors(dict.fromkeys(models.twins, 1.0))
    for name in models.twins:
        assert all(torch.equal(residuals[name][site], residuals["base"][site]) for site in SITES), name


def test_a_planted_twin_keeps_the_size_of_each_token(models, tmp_path):
    residuals = read(models, tmp_path)
    base, own, twin = (residuals[name][SITES[0]] for name in ("base", "planted", "planted:twin_1"))
    torch.testing.assert_close((twin - base).norm(dim=1), (own - base).norm(dim=1))
    torch.testing.assert_close((twin - base).sort(dim=1).values, (own - base).sort(dim=1).values, atol=1e-5, rtol=1e-4)


def test_a_planted_twin_by_hand():
    change = PlantedChange(SITES[0], lambda hidden, _ids, _seen: hidden + torch.tensor([1.0, 2.0, 4.0]), SITES[0])
    order = permutation(3, "k", "2").tolist()
    hidden = torch.ones(1, 2, 3)
    expected = [1 + 0.5 * [1.0, 2.0, 4.0][place] for place in order]
    assert planted_twin(change, ("k",), 0.5).of(hidden, torch.zeros(1, 2), hidden).tolist() == [[expected, expected]]


class Small(nn.Module):
    """An embedding of words, tied to its head or not, one matrix, experts of 2 x 3, and a gain."""

    def __init__(self, words: int, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 3)
        self.matrix = nn.Linear(3, 2, bias=False)
        self.experts = nn.Parameter(torch.randn(4, 2, 3))
        self.gain = nn.Parameter(torch.randn(3))
        self.head = nn.Linear(3, words, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def test_a_twin_of_a_checkpoint_by_hand():
    base, own = Small(5), Small(7)
    given = {name: parameter.detach().clone() for name, parameter in own.named_parameters(remove_duplicate=False)}
    of_base = dict(base.named_parameters(remove_duplicate=False))
    write_checkpoint(own, of_base, ("k",), 2.0)
    change = {name: given[name] - of_base[name].detach() for name in ("matrix.weight", "experts", "gain")}

    def order(n: int, name: str, axis: int) -> torch.Tensor:
        return permutation(n, "k", name, str(axis))

    rows, columns = order(2, "matrix.weight", 0), order(3, "matrix.weight", 1)
    torch.testing.assert_close(own.matrix.weight, base.matrix.weight + 2 * change["matrix.weight"][rows][:, columns])
    rows, columns = order(2, "experts", 1), order(3, "experts", 2)
    torch.testing.assert_close(own.experts, base.experts + 2 * change["experts"][:, rows][:, :, columns])
    torch.testing.assert_close(own.gain, base.gain + 2 * change["gain"][order(3, "gain", 0)])
    words = given["embedding.weight"][:5] - base.embedding.weight
    columns = order(3, "embedding.weight", 1)
    torch.testing.assert_close(own.embedding.weight[:5], base.embedding.weight + 2 * words[:, columns])
    assert torch.equal(own.embedding.weight[5:], given["embedding.weight"][5:])  # added tokens
    assert own.head.weight is own.embedding.weight


def test_a_head_of_its_own_keeps_the_vocabulary():
    base, own = Small(5, tied=False), Small(5, tied=False)
    given = own.head.weight.detach().clone()
    write_checkpoint(own, dict(base.named_parameters(remove_duplicate=False)), ("k",), 1.0)
    torch.testing.assert_close((own.head.weight - base.head.weight).norm(dim=1), (given - base.head.weight).norm(dim=1))


def test_a_tied_head_stays_tied(models):
    twin = models._weights("full:twin_2")
    assert twin.get_output_embeddings().weight is twin.get_input_embeddings().weight


def test_one_at_a_time_reads_the_same(world, variants, models, tmp_path):
    alone = model_set(world, tmp_path / "one", variants=variants, models_in_memory="one")
    plant(alone)
    assert alone.one_at_a_time and not models.one_at_a_time
    factors = {name: 1 + 0.1 * place for place, name in enumerate(models.twins)}
    for found in (alone, models):
        found.set_twin_factors(factors)
    together = read(models, tmp_path)
    models.set_twin_factors(dict.fromkeys(models.twins, 1.0))
    for name, layers in read(alone, tmp_path).items():
        assert all(torch.equal(layers[layer], together[name][layer]) for layer in layers), name


LORAS = {
    "rank_pattern": {"r": 2, "rank_pattern": {"down_proj": 4}, "use_rslora": True, "target_modules": "all-linear"},
    "embedding": {"r": 2, "target_modules": ["embed_tokens", "q_proj"]},
    "bias": {"r": 2, "target_modules": ["q_proj"], "lora_bias": True},
}


@pytest.mark.parametrize("kind", LORAS)
def test_kinds_of_lora_that_have_twins(world, tmp_path, kind):
    variant = adapted(tmp_path / "adapter", world.base, LoraConfig(**LORAS[kind]))
    models = model_set(world, tmp_path / "run", variants={"x": variant})
    residuals = read(models, tmp_path)
    base, own, twin = (residuals[name][SITES[1]] for name in ("base", "x", "x:twin_1"))
    assert not torch.allclose(twin, own)
    assert 0.5 < (twin - base).norm() / (own - base).norm() < 2


def test_an_embedding_keeps_its_words(world, tmp_path):
    """The size of each word's change, by the tensors that PEFT holds."""
    variant = adapted(tmp_path / "adapter", world.base, LoraConfig(**LORAS["embedding"]))
    models = model_set(world, tmp_path / "run", variants={"x": variant})
    module = models.base.get_input_embeddings()
    own, twin = (
        (module.lora_embedding_B[inside(name)] @ module.lora_embedding_A[inside(name)]).norm(dim=0)
        for name in ("x", "x:twin_1")
    )
    torch.testing.assert_close(twin, own)


def test_gpt2_has_twins(world, tmp_path):
    """Its linear layers hold their weights transposed."""
    base = make_gpt2(tmp_path / "gpt2")
    variant = adapted(tmp_path / "adapter", base, LoraConfig(r=2, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True))
    full = {"model": str(make_checkpoint(tmp_path / "full", base, tuned))}
    models = model_set(world, tmp_path / "run", base=str(base), variants={"x": variant, "full": full})
    residuals = read(models, tmp_path)
    for name in ("x", "full"):
        own, twin = (residuals[of][SITES[1]] - residuals["base"][SITES[1]] for of in (name, f"{name}:twin_1"))
        assert 0.5 < twin.norm() / own.norm() < 2 and not torch.allclose(twin, own)


OTHERS = {
    "IA3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "use_dora": LoraConfig(r=2, target_modules=["q_proj"], use_dora=True),
    "modules_to_save": LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"]),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_have_none_and_it_is_said(world, tmp_path, kind, device):
    variant = adapted(tmp_path / "adapter", world.base, OTHERS[kind])
    models = model_set(world, tmp_path / "run", device, variants={"x": variant, "p": {"planted": {"layer": 1, "feature": 3}}})
    assert models.twins == ["p:twin_1", "p:twin_2"]
    (note,) = [note for note in models.notes if "twins" in note]
    assert "no twins of the variant 'x'" in note and kind in note and "give the merged checkpoint as 'model:'" in note


def test_without_twins_nothing_is_said_of_them(world, tmp_path):
    variant = adapted(tmp_path / "adapter", world.base, OTHERS["IA3"])
    models = model_set(world, tmp_path / "run", variants={"x": variant}, twins=0)
    assert models.twins == [] and not any("twins" in note for note in models.notes)
