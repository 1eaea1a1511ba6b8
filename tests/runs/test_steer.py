"""The causal check: `python -m extract steer`, from the arithmetic of one token to what the command keeps and refuses.

Long because it goes from the arithmetic of one token to what the command keeps.

The planted variant of :func:`planted` is one whose answer is known. Feature 0 of its dictionary is the direction in which the
residuals of one token ("the") differ from the others', and the variant projects exactly that out of exactly those tokens. So
what the variant lacks is what the feature measured, and giving it back must undo the change, while other directions, which are
orthogonal, cannot.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sae_lens import SAE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from extract.__main__ import main
from extract.models import predictions
from extract.steering import intervention as steer
from extract.steering.control_features import POOL, Densities
from extract.steering.plan import Passage, Plan, make_plan
from store import open_store
from store.errors import UserError
from store.format.writer import PILOT_FILE
from store.sidecar.entries import read_steering, sidecar_path
from store.sidecar.steering import MIN_CONTEXTS, Steering, in_words
from tests.support.world import World, one_thread, sentences

LAYER = 2
WORD = " the"
PLAN = Plan(LAYER, 0, "gone", "restore", (), (3, 5), seed=0)


# ---- one token, by hand ----


def test_amounts_are_what_is_missing_or_what_is_too_much():
    base, variant = torch.tensor([3.0, 1.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 4.0, 0.5])
    assert steer.amounts("restore", base, variant).tolist() == [2.0, 0.0, 0.0, 1.5]
    assert steer.amounts("ablate", base, variant).tolist() == [0.0, 0.0, -4.0, 0.0]


def test_residuals_are_moved_token_by_token_along_each_rows_direction():
    hidden = torch.tensor([[[1.0, 1.0], [2.0, 0.0]]]).expand(3, 2, 2)
    directions = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    moved = steer.moved(hidden, torch.tensor([10.0, -5.0]), directions)
    expected = [[[1, 1], [2, 0]], [[7, 9], [-1, -4]], [[1, -9], [2, 5]]]
    torch.testing.assert_close(moved, torch.tensor(expected, dtype=torch.float32))
    assert steer.moved(hidden.bfloat16(), torch.tensor([10.0, -5.0]), directions).dtype == torch.bfloat16


def test_divergence_by_hand():
    """KL of (1/2, 1/2) against (3/4, 1/4) is ln(2/√3); of itself it is 0."""
    base = torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=torch.float64).log()
    variant = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=torch.float64).log()
    assert predictions.divergence(base, variant).tolist() == pytest.approx([np.log(2 / np.sqrt(3)), 0], abs=1e-12)


# ---- over contexts, by hand ----


def test_summary_by_hand():
    """Eight contexts whose changes are -1, -2, ... -8: mean -4.5, sd √6, t(7) 2.364624."""
    kl = np.column_stack([np.full(8, 10.0), 10.0 - np.arange(1, 9), np.full(8, 9.0), np.full(8, 3.0)])
    result = steer.summary(PLAN, kl, n_positions=40)
    assert (result.kl_before, result.kl_after, result.change) == (10.0, 5.5, -4.5)
    half = 2.364624 * np.sqrt(6) / np.sqrt(8)
    assert (result.low, result.high) == pytest.approx((-4.5 - half, -4.5 + half), rel=1e-6)
    assert result.controls == {3: 9.0, 5: 3.0}
    assert result.rank == 2
    assert (result.n_contexts, result.n_positions) == (8, 40)


def test_too_few_contexts_have_no_interval():
    kl = np.ones((MIN_CONTEXTS - 1, 4))
    result = steer.summary(PLAN, kl, n_positions=7)
    assert (result.low, result.high) == (None, None)
    assert "too few contexts" in in_words(result)


def test_a_divergence_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="NaN or infinite"):
        steer.summary(PLAN, np.array([[1.0, np.nan, 1.0, 1.0]]), n_positions=1)


RESULT = Steering(2, 0, "gone", "restore", 10, 212, 0.25, 0.125, -0.2, -0.05, {3: 0.3, 5: 0.125, 9: 0.24}, 0)


def test_a_tie_with_a_control_is_lost():
    assert RESULT.rank == 2


def test_the_words_say_what_was_measured_and_no_more():
    said = in_words(RESULT)
    assert "In 10 contexts (212 positions), giving the variant back what it lacks of this feature" in said
    assert "from 0.25 to 0.125 nats: -0.125 (95 % interval -0.2 to -0.05), nearer to the base" in said
    assert "3 random features of like frequency: -0.125 to +0.05; this feature ranks 2 of 4" in said
    assert said.endswith("This is causal for these contexts and this direction only.")
    worse = in_words(dataclasses.replace(RESULT, mode="ablate", kl_after=0.5, n_contexts=1))
    assert "In 1 context " in worse
    assert "taking from the variant what it has more of this feature" in worse
    assert "+0.25" in worse and "farther from the base" in worse
    assert "no nearer to the base" in in_words(dataclasses.replace(RESULT, kl_after=0.25))


# ---- what will be done ----


def test_positions_are_the_peak_and_what_follows_up_to_a_bound():
    ids = np.arange(100)
    assert Passage(0, ids[:10], 7).positions.tolist() == [7, 8, 9]
    assert Passage(0, ids, 50).positions.tolist() == list(range(50, 82))


def test_controls_fire_about_as_often_and_are_drawn_by_the_seed():
    density = {feature: 2.0 ** -(feature // 100) for feature in range(1000)} | {1000: 0.0}
    densities = Densities(density, 10**6)
    drawn = densities.draw(450, 20, "0/2")
    assert len(set(drawn)) == 20
    assert list(drawn) == sorted(drawn)
    assert 450 not in drawn and 1000 not in drawn
    # The 200 nearest: the 99 others of its own density, then 101 of the densities half and double.
    assert POOL == 200
    assert {feature // 100 for feature in drawn} <= {3, 4, 5}
    assert densities.draw(450, 20, "0/2") == drawn
    assert densities.draw(450, 20, "1/2") != drawn


def test_a_feature_that_the_base_never_fires_is_compared_with_the_rarest():
    density = {feature: 2.0**-feature for feature in range(1, 1001)} | {0: 0.0}
    assert min(Densities(density, 2**900).draw(0, 50, "0")) > 900 - POOL


# ---- a planted variant whose answer is known ----


def make_word_sae(folder: Path, world: World, token: int) -> Path:
    """A dictionary whose feature 0 points from the mean of all residuals to the mean of one token's; the rest is orthogonal."""
    model = AutoModelForCausalLM.from_pretrained(world.base).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(world.base)
    ids = [[tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)] for text in sentences(40, seed=2)]
    with torch.inference_mode():
        rows = torch.cat([model(torch.tensor([i]), output_hidden_states=True).hidden_states[LAYER + 1][0, 1:] for i in ids])
    is_token = torch.tensor([i for window in ids for i in window[1:]]) == token
    mean = rows.mean(0)
    axis = rows[is_token].mean(0) - mean
    square = torch.randn(len(mean), len(mean), generator=torch.Generator().manual_seed(0))
    square[:, 0] = axis
    rotation = torch.linalg.qr(square)[0].T  # rows; the first is the axis, up to its sign
    rotation[0] *= torch.sign(rotation[0] @ axis)
    directions = torch.stack([rotation, -rotation], dim=1).reshape(2 * len(mean), len(mean))
    norms = torch.linspace(1, 2, len(directions))
    metadata = {"hook_name": f"blocks.{LAYER}.hook_resid_post", "prepend_bos": True}
    shape = {"architecture": "jumprelu", "d_in": len(mean), "d_sae": len(directions), "dtype": "float32", "device": "cpu"}
    sae = SAE.from_dict({**shape, "apply_b_dec_to_input": True, "normalize_activations": "none", "metadata": metadata})
    with torch.no_grad():
        sae.W_dec.copy_(directions * norms[:, None])
        sae.W_enc.copy_((directions / norms[:, None]).T)
        sae.b_dec.copy_(mean)
        sae.b_enc.zero_()
        sae.threshold.copy_(0.3 * float((rows - mean).std()) / norms)
    sae.save_model(folder)
    return folder


@pytest.fixture(scope="module")
def planted(world, tmp_path_factory):
    """(store, configuration): 'gone' projects feature 0 out of every " the", 'more' adds feature 0 to every " the"."""
    folder = tmp_path_factory.mktemp("steered")
    (token,) = PreTrainedTokenizerFast.from_pretrained(world.base).encode(WORD, add_special_tokens=False)
    with one_thread():
        sae = make_word_sae(folder / "sae", world, token)
        edit = {"layer": LAYER, "feature": 0, "every": token}  # of the ids below 400 only the token's own is divisible by it
        assert token > 200
        variants = {
            "gone": {"planted": {**edit, "project_out": True}},
            "more": {"planted": {**edit, "strength": 0.5}},
        }
        config = world.config(folder, variants=variants, saes=[{"path": str(sae)}], contexts=30)
        assert main(["run", str(config), "--out", str(folder / "store")]) == 0
    return folder / "store", config


def steered(planted, capsys, *options, feature=0, variant="gone"):
    store, config = planted
    with one_thread():
        code = main(
            ["steer", str(store), str(config), "--layer", str(LAYER), "--feature", str(feature), "--variant", variant, *options]
        )
    return code, capsys.readouterr()


def kept(store):
    with open_store(store) as opened:
        return {result.variant: result for result in read_steering(store, opened.manifest.digest)}


@pytest.mark.parametrize(("variant", "mode"), [("gone", "restore"), ("more", "ablate")])
def test_undoing_a_planted_change_undoes_nearly_all_of_it(planted, capsys, variant, mode):
    code, printed = steered(planted, capsys, variant=variant)
    assert code == 0
    result = kept(planted[0])[variant]
    assert in_words(result) in printed.out
    assert result.mode == mode
    assert result.n_contexts == 20
    assert result.kl_before > 0.01
    assert result.kl_after < 0.05 * result.kl_before
    assert len(result.controls) == 20
    assert min(result.controls.values()) > 0.5 * result.kl_before
    assert result.rank == 1
    assert result.low < result.change < result.high < 0


def test_before_is_the_kl_of_the_two_models_worked_out_without_the_extractor(planted, world, capsys):
    """One context, by transformers alone: the planted edit written again, KL over the positions at and after the peak."""
    assert steered(planted, capsys, "--contexts", "1", "--random", "1")[0] == 0
    store, config = planted
    result = kept(store)["gone"]
    with open_store(store) as opened:
        best = opened.contexts(layer=LAYER, feature=0, variant="gone", ranking="decrease", limit=1).iloc[0]
        tokens = opened.sql("SELECT * FROM tokens WHERE document = ? ORDER BY position", [int(best["document"])])
    window = int(tokens["context"][best["position"]])
    ids = tokens.loc[tokens["context"] == window, "token_id"].tolist()
    peak = int(best["position"]) - int(tokens.loc[tokens["context"] == window, "position"].iloc[0])
    with np.load(store / "pilot.npz") as pilot:
        mean = torch.from_numpy(pilot[f"{LAYER}/mean"]).float()
    sae = SAE.load_from_disk(yaml.safe_load(config.read_text())["saes"][0]["path"])
    along = torch.nn.functional.normalize(sae.W_dec[0].detach(), dim=0)
    model = AutoModelForCausalLM.from_pretrained(world.base).eval()
    input_ids = torch.tensor([[model.config.bos_token_id, *ids]])
    (token,) = PreTrainedTokenizerFast.from_pretrained(world.base).encode(WORD, add_special_tokens=False)

    def project(_module, _inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        changed = hidden - ((hidden - mean) @ along)[..., None] * along
        hidden = torch.where((input_ids == token)[..., None], changed, hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with torch.inference_mode(), one_thread():
        base = model(input_ids).logits[0, 1 + peak :].double().log_softmax(-1)
        model.model.layers[LAYER].register_forward_hook(project)
        variant = model(input_ids).logits[0, 1 + peak :].double().log_softmax(-1)
    expected = torch.nn.functional.kl_div(variant, base, log_target=True, reduction="none").sum(-1)
    assert (result.n_contexts, result.n_positions) == (1, len(ids) - peak)
    assert result.kl_before == pytest.approx(float(expected.mean()), rel=1e-4)
    assert result.low is None


def test_the_same_seed_gives_the_same_result_and_another_one_other_controls(planted, capsys):
    results = []
    for seed in ("1", "1", "2"):
        assert steered(planted, capsys, "--random", "3", "--contexts", "4", "--seed", seed)[0] == 0
        results.append(kept(planted[0])["gone"])
    assert results[0] == results[1]
    assert results[0].controls.keys() != results[2].controls.keys()
    assert results[0].kl_after == pytest.approx(results[2].kl_after)


def test_logits_in_pieces_give_the_same(planted, capsys, monkeypatch):
    options = ("--random", "3", "--contexts", "3")
    assert steered(planted, capsys, *options)[0] == 0
    whole = kept(planted[0])["gone"]
    monkeypatch.setattr(predictions, "LOGITS_AT_ONCE", 1)
    assert steered(planted, capsys, *options)[0] == 0
    pieces = kept(planted[0])["gone"]
    assert pieces.kl_after == pytest.approx(whole.kl_after, rel=1e-4)
    assert list(pieces.controls.values()) == pytest.approx(list(whole.controls.values()), rel=1e-4)


def test_of_a_document_only_its_strongest_context_is_taken(planted):
    store, _ = planted
    with open_store(store) as opened:
        places = opened.sql(
            "SELECT document, position FROM contexts WHERE variant = 'gone' AND layer = ? AND feature = 0 "
            "AND ranking = 'decrease' ORDER BY rank",
            [LAYER],
        )
        plan = make_plan(opened, _config(planted), LAYER, 0, "gone", 100, 5, 0)
    assert places["document"].duplicated().any()
    first = {}
    for document, position in places.itertuples(index=False):
        first.setdefault(document, position)
    assert [passage.document for passage in plan.passages] == list(first)


def _config(planted):
    from extract.config import load_config

    return load_config(planted[1])


def test_tokens_that_do_not_count_are_not_moved(planted):
    """With every token a sink, nothing is moved; with none, something is."""
    with open_store(planted[0]) as opened, one_thread():
        plan = make_plan(opened, _config(planted), LAYER, 0, "gone", 1, 2, 0)
        intervention = steer._load(opened, _config(planted), plan)
        moved = intervention.divergences(plan.passages[0], plan)
        intervention.sink_norm = 0.0
        still = intervention.divergences(plan.passages[0], plan)
    assert len(set(moved)) == 4
    assert still.tolist() == pytest.approx([moved[0]] * 4)


# ---- an adapter ----


def test_an_adapter_is_checked_too(world, extracted, capsys):
    config = extracted.parent / "run.yaml"
    with open_store(extracted) as opened:
        row = opened.shifted_features(variant="tuned", layer=LAYER, sort="abs_shift", dense=True, limit=1).iloc[0]
    with one_thread():
        options = {"--layer": LAYER, "--feature": row["feature"], "--variant": "tuned"}
        code = main(["steer", str(extracted), str(config), *(str(piece) for pair in options.items() for piece in pair)])
    assert code == 0
    result = kept(extracted)["tuned"]
    sidecar_path(extracted).unlink()
    assert result.mode == ("restore" if row["shift"] < 0 else "ablate")
    assert result.kl_before > 0
    assert result.kl_after != result.kl_before


# ---- what is refused ----


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--layer": "7"}, "The store has no layer 7; its layers: 2."),
        ({"--feature": "64"}, "Layer 2 has no feature 64; they go from 0 to 63."),
        ({"--feature": "-1"}, "Layer 2 has no feature -1"),
        ({"--variant": "other"}, "The store has no variant 'other'; its variants: gone, more."),
        ({"--contexts": "0"}, "--contexts must be at least 1, not 0."),
        ({"--random": "-3"}, "--random must be at least 1, not -3."),
    ],
)
def test_what_the_store_does_not_have_is_refused(planted, capsys, change, sentence):
    store, config = planted
    options = {"--layer": "2", "--feature": "0", "--variant": "gone"} | change
    assert main(["steer", str(store), str(config), *(piece for pair in options.items() for piece in pair)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_feature_that_did_not_change_is_refused(planted, capsys):
    """The variant differs in one direction only: of the features orthogonal to it some read exactly the same."""
    query = "SELECT feature FROM feature_stats WHERE domain = 'all' AND variant = 'gone' AND shift = 0"
    with open_store(planted[0]) as opened:
        still = opened.sql(query)["feature"]
    assert len(still)
    code, printed = steered(planted, capsys, feature=int(still.iloc[0]))
    assert code == 2
    assert "nothing to restore or to ablate" in printed.err


def changed_config(planted, tmp_path, **changes):
    content = yaml.safe_load(planted[1].read_text()) | changes
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    return planted[0], tmp_path / "run.yaml"


def test_another_base_is_refused(planted, world, capsys, tmp_path):
    from tests.support.world import make_base

    other = make_base(tmp_path / "base", seed=1)
    code, printed = steered(changed_config(planted, tmp_path, base=str(other)), capsys)
    assert code == 2
    assert "The base 'base' of the configuration is not the one that the store was made with" in printed.err
    assert not printed.out


def test_another_configuration_of_the_same_weights_is_refused(planted, world, capsys, tmp_path):
    """The hashes of the weights agree; what is computed from them does not."""
    base = Path(shutil.copytree(world.base, tmp_path / "base"))
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.5}))
    code, printed = steered(changed_config(planted, tmp_path, base=str(base)), capsys)
    assert code == 2
    assert "The model 'base' has another configuration than when the store was made" in printed.err


def test_another_dtype_is_refused(planted, capsys, tmp_path):
    code, printed = steered(changed_config(planted, tmp_path, dtype="bfloat16"), capsys)
    assert code == 2
    assert "another dtype differs too" in printed.err


def test_another_variant_is_refused(planted, capsys, tmp_path):
    variants = {"gone": {"planted": {"layer": LAYER, "feature": 2}}}
    code, printed = steered(changed_config(planted, tmp_path, variants=variants), capsys)
    assert code == 2
    assert "The variant 'gone' of the configuration is not the one" in printed.err


def test_a_configuration_without_the_variant_is_refused(planted, capsys, tmp_path):
    variants = {"other": {"planted": {"layer": LAYER, "feature": 0}}}
    code, printed = steered(changed_config(planted, tmp_path, variants=variants), capsys)
    assert code == 2
    assert "The configuration has no variant 'gone' (its variants: other)" in printed.err


def test_another_dictionary_is_refused(planted, world, capsys, tmp_path):
    other = tmp_path / "sae"
    sae = SAE.load_from_disk(yaml.safe_load(planted[1].read_text())["saes"][0]["path"])
    with torch.no_grad():
        sae.threshold.mul_(1.5)
    sae.save_model(other)
    code, printed = steered(changed_config(planted, tmp_path, saes=[{"path": str(other)}]), capsys)
    assert code == 2
    assert f"The dictionary of layer {LAYER} of the configuration is not the one" in printed.err
    other.rename(tmp_path / "else")
    code, printed = steered(changed_config(planted, tmp_path, saes=[{"path": str(tmp_path / "else")}]), capsys)
    assert code == 2
    assert f"The configuration has no dictionary 'sae', which the store was made with at layer {LAYER}" in printed.err


def test_a_pilot_that_is_not_as_written_is_refused(planted, capsys, tmp_path):
    """A number of it would change the amounts that are given back."""
    store, config = planted
    damaged = shutil.copytree(store, tmp_path / "damaged")
    content = bytearray((damaged / PILOT_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / PILOT_FILE).write_bytes(content)
    code, printed = steered((damaged, config), capsys)
    assert code == 2 and "'pilot.npz' is missing or not as written" in printed.err
