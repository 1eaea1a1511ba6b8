"""Which way a run goes with its models: all in memory, or one at a time; either way the store is the same."""

import pytest
import torch

from extract.__main__ import main
from extract.config import load_config
from extract.models import memory
from extract.models.loading import load_model, model_config, weights
from extract.models.model_set import ModelSet
from store import verify
from store.format.manifest import read_manifest
from tests.support.world import make_checkpoint, one_thread

SHORT = {"tokens": 400, "shard_tokens": 200, "twins": 2}


@pytest.fixture(scope="module")
def variants(world, tmp_path_factory) -> dict:
    """Two checkpoints, an adapter, and a planted edit between them."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def scaled(by: float):
        return lambda model: model.model.layers[1].mlp.down_proj.weight.mul_(by)

    return {
        "double": {"model": str(make_checkpoint(folder / "double", world.base, scaled(2.0)))},
        "tuned": {"adapter": str(world.adapter)},
        "half": {"model": str(make_checkpoint(folder / "half", world.base, scaled(0.5)))},
        "planted": {"planted": {"layer": 1, "feature": 3, "strength": 0.05}},
    }


def digest(world, folder, **changes) -> str:
    folder.mkdir()
    with one_thread():
        assert main(["run", str(world.config(folder, **SHORT, **changes)), "--out", str(folder / "store")]) == 0
    assert verify(folder / "store") == []
    return read_manifest(folder / "store").digest


@pytest.mark.thorough
def test_one_model_at_a_time_gives_the_same_store(world, variants, tmp_path, monkeypatch):
    """And never are two sets of weights kept, while together all seven are: of base, two checkpoints, and their twins."""
    most = []
    load = ModelSet._weights
    monkeypatch.setattr(ModelSet, "_weights", lambda self, name: (load(self, name), most.append(len(self._loaded)))[0])
    together = digest(world, tmp_path / "all", variants=variants, models_in_memory="all")
    assert max(most) == 7
    most.clear()
    assert digest(world, tmp_path / "one", variants=variants, models_in_memory="one") == together
    assert max(most) == 1


@pytest.mark.long
def test_a_device_map_gives_the_same_store(world, variants, tmp_path):
    """Here all of it lands on the CPU."""
    some = {name: variants[name] for name in ("double", "tuned")}
    assert digest(world, tmp_path / "map", variants=some, device_map="auto") == digest(world, tmp_path / "none", variants=some)


def test_weights_that_a_device_map_put_away_are_found(world, tmp_path):
    """Two of the five blocks lie on the disk; a hash over the weights is as it would be in memory."""
    places = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    blocks = {f"model.layers.{n}": "disk" if n in (2, 3) else "cpu" for n in range(5)}
    model = load_model(str(world.base), device_map={**places, **blocks})
    assert any(tensor.is_meta for tensor in model.state_dict().values())
    expected = load_model(str(world.base)).state_dict()
    found = weights(model)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("free_sets", "wish", "one_at_a_time"),
    [(4.0, "auto", False), (3.7, "auto", True), (100.0, "one", True), (0.1, "all", False)],
)
def test_which_way_by_hand(world, variants, tmp_path, monkeypatch, free_sets, wish, one_at_a_time):
    """Three sets of weights, of which four fifths of the free memory must hold all: 3 / 0.8 = 3.75."""
    config = load_config(world.config(tmp_path, variants=variants, models_in_memory=wish, twins=0))
    shape = model_config(config.base)
    # 5 blocks: attention 32 x 16 x (2 + 1) x 2, MLP 3 x 32 x 64, norms 4 x 32 and 2 x 16; a norm; the embedding; 4 bytes each
    set_bytes = 4 * (5 * (32 * 16 * 3 * 2 + 3 * 32 * 64 + 4 * 32 + 2 * 16) + 32 + shape.vocab_size * 32)
    monkeypatch.setattr(memory, "free_memory", lambda _device: int(free_sets * set_bytes))
    needed = memory.needs(config, shape, "cpu", torch.float32)
    assert (needed.sets, needed.set_bytes, needed.one_at_a_time) == (3, set_bytes, one_at_a_time)


def test_adapters_alone_are_one_set(world, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda _device: 1)
    config = load_config(world.config(tmp_path))
    assert not memory.needs(config, model_config(config.base), "cpu", torch.float32).one_at_a_time


@pytest.mark.parametrize(("wish", "words"), [("one", "one of 7 sets"), ("all", "7 set(s), all at a time")])
def test_check_says_which_way(world, variants, tmp_path, capsys, wish, words):
    assert main(["check", str(world.config(tmp_path, variants=variants, models_in_memory=wish, twins=2))]) == 0
    out = capsys.readouterr().out
    assert words in out and "twins     2 of each variant, 8 in all" in out


def test_twins_of_checkpoints_are_sets_of_their_own(world, variants, tmp_path):
    assert memory.weight_sets(load_config(world.config(tmp_path, variants=variants, twins=2))) == [
        "base",
        *("double", "double:twin_1", "double:twin_2"),
        *("half", "half:twin_1", "half:twin_2"),
    ]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", ["token_kl", "contributions"])
def test_predictions_need_all_models(world, variants, tmp_path, capsys, command, name):
    config = world.config(tmp_path, variants=variants, models_in_memory="one", **{name: 50})
    out = ["--out", str(tmp_path / "store")] if command == "run" else []
    assert main([command, str(config), *out]) == 2
    assert f"{name} compares the predictions of all models at once" in capsys.readouterr().err


def test_what_was_learned_is_not_measured_one_model_at_a_time(world, variants, tmp_path, capsys):
    """Where no number is asked for: the store is made, and a note says why it has no contributions."""
    config = world.config(tmp_path, variants=variants, models_in_memory="one", contributions=None, tokens=600)
    assert main(["check", str(config)]) == 0
    assert "gains     none: what was learned is measured with all models at once" in capsys.readouterr().out
    with one_thread():
        assert main(["run", str(config), "--out", str(tmp_path / "store")]) == 0
    assert "note: no contributions: Contributions are measured with all models at once" in capsys.readouterr().out
    assert (tmp_path / "store" / "manifest.json").is_file() and not list(tmp_path.glob("store.*"))
