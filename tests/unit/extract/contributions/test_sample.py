"""Which predictions are asked about, by hand."""

import numpy as np
import torch

from extract.contributions.sample import Passage, _some, slots_of
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


def test_as_many_early_predictions_as_others():
    """Of five early ones those drawn lowest are 4, 1; of three others 6, 7, 5; where one kind ends the other fills up."""
    early = np.arange(8) < 5
    drawn = np.array([50, 20, 60, 30, 10, 90, 40, 70])
    assert sorted(_some(early, drawn, 4)) == [1, 4, 6, 7]
    assert sorted(_some(early, drawn, 7)) == [0, 1, 3, 4, 5, 6, 7]
    assert sorted(_some(early, drawn, 99)) == list(range(8))


def passage(n: int, predicting: list[int]) -> Passage:
    ids = np.arange(10, 10 + n)
    slots = np.full(n, NONE, dtype=np.int8)
    slots[predicting] = REST
    return Passage(n, 0, n, ids, 0, slots, np.array(predicting))


def test_passages_as_a_batch():
    """Three tokens and two, after BOS (2), padded with 0."""
    windows = Windows.of([passage(9, [1]), passage(3, [0, 1]), passage(2, [0])], [1, 2], bos=2, pad=0, device="cpu")
    assert windows.input_ids.tolist() == [[2, 10, 11, 12], [2, 10, 11, 0]]
    assert windows.mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert windows.passage.tolist() == [[-1, 0, 0, 0], [-1, 1, 1, -1]]
    assert windows.predicting.nonzero().tolist() == [[0, 1], [0, 2], [1, 1]]
    assert windows.following.tolist() == [11, 12, 11]
    assert torch.equal(windows.slots[windows.predicting], torch.tensor([REST] * 3))


def test_batches_keep_within_their_bounds():
    """12 padded tokens hold three windows of 3 tokens and BOS; 2**26 bytes of float32
    hold two predictions over 2**23 words."""
    passages = [passage(3, [0])] * 5
    assert list(in_groups(passages, 12, words=10)) == [[0, 1, 2], [3, 4]]
    assert list(in_groups(passages, 1000, words=2**23)) == [[0, 1], [2, 3], [4]]
    assert list(in_groups(passages, 1, words=10)) == [[0], [1], [2], [3], [4]]
