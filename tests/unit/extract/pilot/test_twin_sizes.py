"""How large a twin is made: its relative shift is its variant's within 5 %, in few readings, or it is said that it is not."""

import math

import numpy as np
import pytest
import torch

from extract.corpus.documents import Document
from extract.pilot.twin_sizes import MOST_READINGS, TwinSize, find_size, notes, relative_shift, sample


class Twin:
    """A twin whose relative shift at each layer is size x factor^slope."""

    def __init__(self, sizes: dict[int, float], slope: float = 1.0) -> None:
        self.sizes, self.slope, self.read = sizes, slope, []

    def __call__(self, factor: float) -> dict[int, float]:
        self.read.append(factor)
        return {layer: size * factor**self.slope for layer, size in self.sizes.items()}


def test_relative_shift_by_hand():
    """Of (3, 4) and (0, 5), moved by (3, 0) and (0, 4): sqrt(25 / 50); the token of norm 100 does not count."""
    base = torch.tensor([[3.0, 4.0], [0.0, 5.0], [100.0, 0.0]])
    other = base + torch.tensor([[3.0, 0.0], [0.0, 4.0], [50.0, 0.0]])
    assert relative_shift(base, other, 20.0) == pytest.approx(math.sqrt(0.5))
    assert relative_shift(base, base, 20.0) == 0


def test_one_that_is_as_large_already_is_read_once():
    twin = Twin({1: 0.21, 2: 0.19})
    size = find_size(twin, {1: 0.2, 2: 0.2})
    assert twin.read == [1.0] and size.factor == 1.0
    assert size.ratio == pytest.approx(math.sqrt(1.05 * 0.95))


def test_the_first_power_needs_two_readings():
    """Half as large at one layer and an eighth at the other: a quarter in geometric mean, so four times the change."""
    twin = Twin({1: 0.5, 2: 0.125})
    size = find_size(twin, {1: 1.0, 2: 1.0})
    assert twin.read == [1.0, 4.0]
    assert (size.factor, size.ratio) == (4.0, pytest.approx(1.0))


@pytest.mark.parametrize("slope", [0.5, 0.9, 1.09, 2.0])
@pytest.mark.parametrize("ratio", [0.02, 0.4, 3.0])
def test_other_powers_are_found(slope, ratio):
    twin = Twin({1: ratio}, slope)
    size = find_size(twin, {1: 1.0})
    assert size.is_near_enough and len(twin.read) <= MOST_READINGS
    assert size.factor**slope * ratio == pytest.approx(1.0, abs=0.05)


def test_a_variant_that_changes_nothing_has_twins_that_change_nothing():
    twin = Twin({1: 0.0})
    assert find_size(twin, {1: 0.0, 2: 0.0}) == TwinSize(0.0, 1.0) and twin.read == []


def test_layers_below_a_change_say_nothing_of_its_size():
    """Of a change at layer 2 layer 1 sees nothing, or its rounding."""
    for below in (0.0, 1e-7):
        assert find_size(Twin({1: 0.0, 2: 0.2}), {1: below, 2: 0.1}).factor == 0.5


def test_what_cannot_be_reached_is_said_with_the_nearest():
    readings = []

    def read(factor: float) -> dict[int, float]:
        readings.append(factor)
        return {1: min(0.5, 0.3 * factor)}

    size = find_size(read, {1: 1.0})
    assert len(readings) == MOST_READINGS and size.ratio == 0.5
    (note,) = notes({"maths:twin_1": size, "maths:twin_2": TwinSize(2.0, 0.97)})
    assert "'maths:twin_1' came to 50 % of its variant's size in 6 readings" in note


def test_a_twin_that_changes_nothing_is_made_larger_and_never_divided_by():
    assert find_size(lambda _factor: {1: 0.0}, {1: 1.0}).ratio == 0
    assert notes({"x:twin_1": TwinSize(1.0, 0.0)})


def test_the_sample_is_whole_documents_in_their_order():
    documents = [Document(str(n), "web", np.zeros(900, np.int32), np.zeros(900, np.int8)) for n in range(5)]
    assert [document.source for document in sample(documents)] == ["0", "1", "2"]
    assert len(sample(documents[:2])) == 2
