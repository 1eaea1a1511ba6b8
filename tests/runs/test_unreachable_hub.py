"""Where the hub does not answer and nothing is cached, `check` judges dictionaries by sae-lens' registry and says so; a run
refuses them."""

import time

import pytest
import torch
from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

from extract.__main__ import main
from extract.config_sections import SaeConfig
from extract.saes.reading import read_sae
from extract.saes.registry import BY_NAMES, FromRegistry, known
from store.errors import UserError
from tests.support.world import one_thread

TEMPORAL = {"temporal-sae-gemma-2-2b", "temporal-sae-llama-3.1-8b"}


def read_id(release: str) -> str:
    return next(iter(get_pretrained_saes_directory()[release].saes_map))


def test_one_of_each_release(hub_cache):
    """Put together without weights by the code that ``check`` reads dictionaries with; the hub is tried once, not for each."""
    begun = time.monotonic()
    releases = get_pretrained_saes_directory()
    for release in releases.keys() - TEMPORAL:
        read = read_sae(SaeConfig(release=release, id=read_id(release)), "meta", torch.float32)
        needs_no_file = known(release, read_id(release)).loader in set(BY_NAMES) - {"gemma_3"}
        assert isinstance(read.settings, FromRegistry) != needs_no_file and read.file is None
        assert read.sae.W_dec.is_meta and read.sae.cfg.d_sae == read.settings["d_sae"]
    assert len(releases) == 170 and time.monotonic() - begun < 60


def checked(world, tmp_path, capsys, *ids: str, release: str = "gemma-scope-2-270m-pt-transcoders-all") -> tuple[int, str]:
    saes = [{"release": release, "id": id_} for id_ in ids]
    with one_thread():
        code = main(["check", str(world.config(tmp_path, saes=saes))])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_what_check_says(world, hub_cache, tmp_path, capsys):
    code, said = checked(world, tmp_path, capsys, "layer_1_width_16k_l0_big", "layer_3_width_16k_l0_big_affine")
    assert code == 0, said
    note = next(line for line in said.splitlines() if "without the hub" in line)
    assert "judged by the registry alone" in note and "layer_1_width" in note and "layer_3_width" in note
    assert "Trained on 'google/gemma-3-270m'" in said
    assert "is in no name" not in said


def test_what_no_name_says(world, hub_cache, tmp_path, capsys):
    code, said = checked(world, tmp_path, capsys, "layer_2", release="mwhanna-qwen3-0.6b-transcoders-lowl0")
    assert code == 0 and "How many features they have is in no name" in said, said


@pytest.mark.parametrize(("release", "ids", "words"), [
    ("gpt2-small-res-jb", ["blocks.11.hook_resid_post"], ["reads layer 11", "layers 0 to 4"]),
    ("gemma-scope-2b-pt-res-canonical", ["layer_2/width_16k/canonical"], ["width 2304", "32 wide", "another model"]),
    ("temporal-sae-gemma-2-2b", ["blocks.12.hook_resid_post"], ["all tokens of a window"]),
    ("gemma-scope-2-270m-pt-mlp", ["layer_3_width_16k_l0_big"], ["no dictionary 'layer_3_width_16k_l0_big'"]),
])  # fmt: skip
def test_what_check_refuses(world, hub_cache, tmp_path, capsys, release, ids, words):
    code, said = checked(world, tmp_path, capsys, *ids, release=release)
    assert code == 2
    for word in words:
        assert word in said, said


def test_what_a_run_says(world, hub_cache, tmp_path, capsys):
    config = SaeConfig(release="gemma-scope-2-270m-pt-transcoders-all", id="layer_1_width_16k_l0_big")
    with pytest.raises(UserError, match="could not be loaded"):
        read_sae(config, "cpu", torch.float32)
    saes = [{"release": config.release, "id": config.id}]
    assert main(["run", str(world.config(tmp_path, saes=saes)), "--out", str(tmp_path / "store")]) == 2
    assert "could not be loaded" in capsys.readouterr().err and not (tmp_path / "store").exists()
