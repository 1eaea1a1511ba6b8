"""What `python -m extract steer` does: plan, check, keep beside the store, say; torch is loaded once the plan stands."""

from extract.config import RunConfig
from extract.steering.plan import make_plan
from extract.steering.set_plan import Choice, make_set_plan
from store.errors import UserError
from store.read.store import Store
from store.sidecar import sets, steering
from store.sidecar.entries import write_set_steering, write_steering


def check_feature(
    store: Store, config: RunConfig, variant: str, layer: int | None, feature: int, contexts: int, random: int, seed: int
) -> str:
    """Check one feature; what came of it, in words.

    Raises:
        UserError: there is no layer; as :func:`extract.steering.plan.make_plan` and
            :func:`extract.steering.intervention.steer`.
    """
    if layer is None:
        raise UserError("--feature needs --layer: every layer's dictionary has a feature of that number.")
    plan = make_plan(store, config, layer, feature, variant, contexts, random, seed)
    from extract.steering.intervention import steer

    result = steer(store, config, plan)
    store.snapshot.check()  # what was measured is of the store that stands there
    path = write_steering(store.path, store.manifest.digest, result)
    return f"{steering.in_words(result)}\nKept in {path.name}, beside the store; the feature's page shows it."


def check_set(
    store: Store, config: RunConfig, variant: str, layer: int | None, domain: str | None, choice: Choice, predictions: int,
    random: int, seed: int,
) -> str:  # fmt: skip
    """Check a set of features; what came of it, in words.

    Raises:
        UserError: as :func:`extract.steering.set_plan.make_set_plan` and :func:`extract.steering.sets.steer_set`.
    """
    plan = make_set_plan(store, config, variant, layer, domain, choice, predictions, random, seed)
    from extract.steering.sets import steer_set

    result = steer_set(store, config, plan)
    store.snapshot.check()
    path = write_set_steering(store.path, store.manifest.digest, result)
    return f"{sets.in_words(result)}\nKept in {path.name}, beside the store; the page Layers shows it."


def features_of(text: str) -> tuple[int, ...]:
    """The numbers of '12,34'.

    Raises:
        UserError: it is something else.
    """
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"--features is '{text}'; give whole numbers with commas between, as in 12,34.") from None
