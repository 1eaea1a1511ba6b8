"""The models and the dictionary of a causal check."""

from extract.config import RunConfig
from extract.run.of_store import Loaded, check_units, load_of_store
from store.read.store import Store


def load_for_check(store: Store, config: RunConfig, variant: str, layer: int) -> Loaded:
    """Load the base, a variant and the dictionary of a layer, and make sure that they are the store's.

    Raises:
        UserError: one of them is missing, or is another; or the dictionary has no unit for what would be put in.
    """
    planted = config.variants[variant].planted
    layers = {layer} if planted is None else {layer, planted.layer} & set(store.layers)
    loaded = load_of_store(store, config, [variant], sorted(layers))
    check_units(loaded.dictionary(layer), "the causal check")
    return loaded
