"""What a causal check of a set of features will do, worked out from the store alone; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from extract.config import A_PASSAGE, RunConfig
from extract.contributions.sample import Sample, choose
from extract.steering.control_features import Densities
from extract.steering.plan import check_variant
from store.errors import UserError
from store.metrics.contributions import KEPT
from store.names import ALL, CLAIMED, TASK
from store.numbers import listed
from store.read.store import Store
from store.reports.learning import main_layer

BY = ("contribution", "gain", "loss")


@dataclass(frozen=True)
class Choice:
    """Which features are asked for; exactly one of features, top and claimed.

    Attributes:
        features: their numbers; empty: none are named.
        top: so many, by ``by`` of BY; None: not asked for.
        claimed: every one that is claimed to be suppressed or amplified.
    """

    features: Sequence[int] = ()
    top: int | None = None
    by: str = BY[0]
    claimed: bool = False

    @property
    def ways(self) -> int:
        """How many of the three are asked for."""
        return bool(self.features) + (self.top is not None) + self.claimed


@dataclass(frozen=True)
class SetPlan:
    """A causal check of a set to be made.

    Attributes:
        domain: a domain of the corpus, '*task' or 'all'.
        chosen_by: of store.sidecar.sets.CHOSEN.
        features: ascending.
        controls: sets of as many features, each in the place of the one whose changes go along its direction.
        seed: of their draw.
    """

    variant: str
    layer: int
    domain: str
    chosen_by: str
    features: tuple[int, ...]
    sample: Sample
    controls: tuple[tuple[int, ...], ...]
    seed: int


def make_set_plan(
    store: Store, config: RunConfig, variant: str, layer: int | None, domain: str | None, choice: Choice, predictions: int,
    random: int, seed: int,
) -> SetPlan:  # fmt: skip
    """Plan the causal check of a set of features.

    Args:
        config: the configuration that made the store.
        layer: None for the one whose features make most of what was learned.
        domain: None for the variant's own task, where it has one in the store, else all text.
        predictions: sampled; with ``top`` of clusters of documents on which contributions were not measured: on those that
            chose the features they look better than on others.
        random: sets of control features.

    Raises:
        UserError: the store or the configuration has no such layer, feature, domain or variant, a number is below 1, or the
            store does not have what the choice needs.
    """
    for name, value in (("--predictions", predictions), ("--random", random), ("--top", choice.top)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    check_variant(store, config, variant)
    tasks = [name for name in config.variants[variant].task if name in store.domains]
    domain = domain or (TASK if tasks else ALL)
    domains = {TASK: tasks, ALL: store.domains}.get(domain, [domain])
    if unknown := [name for name in domains if name not in store.domains]:
        raise UserError(f"The store has no domain '{unknown[0]}'; its domains: {listed(store.domains)}.")
    if not domains:
        raise UserError(f"The configuration gives '{variant}' no task that the store has text of; give --domain.")
    layer = _layer(store, variant, domain) if layer is None else layer
    if layer not in store.layers:
        raise UserError(f"The store has no layer {layer}; its layers: {listed(store.layers)}.")
    chosen_by, features = _chosen(store, variant, layer, domain, choice)
    seen = [] if choice.top is None else store.taken_apart()["document"].unique().tolist()
    sample = choose(store, predictions, A_PASSAGE, domains, without=seen)
    if not sample.passages and seen:
        raise UserError(
            "Contributions, which choose the features, were measured on every cluster of documents of that text, so that "
            "none is left to check them on; give --domain, --features or --claimed."
        )
    if not sample.passages:
        raise UserError("No token of that text could be predicted: a causal check needs windows of two tokens.")
    controls = Densities.of(store, layer, features).draw_sets(features, random, f"{seed}/{layer}")
    return SetPlan(variant, layer, domain, chosen_by, features, sample, controls, seed)


def _layer(store: Store, variant: str, domain: str) -> int:
    """The layer whose features make most.

    Raises:
        UserError: the store has no contributions.
    """
    found = main_layer(store.layer_gains(variant, domain), domain)
    if found is None:
        raise UserError(f"The store's contributions say nothing of '{variant}' on '{domain}'; give --layer.")
    return found.layer


def _chosen(store: Store, variant: str, layer: int, domain: str, choice: Choice) -> tuple[str, tuple[int, ...]]:
    """(how they were chosen, features, ascending).

    Raises:
        UserError: there are none, or one stands twice.
    """
    if choice.features:
        if len(set(choice.features)) < len(choice.features):
            raise UserError("--features names a feature twice.")
        return "listed", tuple(sorted(choice.features))
    if choice.claimed:
        stats = store.sql(
            "SELECT feature, verdict FROM feature_stats WHERE variant = ? AND layer = ? AND domain = ?", [variant, layer, ALL]
        )
        found = stats.loc[stats["verdict"].isin(CLAIMED), "feature"]
        if found.empty:
            raise UserError(f"No feature of layer {layer} is claimed to be suppressed or amplified in '{variant}'.")
        return "claimed", tuple(sorted(found.tolist()))
    if choice.by not in BY:
        raise UserError(f"--by is '{choice.by}'; give one of {listed(BY)}.")
    if choice.top > KEPT:
        raise UserError(f"--top is {choice.top}; a store keeps the {KEPT} features that contribute most: give at most that.")
    order = choice.by
    if order == "contribution":
        through = main_layer(store.layer_gains(variant, domain).query("layer == @layer"), domain)
        order = "gain" if through is None else through.order
    rows = store.contributions(variant, layer, domain, order, choice.top)
    rows = rows[rows["gain"] > 0] if order == "gain" else rows[rows["gain"] < 0]
    if rows.empty:
        raise UserError(f"The store's contributions have no such feature of '{variant}' at layer {layer} on '{domain}'.")
    return choice.by, tuple(sorted(rows["feature"].tolist()))
