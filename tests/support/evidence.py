"""The statistics of docs/metrics.md a second time, naively: strata, intervals, decoys and verdicts, feature by feature.

Long because it is a whole second implementation, to be read beside the definitions.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy import stats


def strata(labels: list[str]) -> list[str]:
    """The stratum of each cluster: its domain; those of fewer than 10 clusters together, or with the smallest domain."""
    sizes = Counter(labels)
    large = {label: size for label, size in sizes.items() if size >= 10}
    together = "small"
    if large and sum(size for size in sizes.values() if size < 10) < 10:
        together = min(sorted(large), key=large.get)
    return [label if label in large else together for label in labels]


def half_width(without: np.ndarray, labels: list[str]) -> float:
    """Half of a jackknife interval of 95 % from the estimates without each cluster; labels: the domain of each."""
    variance, satterthwaite, spread = 0.0, 0.0, 0.0
    groups = np.array(strata(labels))
    for group in sorted(set(groups)):
        values = without[groups == group]
        n, e2 = len(values), (values - values.mean()) ** 2
        part = (n + 1) / (n - 1) * e2.sum()
        variance += part
        satterthwaite += part**2 / (n - 1)
        spread += ((n + 1) / (n - 1)) ** 2 * ((e2 - e2.mean()) ** 2).sum()
    if variance == 0:
        return 0.0
    df = min(variance**2 / satterthwaite, 2 * variance**2 / spread if spread > 0 else np.inf)
    return stats.t.ppf(0.975, df) * np.sqrt(variance)


@dataclass(frozen=True)
class Pair:
    """Base and another side on the tokens that count, of one layer.

    Attributes:
        a, b: scaled codes, float64 [tokens, d_sae].
        cluster: of each token.
        size: relative shift.
    """

    a: np.ndarray
    b: np.ndarray
    cluster: np.ndarray
    size: float

    @cached_property
    def of_clusters(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of a and of b, [clusters, d_sae] each."""
        within = [self.cluster == name for name in sorted(set(self.cluster))]
        return np.array([self.a[w].sum(0) for w in within]), np.array([self.b[w].sum(0) for w in within])

    @cached_property
    def change(self) -> np.ndarray:
        """[d_sae]; NaN where it fires in neither."""
        a, b = self.a.sum(0), self.b.sum(0)
        return np.array([(y - x) / max(x, y) if max(x, y) > 0 else np.nan for x, y in zip(a, b, strict=True)])

    @cached_property
    def intervals(self) -> np.ndarray:
        """[d_sae, 2]: low and high of each change."""
        of_a, of_b = self.of_clusters
        found = []
        for a, b in zip(of_a.T, of_b.T, strict=True):
            fell = b.sum() < a.sum()
            low, high = rest_interval(a, b) if fell else rest_interval(b, a)
            ends = (low - 1, high - 1) if fell else (1 - high, 1 - low)
            found.append(np.clip(ends, -1, 1))
        return np.array(found)

    @cached_property
    def is_counted(self) -> np.ndarray:
        """bool [d_sae]: 50 firings and 10 even clusters, of the side with more activation."""
        of_a, of_b = self.of_clusters
        found = []
        for j in range(self.a.shape[1]):
            fell = of_b[:, j].sum() < of_a[:, j].sum()
            larger, fires = (of_a, self.a) if fell else (of_b, self.b)
            found.append((fires[:, j] > 0).sum() >= 50 and even_clusters(larger[:, j]) >= 10)
        return np.array(found)

    def scores(self, direction: int) -> np.ndarray:
        """[d_sae]: -ln(1 - |end nearer to 0|) of the changes in one direction, 0 of the others."""
        found = []
        for low, high in self.intervals:
            nearest = low if direction > 0 else -high
            found.append(-np.log1p(-min(nearest, 1 - 1e-12)) if nearest > 0 else 0.0)
        return np.array(found)


def even_clusters(of_cluster: np.ndarray) -> float:
    """(sum of l_c)^2 / sum of l_c^2; 0 of nothing."""
    return of_cluster.sum() ** 2 / (of_cluster**2).sum() if of_cluster.any() else 0.0


def rest_interval(larger: np.ndarray, smaller: np.ndarray) -> tuple[float, float]:
    """The interval of R = sum of s_c / sum of l_c, with one more cluster in which nothing changed; NaN below two clusters."""
    k = even_clusters(larger)
    if k < 2 - 1e-9:
        return np.nan, np.nan
    rest = smaller.sum() / larger.sum()
    scatter = ((smaller - rest * larger) ** 2).sum() / larger.sum() ** 2
    middle, half = around(rest, scatter, k)
    return middle - half, middle + half


def around(rest: float, scatter: float, k: float) -> tuple[float, float]:
    """Middle and half of that interval, from R and sum (s_c - R l_c)^2 / (sum l_c)^2."""
    own = stats.t.ppf(0.975, k - 1) * np.sqrt((k + 1) / (k - 1) * scatter) * k / (k + 1)
    return (k * rest + 1) / (k + 1), np.hypot(own, stats.norm.ppf(0.975) * (1 - rest) / (k + 1))


@dataclass(frozen=True)
class RecipeRun:
    """One run of a recipe at one layer: a variant beside its twins and the base at its norm.

    Attributes:
        rescaled: codes of the base at the variant's norm, [tokens, d_sae].
        fits: whether the gate is another than 'does not fit'.
    """

    own: Pair
    twins: list[Pair]
    rescaled: np.ndarray
    fits: bool

    @property
    def change_rescaled(self) -> np.ndarray:
        """[d_sae]: change of b against the codes of ``rescaled``; 0 where there is nothing."""
        c, b = self.rescaled.sum(0), self.own.b.sum(0)
        return np.array([(y - x) / max(x, y) if max(x, y) > 0 else 0.0 for x, y in zip(c, b, strict=True)])

    def asked(self) -> np.ndarray:
        """bool [d_sae]: whether it is in question: counted, material, by more than the norm, where the dictionary fits."""
        change = self.own.change
        with np.errstate(invalid="ignore"):
            material = (np.abs(change) >= 0.5) & (np.sign(change) * self.change_rescaled >= 0.5)
        return self.own.is_counted & material & self.fits

    def own_scores(self, direction: int) -> np.ndarray:
        """[d_sae]: of what is in question, less what the norm alone gives; 0 of the rest."""
        found = np.zeros(len(self.own.change))
        for j in np.flatnonzero(self.asked() & (np.sign(self.own.change) == direction)):
            stays, stays_beside_norm = (max(1 - abs(x), 1e-12) for x in (self.own.change[j], self.change_rescaled[j]))
            of_norm = max(np.log(stays_beside_norm / stays), 0.0)
            found[j] = max(self.own.scores(direction)[j] - of_norm, 0.0)
        return found

    def twin_scores(self, direction: int) -> list[np.ndarray]:
        """[d_sae] of each twin: of all its features that count, times how much larger the variant's change is."""
        ratios = [max(self.own.size / twin.size, 2 / 3) if twin.size else 1.0 for twin in self.twins]
        return [
            np.where(twin.is_counted, twin.scores(direction), 0.0) * ratio
            for twin, ratio in zip(self.twins, ratios, strict=True)
        ]


def false_share(score: float, targets: np.ndarray, decoys: list[np.ndarray], twins: int) -> float:
    """(1 / twins + decoys at least as high / draws) / (targets that are); the least of every bar up to this score."""
    shares = []
    for bar in targets[(targets > 0) & (targets <= score)]:
        beyond = sum(int((of_draw >= bar).sum()) for of_draw in decoys)
        shares.append((1 / twins + beyond / len(decoys)) / (targets >= bar).sum())
    return min(1.0, *shares)


def false_shares(targets: np.ndarray, decoys: list[np.ndarray], twins: int) -> np.ndarray:
    """q of each feature; NaN where it is not in question. twins: the fewest of a run."""
    return np.array([false_share(score, targets, decoys, twins) if score > 0 else np.nan for score in targets])


def least_claimed(targets: np.ndarray, q: np.ndarray, decoys: list[np.ndarray]) -> float:
    """The lowest score that is claimed; where none is, the highest decoy."""
    claimed = targets[q <= 0.05]
    return claimed.min() if len(claimed) else max(of_draw.max() for of_draw in decoys)


def like_features(runs: list[RecipeRun], least: int) -> np.ndarray:
    """The stratum of each feature, by quantiles of the features that count in every run; least: features of a stratum."""
    a = runs[0].own.a
    counted = np.all([run.own.is_counted for run in runs], axis=0)
    firings, n = (a > 0).sum(0), int(counted.sum())
    n_strengths = 3 if n >= 3 * least else 1
    n_frequencies = min(max(n // (n_strengths * least), 1), 5)
    strength = np.array([of.sum() / max(1, number) for of, number in zip(a.T, firings, strict=True)])
    out = np.zeros(len(firings), dtype=int)
    frequency = parted(firings, counted, n_frequencies)
    for number in range(n_frequencies):
        here = frequency == number
        out[here] = number * n_strengths + parted(strength[here], counted[here], n_strengths)
    return out


def parted(values: np.ndarray, counted: np.ndarray, n: int) -> np.ndarray:
    """In which of n parts, as large as each other among the counted, each value lies; on a bound: in the upper."""
    bounds = np.quantile(values[counted], np.arange(1, n) / n) if counted.any() else []
    return np.array([sum(value >= bound for bound in bounds) for value in values], dtype=int)


def units(runs: list[RecipeRun], direction: int, stratum: np.ndarray) -> np.ndarray:
    """What the scores of each feature are measured in: the 95th percentile of the twins' among like features, at least 0.1."""
    counted = np.all([run.own.is_counted for run in runs], axis=0)
    out = np.full(len(stratum), 0.1)
    for number in set(stratum[counted]):
        like = counted & (stratum == number)
        scores = [scores[like] for run in runs for scores in run.twin_scores(direction)]
        out[stratum == number] = max(0.1, np.percentile(np.concatenate(scores), 95))
    return out


def decided(runs: dict[str, RecipeRun], least: int = 60) -> dict[str, dict[str, np.ndarray]]:
    """Variant -> column of feature_stats -> [d_sae], of all runs of one recipe.

    Args:
        least: features of a stratum of like features.
    """
    stratum = like_features(list(runs.values()), least)
    q_twin, q_all, bars, highest = {}, {}, {}, {}
    all_fit = all(run.fits for run in runs.values())
    all_count = np.all([run.own.is_counted for run in runs.values()], axis=0)
    for direction in (-1, 1):
        unit = units(list(runs.values()), direction, stratum)
        targets = {name: run.own_scores(direction) / unit for name, run in runs.items()}
        decoys = {name: [scores / unit for scores in run.twin_scores(direction)] for name, run in runs.items()}
        for name in runs:
            q_twin[name, direction] = false_shares(targets[name], decoys[name], len(decoys[name]))
        shared = np.min(list(targets.values()), axis=0)
        recurring = [np.min(chosen, axis=0) for chosen in product(*decoys.values())]
        several = len(runs) > 1
        fewest = min(map(len, decoys.values()))
        q_all[direction] = false_shares(shared, recurring, fewest) if several else np.full(len(unit), np.nan)
        for name in runs:
            of = (shared, q_all[direction], recurring) if several else (targets[name], q_twin[name, direction], decoys[name])
            highest[name, direction] = of[0] > max(of_draw.max() for of_draw in of[2])
            if direction < 0:
                bars[name] = unit * least_claimed(*of)
    found = {}
    for name, run in runs.items():
        fell = run.own.change < 0
        columns = {
            "change_rescaled": run.change_rescaled,
            "q_twin": np.where(fell, q_twin[name, -1], q_twin[name, 1]),
            "q_replicates": np.where(fell, q_all[-1], q_all[1]),
            "detectable_loss": np.array(list(detectable(run.own, bars[name]))) + (0.0 if all_fit else np.nan),
            **ranges("twin", [twin.change for twin in run.twins]),
            **ranges("replicate", [each.own.change for each in runs.values()] if len(runs) > 1 else []),
        }
        reasons = [
            why(
                run,
                j,
                {key: values[j] for key, values in columns.items()},
                others=len(runs) - 1,
                all_fit=all_fit,
                all_count=all_count[j],
                is_highest=highest[name, -1 if fell[j] else 1][j],
            )
            for j in range(len(fell))
        ]
        verdict, reason = (np.array(words, dtype=object) for words in zip(*reasons, strict=True))
        found[name] = columns | {"verdict": verdict, "reason": reason}
    return found


def ranges(name: str, changes: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """The lowest and the highest of some sides' changes; nothing of none."""
    changes = list(changes)
    return {f"{name}_low": np.min(changes, axis=0), f"{name}_high": np.max(changes, axis=0)} if changes else {}


def detectable(pair: Pair, bar: np.ndarray) -> Iterable[float]:
    """The smallest loss of each feature, in steps of 1 %, whose score reaches the bar; NaN where none does."""
    of_a, of_b = pair.of_clusters
    for j in range(len(bar)):
        a, b = of_a[:, j], of_b[:, j]
        k, found = even_clusters(a), np.nan
        if (pair.a[:, j] > 0).sum() >= 50 and k >= 10:
            stays = b.sum() / a.sum()
            relative = ((b - stays * a) ** 2).sum() / a.sum() ** 2 / stays if stays else 0.0
            for loss in range(50, 101):
                middle, half = around(1 - loss / 100, relative * (1 - loss / 100), k)
                if middle + half < 1 and -np.log(middle + half) >= bar[j]:
                    found = loss / 100
                    break
        yield found


def why(
    run: RecipeRun, j: int, said: dict[str, float], *, others: int, all_fit: bool, all_count: bool, is_highest: bool
) -> tuple[str, str]:
    """Verdict and reason of one feature: the first in the list of docs/metrics.md that holds.

    Args:
        said: its columns so far.
        is_highest: beyond every decoy, in every run.
    """
    pair, change = run.own, run.own.change[j]
    fell = change < 0
    side, of_cluster = (pair.a, pair.of_clusters[0]) if fell else (pair.b, pair.of_clusters[1])
    low, high = pair.intervals[j]
    if (side[:, j] > 0).sum() < 50:
        return "could not be seen", "few_firings"
    if even_clusters(of_cluster[:, j]) < 10:
        return "could not be seen", "few_clusters"
    if not all_fit:
        return "does not fit", "run_misfit" if run.fits else "misfit"
    if abs(change) < 0.5:
        return ("could not be seen", "undetectable") if np.isnan(said["detectable_loss"]) else ("steady", "steady")
    if low <= 0 <= high:
        return "could not be seen", "uneven"
    if (-1 if fell else 1) * run.change_rescaled[j] < 0.5:
        return "change of norm", "norm"
    if said["q_replicates"] <= 0.05:
        return ("suppressed", "fell") if fell else ("amplified", "rose")
    stands_out = said["q_twin"] <= 0.05
    if stands_out and others == 0:
        return "this run only", "no_replicate"
    if is_highest:
        return "could not be seen", "too_few"
    if not stands_out:
        return "as in a random change", "like_twins"
    if not all_count:
        return "this run only", "replicate_unseen"
    return "this run only", "not_replicated" if np.isnan(said["q_replicates"]) else "recurs_by_chance"
