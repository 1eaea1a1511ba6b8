"""Points of a block, of each architecture: what is read and written there, against torch's plain hooks on paths by hand.

Each (architecture, point) is a cell of the table in docs/inputs.md.
"""

from collections.abc import Callable

import pytest
import torch
from sae_lens import SAE

from extract.models.hooks import capture_activations, run_truncated
from extract.models.layout import of_model
from extract.models.point_trial import try_point
from extract.models.sites import Site
from extract.saes.dictionary import Dictionary
from store.errors import UserError
from tests.support.architectures import ARCHITECTURES, LAYERS, POINTS, Architecture, tiny
from tests.support.points_by_hand import IDS, MASK, by_hand, logits, other, replaced_by_hand

NAMES = {
    "embed": "hook_embed", "resid_pre": "blocks.{}.hook_resid_pre", "attn_z": "blocks.{}.attn.hook_z",
    "attn_out": "blocks.{}.hook_attn_out", "resid_mid": "blocks.{}.hook_resid_mid",
    "mlp_in_normalized": "blocks.{}.ln2.hook_normalized", "mlp_in": "blocks.{}.mlp.hook_in",
    "mlp_out": "blocks.{}.hook_mlp_out", "resid_post": "blocks.{}.hook_resid_post",
}  # fmt: skip


def cells(has: Callable[[Architecture, int, str], bool]) -> list:
    """(architecture, point) of which some layer has what is asked; the most in `make test-all` alone."""
    return [
        pytest.param(name, point, marks=() if one.in_test else pytest.mark.thorough)
        for name, one in ARCHITECTURES.items()
        for point in POINTS
        if any(has(one, layer, point) for layer in range(LAYERS))
    ]


WORKING = cells(lambda one, layer, point: point in one.works(layer))
REFUSED = cells(lambda one, _layer, point: point in one.refused)
ABSENT = cells(lambda one, layer, point: point not in one.points(layer) and point != "embed")



def dictionary(layer: int, point: str, width: int) -> Dictionary:
    """A random ReLU dictionary, by TransformerLens' name of its point."""
    config = {"d_in": width, "d_sae": 40, "apply_b_dec_to_input": False, "normalize_activations": "none", "device": "cpu",
              "dtype": "float32", "architecture": "standard",
              "metadata": {"hook_name": NAMES[point].format(layer)}}  # fmt: skip
    sae = SAE.from_dict(config)
    torch.manual_seed(layer)
    for parameter in sae.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    return Dictionary(sae, "random")


@pytest.mark.parametrize(("name", "point"), WORKING)
def test_what_is_read(name, point):
    """The activation, by two names of its hook; and what a dictionary makes of it."""
    model, expected = tiny(name), by_hand(name)
    layout = of_model(model)
    for layer in ARCHITECTURES[name].layers(point):
        read = dictionary(layer, point, layout.width(layer, point))
        assert read.reads == read.site == Site(layer, point)
        with capture_activations(model, [read.site]) as found:
            run_truncated(model, IDS, MASK)
        own = expected[layer, point]
        if point in ("mlp_in_normalized", "embed"):  # by other formulas here
            torch.testing.assert_close(found[read.site], own, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(found[read.site], own)
        codes, _ = read.encode(found[read.site].flatten(0, 1))
        dense = torch.zeros(IDS.numel(), read.d_sae).index_put((codes.row, codes.feature), codes.value)
        torch.testing.assert_close(dense, read.sae.encode(own.flatten(0, 1)), rtol=1e-4, atol=1e-5)
        assert (dense > 0).any() and (dense == 0).any()
        if (hook := ARCHITECTURES[name].hook(layer, point)) is not None:
            assert Site.of_hook(hook, layout) == read.site


@pytest.mark.parametrize(("name", "point"), WORKING)
def test_what_is_written(name, point):
    """Itself in its place changes no logit; another gives those of the model with that activation, also where only what is
    above is computed."""
    model, own = tiny(name), by_hand(name)
    with torch.no_grad():
        before = logits(model)
        for layer in ARCHITECTURES[name].layers(point):
            site, given = Site(layer, point), other(own[layer, point])
            with site.edit(model, lambda activation: activation.clone()):
                same = logits(model)
            if point == "mlp_in_normalized":  # by its gain and back
                torch.testing.assert_close(same, before, rtol=1e-4, atol=1e-4)
            else:
                assert torch.equal(same, before)
            with replaced_by_hand(name, model, layer, point, given):
                expected = logits(model)
            with site.edit(model, lambda _activation, given=given: given):
                found = logits(model)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
            assert (found - before).abs().max() > 1e-3
            with capture_activations(model, [site]) as captured:
                run_truncated(model, IDS, MASK)
            with site.resume(model, given, captured.beside[site]):
                resumed = logits(model)
            torch.testing.assert_close(resumed, found)
            assert torch.equal(logits(model), before)


@pytest.mark.parametrize(("name", "point"), WORKING)
def test_a_trial_takes_it(name, point):
    for layer in ARCHITECTURES[name].layers(point):
        try_point(tiny(name), Site(layer, point), IDS, "The base 'x'")


@pytest.mark.parametrize(("name", "point"), REFUSED)
def test_a_trial_refuses_what_its_modules_do_not_give(name, point):
    with pytest.raises(UserError, match=rf"^The base 'x' cannot be read at {point} \(.+\) of layer 1: .+ another point\.$"):
        try_point(tiny(name), Site(1, point), IDS, "The base 'x'")


@pytest.mark.parametrize(("name", "point"), ABSENT)
def test_what_a_block_lacks_is_refused(name, point):
    one, layout = ARCHITECTURES[name], of_model(tiny(name))
    for layer in range(LAYERS):
        assert set(layout.blocks[layer]) == set(one.points(layer))
        if point not in one.points(layer):
            with pytest.raises(
                UserError, match=rf"^It reads {point} \(.+\), which layer {layer} of the base, of the family .+"
            ):
                layout.check(layer, point, "It")


def test_enough_architectures():
    assert len(ARCHITECTURES) >= 36
    assert [name for name, one in ARCHITECTURES.items() if one.in_test] == [
        "llama", "gpt2", "gpt_neox", "gemma3_text", "qwen3_moe", "mamba"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if one.in_test else pytest.mark.thorough) for name, one in ARCHITECTURES.items()]
)
def test_the_hand_written_paths_add_up(name):
    """What goes in and what is added give what comes out, where a family's block is a sum."""
    one, seen = ARCHITECTURES[name], by_hand(name)
    for layer in range(LAYERS):
        if not one.mlp or one.refused:
            continue
        if one.parallel:
            added = seen[layer, "resid_pre"] + seen[layer, "attn_out"] + seen[layer, "mlp_out"]
        else:
            added = seen[layer, "resid_mid"] + one.scale * seen[layer, "mlp_out"]
            if layer not in one.mixers:
                middle = seen[layer, "resid_pre"] + one.scale * seen[layer, "attn_out"]
                torch.testing.assert_close(seen[layer, "resid_mid"], middle, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen[layer, "resid_post"], added, rtol=1e-4, atol=1e-5)
