"""Synthetic features of a layer, and what random changes of the weights do to them: stores whose truth is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from store.metrics.evidence import Member, Recipe, Side
from store.metrics.thresholds import MATERIAL

N_FEATURES, N_CLUSTERS, N_TWINS = 1000, 150, 2
SIZE, TWINS_DIFFER = 0.2, 0.05
"""Relative shift of a variant; by how much, at most, a twin's differs from it."""
FIRINGS = (15, 6000)
"""Of the rarest and of the most frequent features."""
SHAPE = 2.0
"""Of the gamma law of an activation."""
FRAGILE = 0.6
"""How far a random change moves the logarithm of what a feature of 50 firings and middling strength has left, times a t with 3
degrees of freedom: a sixth of such features lose half, as at the last layers of Gemma 3 270M."""
ALIKE = 10
"""Features that a change moves together, by half of the variance."""


@dataclass(frozen=True)
class Base:
    """A layer's features in the base.

    Attributes:
        firings: int64 [clusters, features].
        activation: float64 [clusters, features], its sum.
        scale: [features], mean of an activation.
        spread: [features], how far random changes of the weights move each.
        drift: [features], where all of them move it, in units of ``spread``.
    """

    firings: np.ndarray
    activation: np.ndarray
    scale: np.ndarray
    spread: np.ndarray
    drift: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, n_features: int = N_FEATURES, n_clusters: int = N_CLUSTERS) -> "Base":
        """Clusters of uneven weight, in which a feature comes in bursts: rare and frequent ones, weak and strong ones."""
        wanted = np.exp(rng.uniform(*np.log(FIRINGS), n_features))
        scale = np.exp(0.7 * rng.standard_normal(n_features))
        burst = np.exp(rng.uniform(np.log(0.4), np.log(4.0), n_features))
        weight = np.exp(0.6 * rng.standard_normal((n_clusters, 1))) * rng.gamma(burst, size=(n_clusters, n_features))
        firings = rng.poisson(wanted * weight / weight.sum(axis=0))
        spread = FRAGILE * (wanted / 50) ** -0.25 * scale**-0.3 * np.exp(0.3 * rng.standard_normal(n_features))
        return cls(firings, scale * _gamma(rng, firings), scale, spread, 0.3 * rng.standard_normal(n_features))

    def side(
        self, rng: np.random.Generator, size: float = SIZE, stays: np.ndarray | float = 1.0, fierce: float = 1.0
    ) -> tuple[Side, np.ndarray]:
        """A random change of the weights, and besides a planted one.

        Args:
            size: relative shift; the random part grows with it.
            stays: [features], what the planted part leaves of each feature; above 1 it adds.
            fierce: how much further the random part moves features than others of its size.

        Returns:
            (the variant or twin, what is expected to be left of each feature by both parts [features]).
        """
        n_features = len(self.scale)
        of_group = rng.standard_t(3, size=-(-n_features // ALIKE))[np.arange(n_features) // ALIKE]
        moved = self.spread * (self.drift + (of_group + rng.standard_t(3, size=n_features)) / 2**0.5)
        left = np.exp(np.clip(fierce * size / SIZE * moved, -8, 3)) * stays
        share = left * np.exp(0.15 * rng.standard_normal(self.firings.shape))
        kept = rng.binomial(self.firings, np.minimum(share, 1))
        new = rng.poisson(self.firings * np.maximum(share - 1, 0))
        b = self.activation * _kept_share(rng, kept, self.firings) + self.scale * _gamma(rng, new)
        return Side(_sums(self.activation, b, self.firings, kept, new), size), left

    def member(
        self, rng: np.random.Generator, stays: np.ndarray | float = 1.0, fierce: float = 1.0
    ) -> tuple[Member, np.ndarray]:
        """A run of a recipe with its twins, and what is expected to be left of each feature in it [features]."""
        own, left = self.side(rng, stays=stays, fierce=fierce)
        sizes = SIZE * rng.uniform(1 - TWINS_DIFFER, 1 + TWINS_DIFFER, N_TWINS)
        twins = [self.side(rng, size)[0] for size in sizes]
        return Member(own, twins, self.activation.sum(axis=0), fits=True), left


def columns(members: Sequence[Member]) -> list[dict[str, np.ndarray]]:
    """What the merge of a run would write of each member of a group."""
    return list(Recipe({f"run {n}": member for n, member in enumerate(members, start=1)}, MATERIAL).columns().values())


def copied(member: Member, copies: int, is_known: bool) -> Member:
    """The same run on so many copies of each text; a cluster each, or where that is not known a cluster for each copy."""
    squares = copies**2 if is_known else copies

    def of(side: Side) -> Side:
        sums = {name: value * (squares if name.startswith("cluster_") else copies) for name, value in side.sums.items()}
        return Side(sums, side.size)

    return Member(of(member.own), [of(twin) for twin in member.twins], member.rescaled * copies, member.fits)


def _gamma(rng: np.random.Generator, n: np.ndarray) -> np.ndarray:
    """Sums of n activations of mean 1, in the shape of n."""
    return np.where(n > 0, rng.gamma(SHAPE * np.maximum(n, 1)), 0.0) / SHAPE


def _kept_share(rng: np.random.Generator, kept: np.ndarray, firings: np.ndarray) -> np.ndarray:
    """Share of a sum of gamma activations that some of them make up: beta-distributed."""
    some = (kept > 0) & (kept < firings)
    drawn = rng.beta(SHAPE * np.where(some, kept, 1), SHAPE * np.where(some, firings - kept, 1))
    return np.where(some, drawn, (kept == firings).astype(float))


def _sums(a: np.ndarray, b: np.ndarray, firings: np.ndarray, kept: np.ndarray, new: np.ndarray) -> Mapping[str, np.ndarray]:
    """FEATURE_SUMS that evidence rests on, [features] each, from arrays [clusters, features]."""
    parts = {
        "a": a, "b": b, "cluster_a2": a**2, "cluster_b2": b**2, "cluster_ab": a * b,
        "n11": kept, "n10": firings - kept, "n01": new,
    }  # fmt: skip
    return {name: values.sum(axis=0) for name, values in parts.items()}
