"""Ratios of sums over clusters and what each cluster adds to their error: worked by hand."""

import numpy as np
import pytest

from store.metrics.estimates import GroupSums, Sum, ratio
from store.metrics.intervals import by_cluster


def test_a_ratio_and_its_influence_of_three_clusters():
    """x 1 2 3, y 2 2 2: R = 1; without the first 5/4, so that it adds -1/4; without the second 1; without the third 3/4."""
    estimate = ratio(Sum(6.0, np.array([1.0, 2.0, 3.0])), Sum(6.0, np.array([2.0, 2.0, 2.0])))
    assert estimate.value == 1
    assert estimate.influence.tolist() == [-0.25, 0, 0.25]


def test_a_ratio_of_nothing():
    estimate = ratio(Sum(0.0, np.zeros(2)), Sum(0.0, np.zeros(2)))
    assert np.isnan(estimate.value) and np.isnan(estimate.influence).all()


def test_documents_of_a_cluster_are_added_up_whatever_their_order():
    """Clusters 7 and 4 of domains a and b; a document without counted tokens is left out, and so is cluster 9, all of such."""
    documents = {"n_tokens": np.array([1, 2, 0, 4, 0]), "overlap": np.array([0.5, 1.0, 9.0, 3.0, 9.0])}
    sums, domain = by_cluster(documents, np.array(["a", "b", "b", "a", "b"]), np.array([7, 4, 4, 7, 9]))
    assert domain.tolist() == ["b", "a"]
    assert {name: values.tolist() for name, values in sums.items()} == {"n_tokens": [2, 5], "overlap": [1.0, 3.5]}


def test_sums_of_clusters_and_of_all_give_one_value():
    """The fvu about the group's own mean too. Two clusters of 1 and 3 tokens at 0 and 4: mean 3, sum of squares 12, of it 6."""
    clusters = {
        "n_tokens": np.array([1.0, 3.0]), "base_norm2": np.array([0.0, 48.0]), "base_centred2": np.array([1.0, 27.0]),
        "base_error2": np.array([2.0, 4.0]),
    }  # fmt: skip
    totals = {name: values.sum() for name, values in clusters.items()}
    norms = (12.0**2, np.nan, 1.0)  # the sum of h is 12; the pilot's mean is 1
    of_clusters, of_all = GroupSums.of_clusters(clusters, *norms).fvu("base"), GroupSums.of_totals(totals, *norms).fvu("base")
    assert of_clusters.value == pytest.approx(6 / 12) and of_all.value == pytest.approx(6 / 12)
    assert of_clusters.influence.shape == (2,) and of_all.influence.shape == (0,)
