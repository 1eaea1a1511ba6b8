"""The three sentences on hand-made cases: what each says, and that noise is never sold as a finding."""

import pandas as pd
import pytest

from store.metrics import change_summary
from store.metrics.change_summary import summarise


def rows(n_documents=300, **metrics):
    """layer_metrics of one change. metrics: name -> {control: value, or (value, low, high), or a dict of columns}."""
    out = []
    for metric, by_control in metrics.items():
        for control, given in by_control.items():
            columns = given if isinstance(given, dict) else {"value": given}
            if isinstance(given, tuple):
                columns = dict(zip(("value", "low", "high"), given, strict=True))
            out.append({"metric": metric, "control": control, "n_documents": n_documents, **columns})
    empty = dict.fromkeys(("value", "low", "high", "excess", "excess_low", "excess_high"))
    return pd.DataFrame([empty | row for row in out])


def overlap(observed, floor, excess=None):
    """Overlap beside its floor; excess: (low, high), null without."""
    low, high = excess or (None, None)
    control = {"value": floor, "excess": floor - observed, "excess_low": low, "excess_high": high}
    return {"observed": observed, "isotropic": control}


NOISE = {
    "relative_shift": {"observed": (0.3, 0.29, 0.31), "rerun": 1e-7, "isotropic": 0.3},
    "overlap": overlap(0.3, 0.302, (-0.004, 0.008)),
    "l0_inflation": {"observed": 3.05, "isotropic": 3.1},
    "systematic_share": {"observed": 0.004, "isotropic": 0.003},
    "n_beyond_noise": {"observed": 2, "isotropic": 0},
}
REAL = {
    "relative_shift": {"observed": (0.042, 0.04, 0.044), "rerun": 1e-7},
    "overlap": overlap(0.45, 0.33, (-0.13, -0.11)),
    "l0_inflation": {"observed": 1.05, "isotropic": 3.1},
    "systematic_share": {"observed": 0.12, "isotropic": 0.002},
    "n_beyond_noise": {"observed": 28, "isotropic": 0},
}


def test_pure_noise_reads_as_no_more_than_noise_even_at_an_overlap_of_0_3():
    told = summarise(rows(**NOISE), n_down=1)
    assert told.headline == "no more than noise"
    assert told.size.text == "Large change: relative shift 30 % of the base's norm [29 % to 31 %]."
    assert told.overlap.level == "no more"
    assert told.overlap.text == (
        "No more features changed than noise of that size changes: overlap 0.30; a random change of the same size gives 0.30 "
        "(excess +0.002 [-0.004 to +0.008])."
    )
    assert not told.few_documents
    assert told.systematic.text == (
        "No systematic change beyond noise: 2 features move further than noise can (1 of them down; up to 9 may by chance); "
        "L0 3.05× against 3.10× under noise; 0.4 % of the latent change points the same way (0.3 % under noise)."
    )


def test_a_real_change_is_systematic_though_fewer_features_switched_than_under_noise():
    told = summarise(rows(**REAL), n_down=16)
    assert told.headline == "systematic"
    assert told.size.text == "Small change: relative shift 4.2 % of the base's norm [4.0 % to 4.4 %]."
    assert told.overlap.level == "fewer"
    assert told.systematic.text == (
        "Systematic change: 28 features move further than noise can (16 of them down); L0 1.05× against 3.10× under noise; "
        "12 % of the latent change points the same way (0.2 % under noise)."
    )


def test_nothing_at_all_is_no_change():
    unchanged = {
        "relative_shift": {"observed": 0.0, "rerun": 2e-7},
        "overlap": overlap(1.0, 1.0, (0.0, 0.0)),
        "l0_inflation": {"observed": 1.0, "isotropic": 1.0},
        "systematic_share": {"observed": None, "isotropic": None},
        "n_beyond_noise": {"observed": 0, "isotropic": 0},
    }
    told = summarise(rows(**unchanged), n_down=0)
    assert told.headline == "no change"
    assert told.size.text.startswith("No change beyond numerical noise: relative shift 0 %")
    assert told.systematic.text == (
        "No systematic change beyond noise: no feature moves further than noise can; L0 1.00× against 1.00× under noise."
    )


@pytest.mark.parametrize(
    ("shift", "again", "level"),
    [(1e-6, None, "none"), (2e-5, None, "small"), (0.001, 0.0006, "none"), (0.0013, 0.0006, "small"), (0.05, None, "moderate"),
     (0.2, None, "large")],
)  # fmt: skip
def test_the_size_is_named_by_its_bounds_and_the_rerun(shift, again, level):
    shifts = {"observed": shift} | ({} if again is None else {"rerun": again})
    assert summarise(rows(**(REAL | {"relative_shift": shifts}))).size.level == level


@pytest.mark.parametrize(
    ("observed", "floor", "interval", "level"),
    [
        (0.40, 0.45, (0.03, 0.07), "more"),
        (0.40, 0.45, (-0.01, 0.11), "no more"),  # the interval holds 0
        (0.40, 0.408, (0.006, 0.010), "no more"),  # surely not 0, and too small to matter
        (0.45, 0.40, (-0.07, -0.03), "fewer"),
        (0.40, 0.45, None, "too few documents"),
    ],
)
def test_the_sign_of_the_excess_in_words(observed, floor, interval, level):
    told = summarise(rows(**(NOISE | {"overlap": overlap(observed, floor, interval)})))
    assert told.overlap.level == level
    expected = {"more": "more flips than noise", "too few documents": "too few documents"}.get(level, "no more than noise")
    assert told.headline == expected


def test_an_excess_that_is_sure_but_tiny_is_called_too_small_to_matter():
    def said(interval):
        return summarise(rows(**(NOISE | {"overlap": overlap(0.40, 0.408, interval)}))).overlap.text

    assert said((0.006, 0.010)).endswith("(excess +0.008 [+0.006 to +0.010], too small to matter).")
    assert said((-0.001, 0.017)).endswith("(excess +0.008 [-0.001 to +0.017]).")


def test_what_another_tokens_change_and_the_mean_alone_move_is_said():
    counts = {"n_beyond_noise": {"observed": 105, "isotropic": 0, "shuffled": 106, "mean_shift": 86}}
    told = summarise(rows(**(REAL | counts)), n_down=43)
    assert told.systematic.text.startswith(
        "Systematic change: 105 features move further than noise can (43 of them down), 106 under another token's change and "
        "86 under the mean change alone; L0 1.05×"
    )


def test_too_few_documents_are_counted_and_not_called_noise():
    few = rows(n_documents=12, **(NOISE | {"overlap": overlap(0.3, 0.4)}))
    told = summarise(few)
    assert told.headline == "too few documents"
    assert told.overlap.claim == "Too few documents (12) to say whether more features changed than noise changes"
    assert told.systematic.claim == "Too few documents (12) to call it noise"


def test_many_features_beyond_noise_are_systematic_on_few_documents_too_and_say_so():
    told = summarise(rows(n_documents=18, **(REAL | {"overlap": overlap(0.45, 0.33)})), n_down=16)
    assert (told.headline, told.few_documents) == ("systematic", True)
    assert told.systematic.text.endswith("Only 18 documents: it may not hold beyond them.")


@pytest.mark.parametrize(("n", "share", "documents", "systematic"), [
    (9, 0.0, 300, False), (10, 0.0, 300, True), (0, 0.06, 300, True), (0, 0.04, 300, False), (0, 0.06, 49, False),
])  # fmt: skip
def test_what_makes_a_change_systematic(n, share, documents, systematic):
    """10 features beyond noise, or 5 % more of the change pointing one way than under noise, on at least 50 documents."""
    numbers = {"n_beyond_noise": {"observed": n}, "systematic_share": {"observed": share + 0.01, "isotropic": 0.01}}
    told = summarise(rows(documents, **(NOISE | numbers)))
    assert (told.systematic.level == "systematic") is systematic


def test_without_controls_nothing_is_claimed():
    bare = {name: {"observed": REAL[name]["observed"]} for name in ("relative_shift", "overlap", "l0_inflation")}
    told = summarise(rows(**bare))
    assert told.headline == "no noise floor"
    assert "a random change of the same size may give as little" in told.overlap.text
    assert told.systematic.text == "Whether the change is systematic cannot be said: there is no noise floor."


def test_no_row_at_all_is_unknown_and_no_error():
    told = summarise(rows(relative_shift={"observed": None}))
    assert (told.size.level, told.overlap.level, told.headline) == ("unknown", "unknown", "no noise floor")


def test_one_feature_is_said_in_the_singular():
    one = rows(**(NOISE | {"n_beyond_noise": {"observed": 1}}))
    assert "1 feature moves further than noise can (down; up to 9 may by chance)" in summarise(one, 1).systematic.text
    assert "1 feature moves further than noise can (up; up to 9 may by chance)" in summarise(one, 0).systematic.text


def test_every_headline_has_its_meaning_and_its_badge():
    from app.words.meanings import HEADLINE_BADGES

    assert set(HEADLINE_BADGES) == set(change_summary.HEADLINES)
