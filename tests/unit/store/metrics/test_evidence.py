"""From sums to verdicts: a planted loss that must be claimed, nulls that must not, and what decides, worked by hand."""

import numpy as np
import pytest

from store.metrics.evidence import Member, Recipe, Side

N_FEATURES, N_CLUSTERS = 400, 60
LOST, DOUBLED = slice(0, 30), slice(30, 60)


def side(a: np.ndarray, b: np.ndarray, size: float = 0.2) -> Side:
    """From scaled activation by cluster, [clusters, features]; a feature fires once a unit of activation."""
    fires_a, fires_b = np.ceil(a).sum(axis=0), np.ceil(b).sum(axis=0)
    both = np.minimum(fires_a, fires_b)
    sums = {
        "a": a.sum(axis=0), "b": b.sum(axis=0), "cluster_a2": (a**2).sum(axis=0), "cluster_b2": (b**2).sum(axis=0),
        "cluster_ab": (a * b).sum(axis=0), "n11": both, "n10": fires_a - both, "n01": fires_b - both,
    }  # fmt: skip
    return Side({name: value.astype(float) for name, value in sums.items()}, size)


def base(random: np.random.Generator) -> np.ndarray:
    return random.gamma(4.0, 1.0, (N_CLUSTERS, N_FEATURES))


def noised(a: np.ndarray, random: np.random.Generator, spread: float = 0.3) -> np.ndarray:
    """What a random change of the weights does: every feature by a factor of its own, log-normal, and a little by cluster."""
    return a * np.exp(spread * random.standard_normal(N_FEATURES) + 0.1 * random.standard_normal(a.shape))


def member(a: np.ndarray, b: np.ndarray, random: np.random.Generator, fits: bool = True, rescaled: np.ndarray | None = None):
    twins = [side(a, noised(a, random)) for _ in range(2)]
    return Member(side(a, b), twins, a.sum(axis=0) if rescaled is None else rescaled, fits)


def planted(a: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same random change, and besides 30 features that lose 95 % and 30 that become eightfold."""
    b = noised(a, random)
    b[:, LOST] = 0.05 * a[:, LOST]
    b[:, DOUBLED] = 8 * a[:, DOUBLED]
    return b


def judged(n_runs: int, change=planted, seed: int = 0, **options) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    a = base(random)
    runs = {f"run{n}": member(a, change(a, random), random, **options) for n in range(n_runs)}
    return list(Recipe(runs, 0.5).columns().values())


def test_what_every_run_shows_beyond_its_twins_is_claimed() -> None:
    for columns in judged(2):
        assert set(columns["verdict"][LOST]) == {"suppressed"}
        assert set(columns["verdict"][DOUBLED]) == {"amplified"}
        assert not set(columns["verdict"][60:]) & {"suppressed", "amplified"}
        np.testing.assert_array_less(columns["q_replicates"][LOST], 0.05)


def test_one_run_is_never_a_claim() -> None:
    (columns,) = judged(1)
    assert set(columns["verdict"][LOST]) == {"this run only"}
    assert set(columns["reason"][LOST]) == {"no_replicate"}
    assert "q_replicates" not in columns


def drifting(a: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random change so large that a third of the features lose half or double."""
    return noised(a, random, spread=0.8)


def drift_member(a: np.ndarray, random: np.random.Generator, norm: float = 1.0, decoys: bool = True) -> Member:
    """A run that trained nothing, at another norm, beside twins of the same law; or beside twins that changed nothing."""
    twins = [side(a, drifting(a, random) if decoys else a) for _ in range(2)]
    return Member(side(a, norm * drifting(a, random)), twins, norm * a.sum(axis=0), True)


def claims_of_nothing(n_runs: int, **options) -> list[int]:
    """Features claimed, or told as of this run only, in stores where nothing was trained."""
    found = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        a = base(random)
        group = Recipe({f"run{n}": drift_member(a, random, **options) for n in range(n_runs)}, 0.5)
        verdict = group.columns()["run0"]["verdict"]
        found.append(int(np.isin(verdict, ("suppressed", "amplified", "this run only")).sum()))
    return found


@pytest.mark.parametrize("norm", [1.0, 0.4, 2.0])
@pytest.mark.parametrize("n_runs", [1, 2, 3])
def test_random_changes_of_the_weights_claim_nothing(n_runs: int, norm: float) -> None:
    """30 stores each: the share of stores with a claim stays near the level, at another norm of every run too."""
    assert np.mean(np.array(claims_of_nothing(n_runs, norm=norm)) > 0) <= 0.1


def test_it_is_the_twins_that_keep_random_changes_from_being_claimed() -> None:
    """Beside twins that changed nothing, the same runs claim dozens."""
    assert np.median(claims_of_nothing(2, decoys=False)) > 20


def test_a_few_complete_losses_cannot_be_told_by_counting() -> None:
    """Four features vanish in both runs, beyond all that twins do: too few, which is not "as in a random change"."""
    random = np.random.default_rng(8)
    a = base(random)
    runs = {}
    for name in ("one", "two"):
        b = noised(a, random)
        b[:, :4] = 0
        runs[name] = member(a, b, random)
    columns = Recipe(runs, 0.5).columns()["one"]
    assert set(columns["reason"][:4]) == {"too_few"}
    assert set(columns["verdict"][:4]) == {"could not be seen"}


def test_twins_of_less_than_half_the_size_are_no_comparison() -> None:
    a = np.ones((N_CLUSTERS, 3))

    def beside(*sizes: float) -> Member:
        return Member(side(a, a, size=0.2), [side(a, a, size=size) for size in sizes], a.sum(axis=0), True)

    assert beside(0.1, 0.9).is_comparable
    assert not beside(0.2, 0.09).is_comparable
    assert not beside(0.0).is_comparable
    assert not beside().is_comparable


def test_two_runs_that_changed_other_features_claim_nothing_together() -> None:
    random = np.random.default_rng(1)
    a = base(random)
    first, second = noised(a, random), noised(a, random)
    first[:, :30], second[:, 30:60] = 0.05 * a[:, :30], 0.05 * a[:, 30:60]
    columns = Recipe({"one": member(a, first, random), "two": member(a, second, random)}, 0.5).columns()
    assert set(columns["one"]["reason"][:30]) == {"not_replicated"}
    assert set(columns["two"]["reason"][30:60]) == {"not_replicated"}
    np.testing.assert_allclose(columns["one"]["replicate_low"][:30], -0.95, atol=1e-9)


def test_a_change_of_the_norm_alone_is_no_claim() -> None:
    """The base at the variant's norm has what the variant has: nothing is left of the change."""
    random = np.random.default_rng(2)
    a = base(random)
    b = planted(a, random)
    runs = {name: member(a, b, random, rescaled=b.sum(axis=0)) for name in ("one", "two")}
    for columns in Recipe(runs, 0.5).columns().values():
        assert set(columns["reason"][:60]) == {"norm"}


def test_a_dictionary_that_does_not_fit_proves_nothing() -> None:
    (first, _) = judged(2, fits=False)
    assert set(first["verdict"][LOST]) == {"does not fit"}


def test_a_twin_that_is_larger_counts_less() -> None:
    """Its decoys' scores are multiplied by 0.2 / 0.4, but by two thirds at least; a smaller one's by more."""
    random = np.random.default_rng(4)
    a = base(random)
    b = noised(a, random)
    large = Member(side(a, b), [side(a, noised(a, random), size=0.4)], a.sum(axis=0), True)
    assert large.size_ratio(large.twins[0]) == pytest.approx(2 / 3)  # no less
    small = Member(side(a, b), [side(a, noised(a, random), size=0.16)], a.sum(axis=0), True)
    assert small.size_ratio(small.twins[0]) == pytest.approx(1.25)
    unchanged = Member(side(a, a, size=0.0), [side(a, a, size=0.0)], a.sum(axis=0), True)
    assert unchanged.size_ratio(unchanged.twins[0]) == 1.0


def test_range_of_twins_and_counts_of_halved_and_doubled() -> None:
    """Three features of 60 even clusters: a quarter stays, four times, as it was."""
    a = np.ones((N_CLUSTERS, 3))
    own, first, second = (side(a, a * np.array(factors)) for factors in ((0.25, 4, 1), (0.5, 1, 1), (1, 2, 0.9)))
    of_twins = Member(own, [first, second], a.sum(axis=0), True)
    low, high = of_twins.twin_range()
    np.testing.assert_allclose(low, [-0.5, 0, -0.1])
    np.testing.assert_allclose(high, [0, 0.5, 0])
    assert own.counts == {"n_halved": 1.0, "n_doubled": 1.0}


def test_rare_features_could_not_be_seen() -> None:
    """49 firings, or all in nine clusters: whatever became of them."""
    a = np.ones((N_CLUSTERS, 3))
    a[49:, 0], a[9:, 1] = 0, 0
    a[:9, 1] = 10
    runs = {name: Member(side(a, 0 * a), [side(a, a)], a.sum(axis=0), True) for name in ("one", "two")}
    assert Recipe(runs, 0.5).columns()["one"]["reason"].tolist()[:2] == ["few_firings", "few_clusters"]


def test_the_smallest_loss_that_would_have_been_claimed_is_claimed_where_it_happens() -> None:
    """A feature loses what the tool calls detectable: it is claimed, where the same bar stands; a tenth less is not."""
    random = np.random.default_rng(6)
    a = base(random)
    first, second = planted(a, random), planted(a, random)
    first[:, 60], second[:, 60] = a[:, 60], a[:, 60]
    runs = {"one": member(a, first, random), "two": member(a, second, random)}
    group = Recipe(runs, 0.5)
    least = group.columns()["one"]["detectable_loss"][60]
    assert 0.5 <= least < 0.9
    for loss, claimed in ((least + 0.02, True), (least - 0.1, False)):
        change = side(a[:, 60:61], a[:, 60:61] * (1 - loss)).change
        score = -np.log1p(change.nearest[0])
        assert (score >= group.falls.unit[60] * group.falls.bar("one")) == claimed
