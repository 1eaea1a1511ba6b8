"""Which predictions are asked about, by hand."""

from dataclasses import replace

import numpy as np
import torch

from extract.contributions.sample import Passage, _weighted, slots_of, some, weights_of
from extract.contributions.windows import Windows, in_groups

FIRST, OPENING, ANSWER, REST, NONE = 0, 1, 2, 3, -1


def test_of_a_text_every_token_is_predicted_but_a_windows_first():
    """Ten tokens in windows of six and four: token 6 follows none in its window."""
    slots = slots_of(["text"] * 10, np.repeat([0, 1], [6, 4]))
    assert slots.tolist() == [FIRST] * 5 + [NONE, FIRST, REST, REST, NONE]


def test_of_a_conversation_only_answers_are():
    """Answers of six and two tokens, each after a prompt: the first four of each are its start."""
    segments = ["prompt"] * 2 + ["template"] + ["response"] * 6 + ["template", "prompt"] + ["response"] * 2
    slots = slots_of(segments, np.zeros(13, dtype=int))
    first, second = [OPENING] + [ANSWER] * 3 + [REST] * 2, [OPENING, ANSWER]
    assert slots.tolist() == [NONE, NONE, *first, NONE, NONE, *second, NONE]


def test_an_answer_that_goes_on_in_another_window_is_the_rest_there():
    slots = slots_of(["template"] + ["response"] * 6, np.array([0, 0, 0, 1, 1, 1, 1]))
    assert slots.tolist() == [OPENING, ANSWER, NONE, ANSWER, REST, REST, NONE]


def test_a_quarter_is_early_and_an_answers_first_token_is_of_it():
    """An answer of nine tokens: of the first four those drawn lowest of their slot, 0 and 3; of the others 8, 4, 6, 5, 7."""
    slots = np.array([OPENING] + [ANSWER] * 3 + [REST] * 5)
    drawn = np.array([90, 60, 40, 20, 12, 14, 13, 15, 11])
    assert sorted(some(slots, drawn, 4)) == [0, 3, 4, 8]
    assert sorted(some(slots, drawn, 7)) == [0, 3, 4, 5, 6, 7, 8]
    assert sorted(some(slots, drawn, 8)) == [0, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(some(slots, drawn, 99)) == list(range(9))


def test_a_text_begins_with_two_early_predictions_of_eight():
    slots = np.array([FIRST] * 8 + [REST] * 90)
    taken = some(slots, np.arange(98)[::-1], 8)
    assert sorted(taken) == [6, 7, *range(92, 98)]


def test_a_prediction_stands_for_those_of_its_slot():
    """Nine of a window: one of one opening, one of three of an answer, two of five others. Where no other was taken, those two
    stand for all nine, three times as many of an answer as openings."""
    slots = np.array([OPENING] + [ANSWER] * 3 + [REST] * 5)
    assert weights_of(slots, np.array([0, 3, 4, 8])).tolist() == [1, 3, 2.5, 2.5]
    np.testing.assert_allclose(weights_of(slots, np.array([0, 3])), [9 / 4, 27 / 4])


def test_domains_weigh_what_they_have():
    """Two passages of domain 0 with windows of 4 and 6, one of domain 1 with 10; 30 and 10 tokens can be predicted there. Three
    of four parts of the five predictions' weight: 3.75, divided as 4 to 6; 1.25 of domain 1."""
    passages = [
        replace(passage(9, predicting), domain=domain, weights=np.full(len(predicting), total / len(predicting)))
        for domain, predicting, total in ((0, [1, 2], 4.0), (0, [3], 6.0), (1, [2, 5], 10.0))
    ]
    found = [of.weights.tolist() for of in _weighted(passages, [30, 10])]
    np.testing.assert_allclose(np.concatenate(found), [0.75, 0.75, 2.25, 0.625, 0.625])


def passage(n: int, predicting: list[int]) -> Passage:
    ids = np.arange(10, 10 + n)
    slots = np.full(n, NONE, dtype=np.int8)
    slots[predicting] = REST
    return Passage(n, 0, n, ids, 0, slots, np.array(predicting), np.ones(len(predicting)))


def test_passages_as_a_batch():
    """Three tokens and two, after BOS (2), padded with 0."""
    windows = Windows.of([passage(9, [1]), passage(3, [0, 1]), passage(2, [0])], [1, 2], bos=2, pad=0, device="cpu")
    assert windows.input_ids.tolist() == [[2, 10, 11, 12], [2, 10, 11, 0]]
    assert windows.mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert windows.passage.tolist() == [[-1, 0, 0, 0], [-1, 1, 1, -1]]
    assert windows.predicting.nonzero().tolist() == [[0, 1], [0, 2], [1, 1]]
    assert windows.following.tolist() == [11, 12, 11]
    assert windows.weights.tolist() == [1, 1, 1]
    assert torch.equal(windows.slots[windows.predicting], torch.tensor([REST] * 3))


def test_batches_keep_within_their_bounds():
    """12 padded tokens hold three windows of 3 tokens and BOS; 2**26 bytes of float32
    hold two predictions over 2**23 words."""
    passages = [passage(3, [0])] * 5
    assert list(in_groups(passages, 12, words=10)) == [[0, 1, 2], [3, 4]]
    assert list(in_groups(passages, 1000, words=2**23)) == [[0, 1], [2, 3], [4]]
    assert list(in_groups(passages, 1, words=10)) == [[0], [1], [2], [3], [4]]
