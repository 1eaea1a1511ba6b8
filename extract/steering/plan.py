"""What a causal check of one feature will do, worked out from the store alone; needs no torch.

Which intervention, in which passages, at which of their positions, against which control features.
"""

from dataclasses import dataclass

import numpy as np

from extract.config import RunConfig
from extract.steering.control_features import Densities
from store.errors import UserError
from store.names import ALL
from store.numbers import listed
from store.read.store import Store
from store.sidecar.steering import ABLATE, RESTORE

POSITIONS_AFTER = 31
"""So many tokens after the peak are compared at most: the logits of a whole window would cost several times as much."""


@dataclass(frozen=True)
class Passage:
    """One context window, as the models saw it in the run.

    Attributes:
        token_ids: int64 [n], the window's document tokens, without BOS.
        peak: index in them of the token where the feature changed most.
    """

    document: int
    token_ids: np.ndarray
    peak: int

    @property
    def positions(self) -> np.ndarray:
        """int64 [positions]: indices of the tokens whose next-token prediction is compared: the peak and what follows it."""
        return np.arange(self.peak, min(self.peak + POSITIONS_AFTER + 1, len(self.token_ids)))


@dataclass(frozen=True)
class Plan:
    """A causal check to be made.

    Attributes:
        mode: 'restore' for a feature whose pooled shift is negative, 'ablate' for a positive one.
        passages: one a document, the feature's strongest contexts first.
        controls: features whose directions are tried with the same amounts, ascending.
        seed: of their draw.
    """

    layer: int
    feature: int
    variant: str
    mode: str
    passages: tuple[Passage, ...]
    controls: tuple[int, ...]
    seed: int


def make_plan(
    store: Store, config: RunConfig, layer: int, feature: int, variant: str, contexts: int, random: int, seed: int
) -> Plan:
    """Plan the causal check of a feature.

    Args:
        config: the configuration that made the store.
        contexts: passages at most.
        random: control features at most.

    Raises:
        UserError: the store or the configuration has no such layer, feature or variant, a number is below 1, or the store
            keeps nothing of the feature to work on.
    """
    for name, value in (("--contexts", contexts), ("--random", random)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    if layer not in store.layers:
        raise UserError(f"The store has no layer {layer}; its layers: {listed(store.layers)}.")
    check_variant(store, config, variant)
    densities = Densities.of(store, layer, [feature])
    mode = _mode(store, layer, feature, variant)
    passages = _passages(store, layer, feature, variant, mode, contexts)
    controls = densities.draw(feature, random, f"{seed}/{layer}")
    if not controls:
        raise UserError(f"No other feature of layer {layer} fires in the base, so there is nothing to compare with.")
    return Plan(layer, feature, variant, mode, passages, controls, seed)


def check_variant(store: Store, config: RunConfig, variant: str) -> None:
    """Refuse one that the store or its configuration has not.

    Raises:
        UserError: it has not.
    """
    if variant not in store.variants:
        raise UserError(f"The store has no variant '{variant}'; its variants: {listed(store.variants)}.")
    config.require(variant)


def _mode(store: Store, layer: int, feature: int, variant: str) -> str:
    stats = store.feature_stats(layer=layer, feature=feature, variant=variant)
    pooled = stats.loc[stats["domain"] == ALL, "shift"]
    if pooled.empty or pooled.iloc[0] == 0:
        raise UserError(
            f"Feature {feature} of layer {layer} is on average the same in the base and in '{variant}': there is nothing to "
            "restore or to ablate."
        )
    return RESTORE if pooled.iloc[0] < 0 else ABLATE


def _passages(store: Store, layer: int, feature: int, variant: str, mode: str, count: int) -> tuple[Passage, ...]:
    """The windows of the feature's strongest contexts; of each document the strongest one, so that they are independent."""
    ranking = "decrease" if mode == RESTORE else "increase"
    places = store.sql(
        """
        SELECT document, position FROM contexts
        WHERE variant = ? AND layer = ? AND feature = ? AND ranking = ? ORDER BY rank
        """,
        [variant, layer, feature, ranking],
    ).drop_duplicates("document")
    if places.empty:
        raise UserError(
            f"The store keeps no contexts of feature {feature} of layer {layer} in '{variant}' under the ranking '{ranking}', "
            "and so no text to check it on."
        )
    return tuple(_window(store, int(place.document), int(place.position)) for place in places.head(count).itertuples())


def _window(store: Store, document: int, position: int) -> Passage:
    tokens = store.sql(
        """
        SELECT t.position, t.token_id FROM tokens t
        JOIN tokens peak ON peak.document = t.document AND peak.context = t.context
        WHERE peak.document = ? AND peak.position = ? ORDER BY t.position
        """,
        [document, position],
    )
    return Passage(document, tokens["token_id"].to_numpy(np.int64), int(position - tokens["position"].iloc[0]))
