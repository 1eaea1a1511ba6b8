"""Contributions where the answer is planted: sixty features change alike, of which thirty act on the output.

Of 96 axes of the residual stream blocks read and write the first 32; the upper ones, and the head, read the next 30 too;
nothing reads the last 34. The variant's embedding writes on 60 axes of the two latter kinds what the base leaves 0. The
dictionary has a feature for each axis. What is written is small, for RMSNorm divides by all axes: the square of a change is
read by all.
"""

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from sae_lens import SAE
from transformers import AutoModelForCausalLM

from extract.__main__ import main
from tests.support.contributed import table
from tests.support.world import make_base, make_checkpoint, make_corpus, one_thread

D_MODEL, FRAME, ACTING, UNREAD = 96, 32, range(32, 62), range(62, 92)
SITE = 0
PLANTED = 3e-4
CONSTANT = 1.0


def blind(norm: torch.nn.Module, first: int) -> None:
    """Let a Gemma norm, whose gain is 1 + weight, give 0 from an axis on."""
    norm.weight[first:] = -1


def prepare(model: torch.nn.Module) -> None:
    """In place: who reads and writes what."""
    model.get_input_embeddings().weight[:, FRAME:] = 0
    for number, block in enumerate(model.model.layers):
        reads = FRAME if number <= SITE else UNREAD[0]
        blind(block.input_layernorm, reads)
        blind(block.pre_feedforward_layernorm, reads)
        blind(block.post_attention_layernorm, FRAME)
        blind(block.post_feedforward_layernorm, FRAME)
    blind(model.model.norm, UNREAD[0])


def make_axes(folder: Path) -> Path:
    """A dictionary with a feature for each axis, which fires wherever its activation is above -1."""
    metadata = {"hook_name": f"blocks.{SITE}.hook_resid_post", "prepend_bos": True}
    sae = SAE.from_dict(
        {
            "architecture": "standard", "d_in": D_MODEL, "d_sae": D_MODEL, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": False, "normalize_activations": "none", "metadata": metadata,
        }
    )  # fmt: skip
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(D_MODEL))
        sae.W_dec.copy_(torch.eye(D_MODEL))
        sae.b_enc.fill_(CONSTANT)
        sae.b_dec.fill_(-CONSTANT)
    sae.save_model(folder)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    with one_thread():
        base = make_base(folder / "base", n_layers=3, d_model=D_MODEL)
        model = AutoModelForCausalLM.from_pretrained(base)
        with torch.no_grad():
            prepare(model)
        model.save_pretrained(base)

        def plant(model: torch.nn.Module) -> None:
            torch.manual_seed(3)
            weight = model.get_input_embeddings().weight
            planted = weight[3:, ACTING[0] : UNREAD[-1] + 1]  # not of padding, end and BOS, which are left as they are
            planted += PLANTED * weight[:, :FRAME].std() * torch.randn_like(planted)

        variant = make_checkpoint(folder / "variant", base, plant)
        config = folder / "run.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "base": str(base), "variants": {"planted": {"model": str(variant)}},
                    "saes": [{"path": str(make_axes(folder / "axes"))}], "corpus": make_corpus(folder), "tokens": 1000,
                    "context_length": 24, "batch_tokens": 128, "document_tokens": 60, "twins": 0, "device": "cpu",
                    "contributions": 200,
                }
            )
        )  # fmt: skip
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return folder / "store"


@pytest.fixture(scope="module")
def features(found: Path) -> pd.DataFrame:
    rows = table(found, "features")
    return rows[rows["domain"] == "all"].set_index("feature")


def test_those_that_act_come_first_of_sixty(features: pd.DataFrame):
    order = features["gain"].abs().sort_values(ascending=False).index
    assert set(order[:30]) == set(ACTING)


@pytest.mark.parametrize("name", ["gain", "kl"])
def test_those_that_nothing_reads_contribute_nothing(features: pd.DataFrame, name: str):
    """Next to nothing of what the middle one of the others does."""
    unread = features[name].reindex(list(UNREAD)).fillna(0).abs()
    assert unread.max() < 2e-3 * features.loc[list(ACTING), name].abs().median()


def test_more_goes_by_contribution_than_by_size_or_at_random(found: Path):
    """Of as many more goes by what the other half of the text says of their contribution than by their size, or at random."""
    curves = table(found, "curves").set_index(["chosen_by", "k"])["gain"]
    shares = {by: curves[by, 20] / curves.loc["layer"].iloc[0] for by in ("contribution", "size", "random")}
    assert shares["contribution"] > max(shares["size"], shares["random"])


def test_together_they_are_what_was_learned(found: Path, features: pd.DataFrame):
    rows = table(found, "layers")
    whole = rows.loc[(rows["control"] == "observed") & (rows["domain"] == "all"), "whole"].iloc[0]
    assert features.loc[list(ACTING), "gain"].sum() == pytest.approx(whole, rel=0.02)
