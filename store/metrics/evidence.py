"""Whether the features of a layer changed by this training: each run beside its twins, and beside its replicates. Pure numpy.

The chain from sums to verdicts, in one place: how much each feature changed (store/metrics/shares.py), what random changes
of the weights of that size do (store/metrics/decoys.py), whether every replicate shows it, and what can be said
(store/metrics/verdicts.py). Definitions: docs/metrics.md, "Evidence about a feature".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from store.metrics import decoys
from store.metrics.shares import Change, change_between, half_width, scatter, shrunk, widths
from store.metrics.thresholds import Q
from store.metrics.verdicts import Findings, is_counted, is_material, reasons, verdicts

HALF = 0.5

LEAST_RATIO = 2 / 3
"""A decoy's score is divided by how much larger its twin is, up to 1.5 times: beyond that scores do not grow in proportion."""

LOSS_STEP = 0.01
"""The smallest loss that would have been claimed is looked for in such steps."""


@dataclass(frozen=True)
class Side:
    """One run beside the base: a variant, or a twin of it.

    Attributes:
        sums: FEATURE_SUMS over all domains, [d_sae] each.
        size: relative shift at the layer.
    """

    sums: Mapping[str, np.ndarray]
    size: float

    @cached_property
    def change(self) -> Change:
        """Of every feature."""
        return Change.of(self.sums)

    @cached_property
    def firings(self) -> np.ndarray:
        """int64 [d_sae]: of base or variant, whichever has more activation."""
        fell = self.sums["b"] < self.sums["a"]
        return self.sums["n11"] + np.where(fell, self.sums["n10"], self.sums["n01"])

    @cached_property
    def is_counted(self) -> np.ndarray:
        """bool [d_sae]: see :func:`store.metrics.verdicts.is_counted`."""
        return is_counted(self.firings, self.change.clusters)

    @property
    def counts(self) -> dict[str, float]:
        """How many of the features that count lost half of their activation, and how many doubled it, whatever is material."""
        change = self.change.value[self.is_counted]
        return {"n_halved": float((change <= -HALF).sum()), "n_doubled": float((change >= HALF).sum())}


@dataclass(frozen=True)
class Member:
    """A variant of a group of replicates, with what it is compared with.

    Attributes:
        own: the variant.
        twins: random changes of its weights.
        rescaled: sum of scaled activation [d_sae] of the base at the variant's norm.
        fits: whether the dictionary still describes it at the layer.
    """

    own: Side
    twins: Sequence[Side]
    rescaled: np.ndarray
    fits: bool

    def size_ratio(self, twin: Side) -> float:
        """How much larger the variant's change is than a twin's, at least LEAST_RATIO; 1 where neither changed."""
        return max(LEAST_RATIO, self.own.size / twin.size) if twin.size > 0 else 1.0

    @property
    def is_comparable(self) -> bool:
        """Whether it has twins, each at least half as large as it is at the layer: of smaller ones no decoy says anything."""
        return bool(self.twins) and all(twin.size >= self.own.size / 2 for twin in self.twins)

    @cached_property
    def change_rescaled(self) -> np.ndarray:
        """float64 [d_sae]: change against the base at the variant's norm."""
        return change_between(self.rescaled, self.own.sums["b"])

    def twin_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest change of each feature over its twins, [d_sae] each."""
        changes = [twin.change.value for twin in self.twins]
        return np.min(changes, axis=0), np.max(changes, axis=0)


class Recipe:
    """The members of a group of replicates at one layer: one variant, or several runs of one recipe.

    Args:
        members: by variant; each with at least one twin.
        material: share from which a change is material.
    """

    def __init__(self, members: Mapping[str, Member], material: float) -> None:
        self.members, self.material = members, material
        of_first = next(iter(members.values())).own.sums
        self.counted = counted = np.all([member.own.is_counted for member in members.values()], axis=0)
        self.stratum = decoys.strata(of_first["n11"] + of_first["n10"], of_first["a"], counted)
        self.falls, self.rises = (_Competition(members, material, counted, self.stratum, direction) for direction in (-1, 1))

    def columns(self) -> dict[str, dict[str, np.ndarray]]:
        """Variant -> columns of feature_stats, [d_sae] each, of all domains together."""
        return {name: self._columns(name, member) for name, member in self.members.items()}

    def _columns(self, name: str, member: Member) -> dict[str, np.ndarray]:
        fell = member.own.change.value < 0
        q_twin, q_replicates = (
            np.where(fell, falls, rises)
            for falls, rises in ((self.falls.q_twin[name], self.rises.q_twin[name]), (self.falls.q_all, self.rises.q_all))
        )
        detectable_loss = self._detectable_loss(name, member.own)
        findings = Findings(
            change=member.own.change.value,
            is_sure=member.own.change.nearest != 0,
            firings=member.own.firings,
            clusters=member.own.change.clusters,
            detectable=~np.isnan(detectable_loss),
            material=self.material,
            rescaled=member.change_rescaled,
            fits=member.fits,
            all_fit=all(each.fits for each in self.members.values()),
            q_twin=q_twin,
            q_replicates=q_replicates,
            beyond_all=np.where(fell, self.falls.beyond_all(name), self.rises.beyond_all(name)),
            others_counted=self.counted,
            replicates=len(self.members) - 1,
        )
        reason = reasons(findings)
        low, high = member.twin_range()
        columns = {
            "detectable_loss": detectable_loss,
            "change_rescaled": member.change_rescaled,
            "twin_low": low,
            "twin_high": high,
            "q_twin": q_twin,
            "verdict": verdicts(reason),
            "reason": reason,
        }
        if len(self.members) > 1:
            changes = [each.own.change.value for each in self.members.values()]
            of_group = {"replicate_low": np.min(changes, axis=0), "replicate_high": np.max(changes, axis=0)}
            columns |= of_group | {"q_replicates": q_replicates}
        return columns

    def _detectable_loss(self, name: str, own: Side) -> np.ndarray:
        """The smallest loss [d_sae] that would have stood out, had every run lost that; NaN: not even a complete one.

        Its scatter over clusters is taken as the observed, in proportion to what stays; where it rose, as of its rise.
        """
        sums = own.sums
        clusters = np.divide(sums["a"] ** 2, sums["cluster_a2"], out=np.zeros(len(sums["a"])), where=sums["a"] > 0)
        firings = sums["n11"] + sums["n10"]
        stays = np.divide(sums["b"], sums["a"], out=np.full(len(clusters), np.nan), where=sums["a"] > 0)
        observed = scatter(sums["cluster_b2"], sums["cluster_ab"], sums["cluster_a2"], stays, sums["a"])
        relative = np.divide(observed, stays, out=np.zeros(len(stays)), where=stays > 0)
        bar = self.falls.unit * self.falls.bar(name)
        out, of_clusters = np.full(len(stays), np.nan), widths(clusters)
        for loss in np.append(np.arange(self.material, 1.0, LOSS_STEP), 1.0)[::-1]:
            rest = np.full(len(stays), 1 - loss)
            at_most = shrunk(rest, clusters) + half_width(rest, relative * rest, of_clusters)
            with np.errstate(invalid="ignore"):
                claimed = (at_most < 1) & (-np.log(at_most) >= bar)
            out[claimed] = loss
        out[~is_counted(firings, clusters) | (not all(member.fits for member in self.members.values()))] = np.nan
        return out


class _Competition:
    """Features of a group against the decoys of its twins, in one direction.

    Attributes:
        unit: [d_sae], what scores are measured in.
        q_twin: variant -> [d_sae], of its own changes; NaN where not in question.
        q_all: [d_sae], of what every member shows; NaN where one does not, or there is one member only.
    """

    def __init__(
        self, members: Mapping[str, Member], material: float, counted: np.ndarray, stratum: np.ndarray, direction: int
    ) -> None:
        of_twins = {
            name: [
                np.where(twin.is_counted, decoys.scores(twin.change, direction, member.size_ratio(twin)), 0.0)
                for twin in member.twins
            ]
            for name, member in members.items()
        }
        self.unit = decoys.units([one for twins in of_twins.values() for one in twins], stratum, counted)
        own = {name: self._own(member, material, direction) / self.unit for name, member in members.items()}
        self._alone = {name: (own[name], [one / self.unit for one in of_twins[name]]) for name in members}
        self.q_twin = {name: decoys.false_shares(*self._alone[name], len(of_twins[name])) for name in members}
        self._all = (np.min(list(own.values()), axis=0), [one / self.unit for one in decoys.shared(list(of_twins.values()))])
        fewest = min(map(len, of_twins.values()))
        several = len(members) > 1
        self.q_all = decoys.false_shares(*self._all, fewest) if several else np.full(len(stratum), np.nan)

    def bar(self, name: str) -> float:
        """The score, in units, from which on a change stands out: in all members, or in the only one."""
        targets, of_draws = self._judged(name)
        return decoys.bar(targets, self.q_all if len(self.q_twin) > 1 else self.q_twin[name], of_draws, Q)

    def beyond_all(self, name: str) -> np.ndarray:
        """bool [d_sae]: the change scores higher than every decoy that was drawn: in all members, or in the only one."""
        targets, of_draws = self._judged(name)
        return targets > max(float(of_draw.max(initial=0.0)) for of_draw in of_draws)

    def _judged(self, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
        return self._all if len(self.q_twin) > 1 else self._alone[name]

    @staticmethod
    def _own(member: Member, material: float, direction: int) -> np.ndarray:
        """Scores [d_sae] of the changes in question: counted, material, and by more than the norm; 0 of the others.

        What the norm alone gives is taken off: twins do not share a variant's norm, and the runs of a recipe do.
        """
        change = member.own.change
        asked = member.own.is_counted & is_material(change.value, member.change_rescaled, material) & member.fits
        whole, beside_norm = (
            -np.log1p(-np.clip(direction * share, 0.0, 1 - 1e-12)) for share in (change.value, member.change_rescaled)
        )
        score = decoys.scores(change, direction) - np.maximum(whole - beside_norm, 0.0)
        return np.where(asked, np.maximum(score, 0.0), 0.0)
