"""Controls: what is drawn, of whom it is borrowed, and what a run without some of them leaves out.

Long because each control is worked out a second time here.

Draws are checked against SplitMix64 in Python's own integers, donors against every pilot token looked at one by one.
"""

import hashlib
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from transformers import GPT2Config, GPT2LMHeadModel

import extract.measure.comparison
import extract.models.residuals
import extract.run.pipeline  # before anything is patched: it takes names of other modules when it is imported
from extract.__main__ import main
from extract.config import load_config
from extract.corpus.batches import Batch, Shard
from extract.corpus.documents import Document
from extract.corpus.token_index import TokenIndex
from extract.hashed_random import below, gaussian, mix, text_key
from extract.models.residuals import ResidualReader, read_again
from extract.models.sites import Site
from extract.pilot.controls import ControlInputs, Donors, Place, controlled, donor_rows, is_rerun
from store import open_store, verify
from store.errors import UserError
from store.points import RESID_POST
from store.read.store import Store
from tests.support.world import World, one_thread

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
CONTROLS = ("isotropic", "rescaled", "shuffled", "mean_shift")


# ---- draws ----


def splitmix(state: int) -> int:
    """The output that follows a state of SplitMix64."""
    state = (state + GOLDEN) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def mixed(key: int, *salts: int) -> int:
    """What ``mix`` says, in Python's integers."""
    out = splitmix(key & MASK)
    for salt in salts:
        out = splitmix(out ^ ((salt * GOLDEN) & MASK))
    return out


def key_of(*texts: str) -> int:
    """What ``text_key`` says."""
    return int(hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16], 16) >> 1


def run_again(source: str) -> bool:
    """Whether a document belongs to the tenth."""
    return (splitmix(mixed(key_of(source), key_of("rerun"))) >> 1) % 10 == 0


def test_mix_is_splitmix64() -> None:
    """The generator's published first outputs from seed 0, and Python's integers for keys and salts of either sign."""
    states = torch.tensor([0, GOLDEN - 2**64, (2 * GOLDEN) % 2**64])
    assert [value % 2**64 for value in mix(states).tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    keys, salts = torch.tensor([0, 1, -1, 2**62, -(2**63)]), torch.tensor([0, 5, -5, 2**61, 7])
    found = mix(keys, 12, salts, text_key("isotropic", "maths")).tolist()
    rows = zip(keys.tolist(), salts.tolist(), strict=True)
    assert [value % 2**64 for value in found] == [mixed(key, 12, salt, key_of("isotropic", "maths")) for key, salt in rows]


@pytest.mark.parametrize("width", [1, 7, 32, 33, 640])
def test_gaussian_does_not_depend_on_its_neighbours(width: int) -> None:
    """Bit for bit the same row, alone, in another order and among others."""
    keys = mix(torch.arange(50))
    rows, order = gaussian(keys, width), torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert rows.shape == (50, width)
    assert torch.equal(gaussian(keys[order], width), rows[order])
    for start, stop in ((0, 1), (3, 10), (49, 50)):
        assert torch.equal(gaussian(keys[start:stop], width), rows[start:stop])


def test_gaussian_is_standard_normal() -> None:
    """200,000 numbers: the first four moments within 5 standard errors, no gap to the normal distribution, no correlation."""
    rows = gaussian(mix(torch.arange(2000)), 100).double()
    values = rows.flatten().numpy()
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((values**power).mean() - expected) < 5 * np.sqrt(variance / len(values)), power
    assert stats.kstest(values, "norm").pvalue > 1e-4
    correlation = np.corrcoef(rows.numpy().T) - np.eye(100)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(2000)  # of 4,950 pairs


def test_below_is_even() -> None:
    """Every number as often as another, by a chi-squared test, for one limit and for one each."""
    keys = mix(torch.arange(70_000))
    counts = torch.bincount(below(keys, 7), minlength=7)
    assert len(counts) == 7 and stats.chisquare(counts.numpy()).pvalue > 1e-4
    limits = torch.arange(1, 70_001)
    draws = below(keys, limits)
    assert (draws >= 0).all() and (draws < limits).all() and draws[0] == 0


# ---- what is put in the variant's place ----


def token_index_of(rows: list[tuple[int, int, int, int, int]]) -> TokenIndex:
    """TokenIndex from (document, position, domain, segment, position_bin); the document's key is its number times 1000."""
    document, position, domain, segment, position_bin = (torch.tensor(column) for column in zip(*rows, strict=True))
    return TokenIndex(document, document * 1000, position, domain, segment, position_bin)


def random_token_index(n: int, seed: int, documents: int = 6) -> TokenIndex:
    """Few domains, segments and bins, so that cells are crowded, bare and missing; a document has one domain."""
    rng = np.random.default_rng(seed)
    document = rng.integers(0, documents, n)
    rows = zip(document, np.arange(n), document % 3, rng.integers(0, 3, n), rng.integers(0, 4, n), strict=True)
    return token_index_of([tuple(map(int, row)) for row in rows])


def residuals(n: int, seed: int, width: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """(h_a, delta), float32 [n, width], sizes of delta from a thousandth to all of h_a's."""
    generator = torch.Generator().manual_seed(seed)
    delta = torch.randn(n, width, generator=generator) * torch.logspace(-3, 0, n)[:, None]
    return torch.randn(n, width, generator=generator), delta


def inputs_of(seed: int = 9) -> ControlInputs:
    """A pilot's mean change and 80 donors."""
    _, delta = residuals(80, seed)
    return ControlInputs(delta.double().mean(0), Donors.of(delta, random_token_index(80, seed)))


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_does_not_depend_on_batches_or_order(control: str) -> None:
    """The same token gives the same residual bit for bit, whatever is beside it."""
    (base, delta), token_index, inputs = residuals(60, 1), random_token_index(60, 1), inputs_of()
    whole = controlled(control, base, delta, Place(token_index, 3, "maths"), inputs)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for rows in (order, torch.arange(7, 30), torch.tensor([59]), torch.tensor([5, 2])):
        alone = controlled(control, base[rows], delta[rows], Place(token_index.at(rows), 3, "maths"), inputs)
        assert torch.equal(alone, whole[rows])


@pytest.mark.parametrize("control", ["isotropic", "shuffled"])
def test_a_control_is_as_large_as_the_change(control: str) -> None:
    """Token by token, to float32's rounding of the sum; where nothing changed it is the base itself."""
    (base, delta), token_index, inputs = residuals(60, 2), random_token_index(60, 2), inputs_of()
    delta[7] = 0
    instead = controlled(control, base, delta, Place(token_index, 3, "maths"), inputs)
    size, moved = delta.double().norm(dim=1), (instead.double() - base.double()).norm(dim=1)
    assert torch.allclose(moved, size, rtol=1e-5, atol=1e-6)
    assert torch.equal(instead[7], base[7])


def test_isotropic_prefers_no_direction() -> None:
    """20,000 unit directions: their mean as near 0 and their scatter as near a sphere as chance has it.

    32 n |mean|^2 is chi-squared with 32 degrees of freedom (beyond 75 once in 30,000); eigenvalues of the scatter lie within
    (1 +- sqrt(32 / n))^2 (Marchenko and Pastur), 0.92 to 1.08.
    """
    n, width = 20_000, 32
    token_index = token_index_of([(i // 50, i % 50, 0, 0, 0) for i in range(n)])
    base, delta = torch.zeros(n, width), torch.ones(n, width) / width**0.5
    found = controlled("isotropic", base, delta, Place(token_index, 5, "maths"), inputs_of()).double()
    assert torch.allclose(found.norm(dim=1), torch.ones(n, dtype=torch.float64), atol=1e-6)
    assert width * n * found.mean(0).square().sum() < 75
    scatter = torch.linalg.eigvalsh(width * found.T @ found / n)
    assert scatter.min() > 0.9 and scatter.max() < 1.1
    assert stats.kstest((found @ delta[0].double() * width**0.5).numpy(), "norm").pvalue > 1e-3  # nor the change's own
    for other in (
        controlled("isotropic", base, delta, Place(token_index, 6, "maths"), inputs_of()),  # another layer
        controlled("isotropic", base, delta, Place(token_index, 5, "safety"), inputs_of()),  # another variant
        found.roll(1, 0),  # the token before
        found.roll(50, 0),  # the same place in another document
    ):
        cosine = (found * other.double()).sum(1)
        assert abs(cosine.mean()) < 5 / (width * n) ** 0.5
        assert cosine.square().mean() * width == pytest.approx(1, abs=0.06)  # 5 standard errors, sqrt(2 / n) each


def test_mean_shift_is_the_pilots_mean() -> None:
    """h_a + mean(delta), whatever the token's own change."""
    (base, delta), inputs = residuals(10, 3), inputs_of()
    found = controlled("mean_shift", base, delta, Place(random_token_index(10, 3), 3, "maths"), inputs)
    assert torch.equal(found, base + inputs.mean_delta.float())


def test_rescaled_is_the_base_at_the_variants_norm() -> None:
    """h_a ||h_b|| / ||h_a||, by hand: (3, 4) at the norm of (0, 10) is (6, 8); and 0 stays 0, and becomes it."""
    base = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 1.0], [5.0, 12.0]])
    variant = torch.tensor([[0.0, 10.0], [1.0, 0.0], [0.0, 0.0], [4.75, 11.4]])
    place = Place(random_token_index(4, 3), 3, "maths")
    found = controlled("rescaled", base, variant - base, place)
    torch.testing.assert_close(found, torch.tensor([[6.0, 8.0], [0.0, 0.0], [0.0, 0.0], [4.75, 11.4]]))


def test_a_rescaled_residual_less_its_mean_stays_so() -> None:
    base, delta = (rows - rows.mean(1, keepdim=True) for rows in residuals(10, 3))
    found = controlled("rescaled", base, delta, Place(random_token_index(10, 3), 3, "maths", centred=True))
    torch.testing.assert_close(found.mean(1), torch.zeros(10), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), (base + delta).norm(dim=1))


def test_an_unknown_control_is_an_error() -> None:
    base, delta = residuals(3, 3)
    with pytest.raises(ValueError, match="upside_down"):
        controlled("upside_down", base, delta, Place(random_token_index(3, 3), 3, "maths"), inputs_of())


# ---- donors ----


def eligible(donors: TokenIndex, token_index: TokenIndex, row: int) -> tuple[int, list[int]]:
    """(level, donors) of the first level that has any, one by one; level 4: none."""
    document = token_index.document_key[row]
    for level, fields in enumerate([("domain", "segment", "position_bin"), ("domain", "segment"), ("domain",), ()]):
        found = [
            i for i in range(len(donors))
            if donors.document_key[i] != document and all(getattr(donors, f)[i] == getattr(token_index, f)[row] for f in fields)
        ]  # fmt: skip
        if found:
            return level, found
    return 4, []


def test_donors_by_looking_at_every_one() -> None:
    """The first level that has a donor of another document, and no other donor than one of that level."""
    seen = set()
    for n_donors, documents in ((80, 6), (12, 6), (3, 2), (5, 1)):
        donors = Donors(torch.zeros(n_donors, 4, dtype=torch.float16), random_token_index(n_donors, n_donors, documents))
        token_index = random_token_index(200, 5, documents)
        chosen = donors.choose(token_index, mix(torch.arange(200))).tolist()
        for row, donor in enumerate(chosen):
            level, allowed = eligible(donors.token_index, token_index, row)
            seen.add(level)
            assert donor in (allowed or [-1]), (row, level)
    assert seen == {0, 1, 2, 3, 4}


LEVELS = [(0, 4, 0, 1, 2), (2, 9, 0, 1, 2), (3, 0, 0, 1, 0), (4, 0, 0, 2, 2), (5, 0, 1, 1, 2)]
"""A donor of the token's own document, then one each of its bin, of its segment, of its domain, and of another domain."""


@pytest.mark.parametrize("missing", range(5))
def test_donors_fall_back_in_order(missing: int) -> None:
    """Without the nearer levels the next one lends; where only the token's own document is left, nothing does."""
    left = token_index_of([LEVELS[0], *LEVELS[1 + missing :]])
    donors = Donors(torch.eye(len(left), 4, dtype=torch.float16), left)
    token = token_index_of([(0, 5, 0, 1, 2)])
    expected = 1 if missing < 4 else -1
    for key in range(20):
        assert donors.choose(token, mix(torch.tensor([key]))).tolist() == [expected]


def test_every_donor_of_a_level_is_as_likely() -> None:
    """Of 9 in the cell, 2 are of the token's own document: the other 7 by a chi-squared test."""
    donors = Donors(torch.zeros(11, 4, dtype=torch.float16), token_index_of(
        [(1 + i // 2, i, 0, 0, 0) for i in range(9)] + [(8, 0, 0, 0, 1), (9, 0, 1, 0, 0)]
    ))  # fmt: skip
    n = 14_000
    chosen = donors.choose(token_index_of([(2, i, 0, 0, 0) for i in range(n)]), mix(torch.arange(n)))
    counts = torch.bincount(chosen, minlength=11).numpy()
    assert counts[[2, 3, 9, 10]].sum() == 0
    assert stats.chisquare(counts[[0, 1, 4, 5, 6, 7, 8]]).pvalue > 1e-4


def test_shuffled_borrows_the_donors_direction() -> None:
    """The token's own size, the direction of the donor that was chosen, to float16's rounding."""
    (base, delta), token_index, inputs = residuals(40, 4), random_token_index(40, 4), inputs_of()
    _, lent = residuals(80, 9)
    found = controlled("shuffled", torch.zeros_like(base), delta, Place(token_index, 3, "maths"), inputs)
    keys = mix(token_index.document_key, token_index.position, 3, text_key("shuffled", "maths"))
    for row, donor in enumerate(inputs.donors.choose(token_index, keys).tolist()):
        expected = lent[donor] / lent[donor].norm() * delta[row].norm()
        assert torch.allclose(found[row], expected, rtol=0, atol=2e-3 * float(delta[row].norm()))
        assert donor in eligible(inputs.donors.token_index, token_index, row)[1]


def test_tokens_that_did_not_change_lend_nothing() -> None:
    """They have no direction; and where nobody lends, the control is the base."""
    base, delta = residuals(6, 5)
    delta[[0, 4]] = 0
    token_index = token_index_of([(i, i, 0, 0, 0) for i in range(6)])
    donors = Donors.of(delta, token_index)
    assert donors.token_index.document.tolist() == [1, 2, 3, 5]
    assert torch.allclose(donors.direction.float().norm(dim=1), torch.ones(4), atol=1e-3)
    for nobody in (Donors.of(torch.zeros(6, 32), token_index), Donors.of(delta[:2], token_index.at(torch.tensor([1, 1])))):
        alone = token_index.at(torch.tensor([1]))
        borrowed = ControlInputs(delta.double().mean(0), nobody)
        found = controlled("shuffled", base[:1], delta[1:2], Place(alone, 3, "m"), borrowed)
        assert torch.equal(found, base[:1])


def test_donors_are_kept_by_a_hash() -> None:
    """At most the limit, in reading order, the same tokens whatever their order; all where they are few."""
    token_index = random_token_index(300, 6)
    assert donor_rows(token_index).tolist() == list(range(300))
    kept = donor_rows(token_index, limit=40)
    assert len(kept) == 40 and kept.tolist() == sorted(kept.tolist())
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    assert set(order[donor_rows(token_index.at(order), limit=40)].tolist()) == set(kept.tolist())


# ---- the base once more ----


def test_a_tenth_of_the_documents_is_run_again() -> None:
    """By the hash of their source: all tokens of a document or none, 10 % of many (5 standard errors)."""
    keys = [key_of(f"doc-{i}") for i in range(4000)]
    token_index = token_index_of([(i // 2, i % 2, 0, 0, 0) for i in range(8000)])
    document_key = torch.tensor(keys)[token_index.document]
    chosen = is_rerun(TokenIndex(token_index.document, document_key, token_index.position, *[token_index.domain] * 3))
    assert chosen[::2].tolist() == chosen[1::2].tolist() == [run_again(f"doc-{i}") for i in range(4000)]
    assert abs(chosen.double().mean() - 0.1) < 5 * (0.09 / 4000) ** 0.5


@pytest.mark.parametrize(("room", "shape"), [(6, (2, 6)), (5, (3, 5))])
def test_running_again_stays_within_the_models_positions(room: int, shape: tuple[int, int]) -> None:
    """A model of as many positions as the context has tokens cannot take a wider batch: there it is a longer one."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=room, n_embd=8, n_layer=2, n_head=2)).eval()
    shapes = []

    class Models:
        device, shape = "cpu", model.config

        def width(self, _site: Site) -> int:
            return 8

        def active(self, name: str, input_ids: torch.Tensor):
            assert name == "base"
            shapes.append(tuple(input_ids.shape))
            return nullcontext(model)

    sites = [Site(1, RESID_POST)]
    rows = np.array([[-1, 0, 1, 2, 3], [-1, 4, 5, 6, -1], [-1, 7, 8, 9, -1]])
    batch = Batch(np.arange(15).reshape(3, 5), (rows >= 0).astype(int) | np.array([1, 0, 0, 0, 0]), rows)
    wanted = np.zeros(10, dtype=bool)
    wanted[[0, 1, 2, 3, 8]] = True
    found, again = read_again(Models(), batch, wanted, sites)
    assert shapes == [shape]
    assert found.tolist() == [0, 1, 2, 3, 8]
    _, once = extract.models.residuals.read_residuals(Models(), ["base"], batch, sites)
    (site,) = sites
    assert torch.allclose(again[site], once["base"][site][found], atol=1e-5)
    assert read_again(Models(), batch, np.zeros(10, dtype=bool), sites) is None


# ---- whole runs ----


@dataclass
class Heard:
    """What a run asked for.

    Attributes:
        controls: (arguments of ``controlled``, what it gave).
        again: (names of the models, the batch that was run again, the batch that it is of).
    """

    controls: list[tuple] = field(default_factory=list)
    again: list[tuple[list[str], Batch, Batch]] = field(default_factory=list)


def heard_run(config: Path, out: Path) -> tuple[Store, Heard]:
    """Extract a store, listening to what is put in the variant's place and to what is run again."""
    heard = Heard()
    with pytest.MonkeyPatch.context() as patch, one_thread():
        real_control, real_again = extract.measure.comparison.controlled, ResidualReader.read_again
        real_read, latest = extract.models.residuals.read_residuals, []

        def control(*arguments):
            heard.controls.append((arguments, real_control(*arguments)))
            return heard.controls[-1][1]

        def again(reader, batch, *rest):
            latest.append(batch)
            found = real_again(reader, batch, *rest)
            latest.clear()
            return found

        def read(models, names, batch, sites):
            if latest:  # read_again's own
                heard.again.append((names, batch, latest[-1]))
            return real_read(models, names, batch, sites)

        patch.setattr(extract.measure.comparison, "controlled", control)
        patch.setattr(ResidualReader, "read_again", again)
        patch.setattr(extract.models.residuals, "read_residuals", read)
        assert main(["run", str(config), "--out", str(out)]) == 0
    assert verify(out) == []
    return open_store(out), heard


def configured(world: World, folder: Path, **changes) -> Path:
    """One layer of the small world."""
    folder.mkdir(exist_ok=True)
    return world.config(folder, saes=[{"path": str(world.saes[2])}], promoted_tokens=0, **changes)


@pytest.fixture(scope="module")
def full(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Heard]:
    """Every control, and a twin."""
    folder = tmp_path_factory.mktemp("full")
    return heard_run(configured(world, folder, controls=["rerun", *CONTROLS], twins=1), folder / "store")


def by_token(heard: Heard) -> dict[tuple, tuple[bytes, np.ndarray]]:
    """(control, variant, document's key, position) -> (bits of h_a and delta, the residual in the variant's place)."""
    out = {}
    for (control, base, delta, place, _), found in heard.controls:
        given = torch.cat([base, delta], dim=1).numpy()
        keys = place.token_index.document_key.tolist(), place.token_index.position.tolist()
        for row, at in enumerate(zip(*keys, strict=True)):
            out[control, place.variant, *at] = given[row].tobytes(), found[row].numpy()
    return out


def test_residuals_of_a_run_do_not_depend_on_its_batches(full: tuple[Store, Heard]) -> None:
    """All tokens of the run at once, in another order, from the same h_a and delta: the same residuals bit for bit."""
    _, heard = full
    groups = defaultdict(list)
    for arguments, found in heard.controls:
        groups[arguments[0]].append((arguments, found))
    assert set(groups) == set(CONTROLS)
    for control, calls in groups.items():
        assert len(calls) > 10
        base, delta = (torch.cat([arguments[k] for arguments, _ in calls]) for k in (1, 2))
        columns = TokenIndex.__dataclass_fields__
        indices = [arguments[3].token_index for arguments, _ in calls]
        token_index = TokenIndex(*(torch.cat([getattr(index, name) for index in indices]) for name in columns))
        order = torch.randperm(len(base), generator=torch.Generator().manual_seed(2))
        place, inputs = calls[0][0][3:]
        instead = replace(place, token_index=token_index.at(order))
        found = controlled(control, base[order], delta[order], instead, inputs)
        assert torch.equal(found, torch.cat([found for _, found in calls])[order]), control


def test_shards_do_not_matter(world: World, tmp_path: Path) -> None:
    """However documents are grouped, equal h_a and delta are given the same residual bit for bit.

    A batch of one window, as most are here, gives the same bits in any company; the others differ by float32's rounding.
    """
    small = {"tokens": 500, "batch_tokens": 24, "controls": list(CONTROLS)}
    runs = [
        heard_run(configured(world, tmp_path / str(size), shard_tokens=size, **small), tmp_path / str(size) / "store")
        for size in (80, 4000)
    ]
    (many, first), (one, second) = runs
    assert len(list((many.path / "latents").iterdir())) > 4 and len(list((one.path / "latents").iterdir())) == 1
    ours, theirs = by_token(first), by_token(second)
    assert set(ours) == set(theirs) and len(ours) > 3 * 400
    same = [place for place in ours if ours[place][0] == theirs[place][0]]
    assert len(same) > 0.9 * len(ours)
    for place in ours:
        if ours[place][0] == theirs[place][0]:
            np.testing.assert_array_equal(ours[place][1], theirs[place][1])
        else:
            np.testing.assert_allclose(ours[place][1], theirs[place][1], atol=1e-3)
    assert not first.again
    assert set(one.sql("SELECT DISTINCT control FROM layer_metrics")["control"]) == {"observed", *CONTROLS}


def test_the_rerun_reads_its_documents_only(full: tuple[Store, Heard]) -> None:
    """The base alone, in a batch of another shape, on the documents of the tenth; what comes back is nearly the same."""
    store, heard = full
    documents = store.sql("SELECT document, source, n_tokens FROM documents")
    chosen = documents[documents["source"].map(run_again)]
    assert 1 <= len(chosen) < len(documents) / 4
    for names, again, batch in heard.again:
        assert names == ["base"] and again.input_ids.shape[1] == batch.input_ids.shape[1] + 1
        assert np.isin(again.rows, batch.rows).all()
    rows = store.sql("SELECT * FROM layer_metrics WHERE control = 'rerun'")
    whole = rows[(rows["domain"] == "all") & (rows["segment"] == "all")].set_index("metric")
    assert (whole["n_documents"] == len(chosen)).all() and (whole["n_tokens"] <= chosen["n_tokens"].sum()).all()
    assert (whole["n_tokens"] > 0.9 * chosen["n_tokens"].sum()).all()
    for metric in ("cosine", "centred_cosine", "overlap", "weighted_overlap", "latent_cosine", "l0_inflation"):
        assert whole["value"][metric] == pytest.approx(1, abs=1e-5), metric
    assert 0 <= whole["value"]["relative_shift"] < 1e-5 and whole["value"]["l1_divergence"] < 1e-3
    assert whole["value"]["fvu_variant"] == pytest.approx(whole["value"]["fvu_base"], rel=1e-5)
    assert rows.loc[rows["metric"] == "fvu_variant", "excess"].isna().all()
    assert whole.loc[["overlap", "l0_inflation"], "excess"].notna().all()


OF_EVIDENCE = [
    "detectable_loss", "change_rescaled", "twin_low", "twin_high", "q_twin", "replicate_low", "replicate_high", "q_replicates",
    "verdict", "reason",
]  # fmt: skip
"""What takes twins, and the base at the variant's norm."""


def rows_of(store: Store, table: str) -> pd.DataFrame:
    """Everything in a table, in order of its key."""
    return store.sql(f"SELECT * FROM {table} ORDER BY ALL")


@pytest.mark.parametrize("twins", [0, 1])
def test_without_any_control(world: World, full: tuple[Store, Heard], tmp_path: Path, twins: int) -> None:
    """The variant itself, and a twin or none: no verdict, everything else as with controls."""
    store, heard = heard_run(configured(world, tmp_path, controls=[], twins=twins), tmp_path / "store")
    assert not heard.controls and not heard.again
    ours, theirs = (rows_of(s, "feature_stats") for s in (store, full[0]))
    assert ours[OF_EVIDENCE].isna().all(axis=None) and theirs["verdict"].notna().any()
    pd.testing.assert_frame_equal(ours.drop(columns=OF_EVIDENCE), theirs.drop(columns=OF_EVIDENCE))
    ours, theirs = (rows_of(s, "layer_metrics") for s in (store, full[0]))
    kept = ["observed", "twin_1"][: 1 + twins]
    assert set(ours["control"]) == set(kept)
    pd.testing.assert_frame_equal(ours, theirs[theirs["control"].isin(kept)].reset_index(drop=True))
    for table in ("spectrum", "feature_segments", "contexts", "features", "fit", "document_sums"):
        pd.testing.assert_frame_equal(rows_of(store, table), rows_of(full[0], table))


def test_verdicts_take_the_rescaled_control_only(world: World, full: tuple[Store, Heard], tmp_path: Path) -> None:
    """Verdicts as with every control: the others add their own rows and change nothing else."""
    store, heard = heard_run(configured(world, tmp_path, controls=["rescaled"], twins=1), tmp_path / "store")
    assert {arguments[0] for arguments, _ in heard.controls} == {"rescaled"} and not heard.again
    ours, theirs = (rows_of(s, "feature_stats") for s in (store, full[0]))
    pd.testing.assert_frame_equal(ours, theirs)
    assert ours.loc[ours["domain"] == "all", "verdict"].notna().all()
    ours, theirs = (rows_of(s, "layer_metrics") for s in (store, full[0]))
    assert set(theirs["control"]) == {"observed", "rerun", "twin_1", *CONTROLS}
    theirs = theirs[theirs["control"].isin(["observed", "rescaled", "twin_1"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, theirs)


def test_a_control_given_twice_is_refused(world: World, tmp_path: Path) -> None:
    """It would be counted twice."""
    with pytest.raises(UserError, match="controls"):
        load_config(world.config(tmp_path, controls=["isotropic", "rerun", "isotropic"]))


def test_places_of_a_shard() -> None:
    """By hand: two documents of 30 and 3 tokens, windows of 26: bins 0-7, 8-23, 24-25, then from the next window's start."""
    documents = [
        Document(name, domain, np.zeros(n, dtype=np.int32), np.full(n, segment, dtype=np.int8))
        for name, domain, n, segment in (("x", "b", 30, 3), ("y", "a", 3, 1))
    ]
    token_index = TokenIndex.of(Shard(0, 0, tuple(documents)), ["a", "b"], 26)
    assert token_index.document.tolist() == [0] * 30 + [1] * 3
    assert token_index.position.tolist() == [*range(30), 0, 1, 2]
    assert token_index.domain.tolist() == [1] * 30 + [0] * 3
    assert token_index.segment.tolist() == [3] * 30 + [1] * 3
    assert token_index.position_bin.tolist() == [0] * 8 + [1] * 16 + [2] * 2 + [0] * 4 + [0] * 3
    assert set(token_index.document_key[:30].tolist()) == {key_of("x")} and token_index.document_key[31] == key_of("y")
