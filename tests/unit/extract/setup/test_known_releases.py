"""What sae-lens' registry has for a base, from the file that it installs, and which layers of it are proposed."""

import pytest

from extract.setup.known_releases import in_the_middle, layers_of, proposal, releases_for


@pytest.mark.parametrize(
    ("base", "release", "n_layers", "ids"),
    [
        ("google/gemma-3-270m", "gemma-scope-2-270m-pt-res", 18,
         ["layer_5_width_16k_l0_medium", "layer_9_width_16k_l0_medium", "layer_12_width_16k_l0_medium"]),
        ("google/gemma-2-2b", "gemma-scope-2b-pt-res-canonical", 26,
         [f"layer_{layer}/width_16k/canonical" for layer in (9, 13, 17)]),
        ("openai-community/gpt2", "gpt2-small-res-jb", 12, [f"blocks.{layer}.hook_resid_pre" for layer in (4, 6, 8)]),
        ("EleutherAI/pythia-70m-deduped", "pythia-70m-deduped-res-sm", 6,
         [f"blocks.{layer}.hook_resid_post" for layer in (2, 3, 4)]),
        ("meta-llama/Llama-3.1-8B", "llama_scope_lxr_8x", 32, ["l11r_8x", "l16r_8x", "l21r_8x"]),
    ],
)  # fmt: skip
def test_the_usual_release_of_the_residual_stream_comes_first(base, release, n_layers, ids):
    first = releases_for([base])[0]
    assert first == release
    assert [entry["id"] for entry in proposal(first, layers_of(first), n_layers)] == ids


def test_a_base_that_nobody_trained_dictionaries_for_has_none():
    assert releases_for(["me/my-model", "base"]) == []


@pytest.mark.parametrize(
    ("layers", "n_layers", "expected"),
    [([5, 9, 12, 15], 18, [5, 9, 12]), (range(26), 26, [9, 13, 17]), ([3], 26, [3]), ([], 26, []), ([0, 25], 26, [0, 25])],
)
def test_layers_in_the_middle(layers, n_layers, expected):
    """A third, a half and two thirds of 18 are 6, 9 and 12; of 26 8.67, 13 and 17.33."""
    assert in_the_middle(layers, n_layers) == expected
