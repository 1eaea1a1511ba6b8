"""What is made of every dictionary of sae-lens' registry by its names alone, without a hub; the page of it is up to date."""

from collections import Counter
from pathlib import Path

import pytest

from extract.config import RunConfig
from extract.saes.judging import judged
from extract.saes.named_sites import read_and_written
from extract.saes.notes import run_notes
from extract.saes.registry import Known, known, registry
from extract.saes.registry_table import page, verdict

PAGE = Path(__file__).parents[4] / "docs" / "dictionaries.md"
BASES = {
    "mistral-7b": "mistralai/Mistral-7B-v0.1", "gpt2-small": "openai-community/gpt2", "gemma-2b": "google/gemma-2b",
    "gemma-2b-it": "google/gemma-2b-it", "gemma-2-2b": "google/gemma-2-2b", "gemma-2-9b": "google/gemma-2-9b",
    "gemma-2-9b-it": "google/gemma-2-9b-it", "gemma-2-27b": "google/gemma-2-27b", "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B", "qwen3-4b": "Qwen/Qwen3-4B", "qwen3-8b": "Qwen/Qwen3-8B", "qwen3-14b": "Qwen/Qwen3-14B",
    "pythia-70m-deduped": "EleutherAI/pythia-70m-deduped",
    "meta-llama/Meta-Llama-3-8B-Instruct": "NousResearch/Meta-Llama-3-8B-Instruct",
    "meta-llama/Llama-3.1-8B": "meta-llama/Meta-Llama-3.1-8B",
}  # fmt: skip
"""What the registry calls a model -> what the hub does, where they differ by more than an owner; all others are tried as is."""


def test_how_much_of_the_registry_is_read():
    """By the steps that ``check`` takes where the hub does not answer."""
    made = Counter(verdict(one).refused for one in registry())
    refused = {why: count for why, count in made.items() if why}
    assert refused == {"the architecture 'temporal', which reads all tokens of a window at once": 3}
    assert made.total() == 13_857 and made[""] / made.total() >= 0.99


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == page()


EMBEDDING = "embedding/width_4k/average_l0_6"
TRANSCODER = "layer_9_width_262k_l0_small"


@pytest.mark.parametrize(("release", "id_", "reads", "writes", "layer", "d_sae", "model"), [
    ("gpt2-small-res-jb", "blocks.11.hook_resid_post", "resid_post", None, 11, 16 * 1, "gpt2-small"),
    ("gpt2-small-res-jb-feature-splitting", "blocks.8.hook_resid_pre_768", "resid_pre", None, 8, 768, "gpt2-small"),
    ("gpt2-small-mlp-tm", "blocks.3.hook_mlp_out", "mlp_out", None, 3, 24_576, "gpt2-small"),
    ("gpt2-small-attn-out-v5-128k", "blocks.3.hook_attn_out", "attn_out", None, 3, 131_072, "gpt2-small"),
    ("gpt2-small-resid-mid-v5-32k", "blocks.3.hook_resid_mid", "resid_mid", None, 3, 32_768, "gpt2-small"),
    ("gpt2-small-hook-z-kk", "blocks.5.hook_z", "attn_z", None, 5, 49_152, "gpt2-small"),
    ("pythia-70m-deduped-res-sm", "blocks.0.hook_resid_pre", "resid_pre", None, 0, 16 * 1, "pythia-70m-deduped"),
    ("gemma-2-9b-res-matryoshka-dc", "blocks.40.hook_resid_post", "resid_post", None, 40, 32_768, "gemma-2-9b"),
    ("gemma-scope-2b-pt-res", EMBEDDING, "embed", None, 0, 4_096, "gemma-2-2b"),
    ("gemma-scope-9b-pt-res-canonical", "layer_20/width_1m/canonical", "resid_post", None, 20, 1 << 20, "gemma-2-9b"),
    ("gemma-scope-9b-it-res", "layer_9/width_16k/average_l0_88", "resid_post", None, 9, 16_384, "gemma-2-9b-it"),
    ("gemma-scope-2b-pt-att-canonical", "layer_25/width_65k/canonical", "attn_z", None, 25, 65_536, "gemma-2-2b"),
    ("gemma-scope-2b-pt-transcoders", "layer_25/width_16k/average_l0_41", "mlp_in_normalized", "mlp_out", 25, 16_384,
     "gemma-2-2b"),
    ("gemma-scope-2-1b-pt-res", "layer_7_width_65k_l0_small", "resid_post", None, 7, 65_536, "google/gemma-3-1b-pt"),
    ("gemma-scope-2-270m-pt-att", "layer_12_width_16k_l0_big", "attn_z", None, 12, 16_384, "google/gemma-3-270m"),
    ("gemma-scope-2-12b-it-mlp", "layer_12_width_16k_l0_big", "mlp_out", None, 12, 16_384, "google/gemma-3-12b-it"),
    ("gemma-scope-2-4b-pt-transcoders-all", TRANSCODER, "mlp_in", "mlp_out", 9, 262_144, "google/gemma-3-4b-pt"),
    ("gemma-scope-2-4b-pt-transcoders-all", TRANSCODER + "_affine", "mlp_in", "mlp_out", 9, 262_144, "google/gemma-3-4b-pt"),
    ("llama_scope_lxa_32x", "l31a_32x", "attn_out", None, 31, 32 * 1, "meta-llama/Llama-3.1-8B"),
    ("llama_scope_lxm_8x", "l0m_8x", "mlp_out", None, 0, 8 * 1, "meta-llama/Llama-3.1-8B"),
    ("llama_scope_r1_distill", "l31r_800m_openr1_math", "resid_post", None, 31, 16 * 1,
     "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
    ("sae_bench_gemma-2-2b_topk_width-2pow12_date-1109", "blocks.5.hook_resid_post__trainer_5_step_9765", "resid_post", None, 5,
     4_096, "gemma-2-2b"),
    ("gpt-oss-20b-andyrdt", "resid_post_layer_23_trainer_0", "resid_post", None, 23, 16 * 1, "openai/gpt-oss-20b"),
    ("qwen-scope-3.5-27b-w80k-l50", "layer63", "resid_post", None, 63, 81_920, "Qwen/Qwen3.5-27B"),
    ("goodfire-llama-3.3-70b-instruct", "layer_50", "resid_post", None, 50, 65_536, "meta-llama/Llama-3.3-70B-Instruct"),
    ("deepseek-r1-distill-llama-8b-qresearch", "blocks.19.hook_resid_post", "resid_post", None, 19, 65_536,
     "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
    ("mwhanna-qwen3-14b-transcoders", "layer_39", "mlp_in", "mlp_out", 39, 16 * 1, "qwen3-14b"),
    ("mntss-gemma-2-2b-2.5m-clt-as-per-layer", "layer_25", "resid_mid", "mlp_out", 25, 16 * 1, "gemma-2-2b"),
])  # fmt: skip
def test_what_names_say(release, id_, reads, writes, layer, d_sae, model):
    """Without a base, what is read is reckoned to be one number wide, and 16 features a number where no name says how many."""
    settings, _notes = judged("it", known(release, id_))
    read, written = read_and_written("it", settings)
    assert (read.point, read.layer, settings["d_sae"], settings["model_name"]) == (reads, layer, d_sae, model)
    assert (written and (written.point, written.layer)) == (writes and (writes, layer))


def test_what_is_not_in_the_registry():
    assert known("somebody/dictionaries", "layer_12") is None
    assert known("gpt2-small-res-jb", "blocks.99.hook_resid_pre") is None


def notes_of(one: Known, base: str) -> list[str]:
    config = {"base": base, "variants": {"x": {"model": "y"}}, "saes": [{"release": one.release, "id": one.id}]}
    settings, _notes = judged("it", one)
    name = f"{one.release}/{one.id}"
    found = run_notes(RunConfig.model_validate(config | {"corpus": [{"path": "c"}]}), [(name, settings)])
    return [note for note in found if note.startswith("Trained on '")]


def test_the_base_goes_by_the_hubs_name_of_the_registrys_model():
    models = {one.model: one for one in registry() if verdict(one).refused == "" and one.release != "gemma-scope-9b-it-res"}
    assert len(models) == 38 and set(BASES) <= set(models)
    for model, one in models.items():
        assert not notes_of(one, BASES.get(model, model)), model
        (note,) = notes_of(one, "somebody/another-1b")
        assert "'another-1b'" in note


def test_a_model_that_the_registry_and_the_settings_call_otherwise():
    """Told whichever the base is: nobody knows here who is right."""
    for base in ("google/gemma-2-9b", "google/gemma-2-9b-it"):
        (note,) = notes_of(known("gemma-scope-9b-it-res", "layer_9/width_16k/average_l0_88"), base)
        assert "'gemma-2-9b-it', by their own account" in note and "'gemma-2-9b', by the registry's" in note
