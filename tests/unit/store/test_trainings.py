"""Which checkpoints are of one training, and which speaks for it."""

from store.trainings import Member, main_series, speakers


def test_replicates_join_series_through_others():
    """c repeats a at step 1 and b at step 5; b repeats a; d stands alone, and nobody's single variant is no training."""
    members = {
        "c1": Member("a1", "c", 1), "c5": Member("b5", "c", 5), "a1": Member("a1", "a", 1), "a9": Member("a9", "a", 9),
        "b1": Member("a1", "b", 1), "b5": Member("b5", "b", 5), "d3": Member("d3", "d", 3), "o": Member("o"), "p": Member("o"),
    }  # fmt: skip
    assert main_series(members) == {"c": "a", "a": "a", "b": "a", "d": "d"}
    assert speakers(members) == {"a1": "a9", "b5": "a9", "a9": "a9", "d3": "d3", "o": "o"}


def test_series_that_repeat_each_other_are_told_by_the_first_and_one_of_a_single_step_by_the_other():
    of_a = {"a1": Member("a1", "a", 1), "a2": Member("b2", "a", 2)}
    each_other = of_a | {"b1": Member("a1", "b", 1), "b2": Member("b2", "b", 2)}
    assert main_series(each_other) == {"a": "a", "b": "a"}
    assert speakers(each_other) == {"a1": "b2", "b2": "b2"}  # the recipe of step 2 is called b2
    single = {"a2": Member("a2", "a", 2), "b2": Member("a2", "b", 2), "b3": Member("b3", "b", 3)}
    assert main_series(single) == {"a": "b", "b": "b"}
    assert speakers(single) == {"a2": "b3", "b3": "b3"}


def test_a_replicate_that_is_no_checkpoint_goes_with_its_first():
    members = {"m1": Member("m1", "m", 1), "x": Member("m1"), "m2": Member("m2", "m", 2)}
    assert speakers(members) == {"m1": "m2", "m2": "m2"}
    assert speakers({}) == {}
