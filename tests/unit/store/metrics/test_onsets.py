"""When a change begins, and what does not last: small courses, each worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.metrics.onsets import NEVER, came_and_went, first_claims, onsets, turned

COURSES = [  # ways over four steps, onset, first claim, whether it came and went; those of TURNED turned, no other
    ([0, 0, 0, 0], NEVER, NEVER, False),
    ([0, 0, 0, -1], 3, 3, False),
    ([0, -1, -1, -1], 1, 1, False),
    ([1, 1, 1, 1], 0, 0, False),
    ([0, -1, 0, 0], NEVER, 1, True),  # came and went
    ([-1, -1, -1, 0], NEVER, 0, True),
    ([0, -1, 0, -1], 3, 1, False),  # flickers: claimed at the last again, from there on only
    ([-1, 0, -1, -1], 2, 0, False),
    ([-1, -1, 1, 1], 2, 0, False),
    ([1, 0, 0, -1], 3, 0, False),
    ([0, 1, -1, 0], NEVER, 1, True),
]
TURNED = ([-1, -1, 1, 1], [1, 0, 0, -1])
"""The first way did not last, and the other one, claimed at the last, began later."""


@pytest.mark.parametrize(("ways", "onset", "first", "went"), COURSES)
def test_each_course(ways, onset, first, went):
    row = np.array([ways])
    assert (onsets(row)[0], first_claims(row)[0], came_and_went(row)[0]) == (onset, first, went)
    assert turned(row)[0] == (ways in TURNED)


def test_all_at_once_are_each_by_itself():
    ways = np.array([course for course, *_ in COURSES])
    np.testing.assert_array_equal(onsets(ways), [onset for _, onset, _, _ in COURSES])
    np.testing.assert_array_equal(first_claims(ways), [first for _, _, first, _ in COURSES])
    np.testing.assert_array_equal(came_and_went(ways), [went for *_, went in COURSES])
    np.testing.assert_array_equal(turned(ways), [course in TURNED for course, *_ in COURSES])


def test_of_one_step_the_claim_is_its_own_onset_and_without_steps_nothing_is_claimed():
    one = np.array([[0], [1], [-1]])
    assert onsets(one).tolist() == [NEVER, 0, 0] and not came_and_went(one).any()
    assert not turned(one).any()
    none = np.zeros((2, 0), dtype=int)
    assert onsets(none).tolist() == first_claims(none).tolist() == [NEVER, NEVER]
    assert came_and_went(none).tolist() == turned(none).tolist() == [False, False]
    assert onsets(np.zeros((0, 4), dtype=int)).shape == (0,)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=7))
def test_by_the_definition_step_by_step(ways):
    """The definitions written as loops over single steps."""
    last, steps = ways[-1], range(len(ways))
    every_later = [at for at in steps if last and all(way == last for way in ways[at:])]
    row = np.array([ways])
    assert onsets(row)[0] == (min(every_later) if every_later else NEVER)
    assert first_claims(row)[0] == next((at for at in steps if ways[at]), NEVER)
    assert came_and_went(row)[0] == (any(ways) and last == 0)
    assert turned(row)[0] == (last != 0 and -last in ways)
