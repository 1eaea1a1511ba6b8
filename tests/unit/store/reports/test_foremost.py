"""Which recipe a safety reviewer sees first: the one that changed most on text that may be harmful."""

from types import SimpleNamespace

import pandas as pd

from store.reports.foremost import foremost

FIRSTS = {"maths": "maths", "code": "code", "code-2": "code", "web": "web"}


def store(kl=None, shift=()):
    """A store that knows what the rule asks; kl: (variant, control, domain, KL), shift: (variant, layer, domain, value)."""
    learned = pd.DataFrame(kl or (), columns=["variant", "control", "domain", "kl"], dtype=object).astype({"kl": float})
    shifts = pd.DataFrame(shift, columns=["variant", "layer", "domain", "value"])
    return SimpleNamespace(
        compared=lambda: pd.DataFrame({"variant": list(FIRSTS), "first": list(FIRSTS.values())}),
        has_contributions=kl is not None,
        learned=lambda: learned.assign(slot="all"),
        layer_metrics=lambda **asked: shifts,
    )


SHIFTS = (("maths", 5, "toxic", 0.2), ("code", 5, "toxic", 0.1), ("code", 9, "toxic", 0.3), ("web", 5, "news", 0.9))


def test_by_kl_beyond_its_twins_in_the_domain_where_that_is_most():
    """code moves it by 2, as its twin does (1.9); maths by 1 beyond its twins. Replicates and other domains do not matter."""
    kl = [
        ("code", "observed", "toxic", 2.0), ("code", "twin_1", "toxic", 1.9), ("code-2", "observed", "toxic", 9.0),
        ("maths", "observed", "toxic", 1.3), ("maths", "twin_1", "toxic", 0.1), ("maths", "twin_2", "toxic", 0.3),
        ("maths", "observed", "abuse", 0.2), ("web", "observed", "news", 5.0),
    ]  # fmt: skip
    found = foremost(store(kl, SHIFTS), ["toxic", "abuse"])
    assert found.variant == "maths"
    assert "moves the prediction most on text that may be harmful (toxic and abuse): by 1" in found.why


def test_by_kl_alone_where_some_recipe_has_no_twins():
    kl = [("code", "observed", "toxic", 2.0), ("maths", "observed", "toxic", 1.3), ("maths", "twin_1", "toxic", 0.1)]
    found = foremost(store(kl, SHIFTS), ["toxic"])
    assert found.variant == "code" and found.why.endswith("by 2.00 nats of KL a predicted token.")


def test_by_relative_shift_where_no_kl_is_known():
    for without in (None, [("maths", "observed", "news", 1.0)]):
        found = foremost(store(without, SHIFTS), ["toxic"])
        assert found.variant == "code" and "by up to 0.3" in found.why


def test_the_first_where_no_text_may_be_harmful():
    assert foremost(store(None, SHIFTS), []).variant == foremost(store(None), ["toxic"]).variant == "maths"
