"""Labels made from a feature's own evidence."""

from math import log

import numpy as np
import pytest
import torch

from extract.measure import feature_sums
from extract.saes.dictionary import SparseCodes
from extract.tables import labels
from extract.tables.labels import Evidence, Promoted, automatic_labels, group_scores, phrase, token_name

TEXTS = {0: " The", 1: "the", 2: " number", 3: "Number", 4: " figure", 5: " odd", 6: "\n", 7: "<start_of_turn>", 8: "model"}


def evidence(cells, d_sae=1, background=None, density=0.01):
    """Evidence from {(feature, token id): (count, activation)}."""
    keys = sorted(cells)
    count, activation = (np.array([cells[key][i] for key in keys]) for i in (0, 1))
    feature, token = (np.array([key[i] for key in keys], dtype=np.int64) for i in (0, 1))
    background = background or {0: 400, 1: 100, 2: 4, 3: 4, 4: 4, 5: 1, 6: 100, 7: 20, 8: 20}
    return Evidence(feature, token, count, activation.astype(float), background, np.full(d_sae, density))


def label(cells, **kwargs):
    return automatic_labels(evidence(cells, **kwargs), TEXTS, None)[0]


# ---- the score, by hand ----


def test_the_score_is_g2s_term_with_a_prior():
    """Feature 0: 10 firings, activations 30 and 10; feature 1: 4 firings of one token."""
    feature, count = np.array([0, 0, 1]), np.array([6, 4, 4])
    scores, lift = group_scores(feature, count, np.array([30.0, 10.0, 8.0]), np.array([0.1, 0.4, 0.01]))
    assert lift == pytest.approx([80 / 15, 4.5 / 6, 405 / 9])
    assert scores == pytest.approx(
        [
            7.5 * log((7.5 + 5 * 0.1) / 15 / 0.1),  # 10 x 30/40 = 7.5 weighted firings
            2.5 * log((2.5 + 5 * 0.4) / 15 / 0.4),  # fewer than its background explains: negative
            4.0 * log((4.0 + 5 * 0.01) / 9 / 0.01),
        ]
    )
    assert scores[1] < 0 < scores[0]


def test_tokens_beyond_their_background_come_best_first():
    """' number' and 'Number' are one word; 'the' is as common here as in the corpus; the order is the score's."""
    cells = {(0, 2): (4, 8.0), (0, 3): (3, 6.0), (0, 4): (4, 8.0), (0, 0): (9, 4.0)}
    assert label(cells) == "“number”, “figure”"


def test_a_word_seen_once_never_wins():
    assert label({(0, 5): (1, 1000.0), (0, 2): (5, 5.0), (0, 6): (30, 30.0)}) != "“odd”"
    assert "odd" not in label({(0, 5): (2, 1000.0), (0, 2): (12, 12.0)})


def test_a_second_token_must_be_worth_it():
    """A quarter of the best score, at least."""
    much = {(0, 2): (40, 40.0), (0, 4): (3, 3.0)}
    assert label(much) == "“number”"
    rate = np.array([4 / 653, 4 / 653])
    (best, second), _lift = group_scores(np.array([0, 0]), np.array([40, 3]), np.array([40.0, 3.0]), rate)
    assert labels.MIN_SCORE < second < best / 4


def test_at_most_three_tokens_and_ties_by_name():
    texts = {i: f" word{9 - i}" for i in range(6)}
    cells = {(0, i): (5, 5.0) for i in range(6)}
    found = evidence(cells, background=dict.fromkeys(range(6), 5) | {6: 1000})
    assert automatic_labels(found, texts | {6: "x"}, None) == ["“word4”, “word5”, “word6”"]


def test_what_fires_on_everything_alike_says_so():
    """Every token as often as in the corpus: nothing to name it by."""
    assert label({(0, 0): (40, 40.0), (0, 1): (10, 10.0), (0, 6): (10, 10.0)}) == "fires on many different tokens"


def test_a_small_excess_names_nothing_however_certain_it_is():
    """'the' is 450 of 500 firings and 500 of 653 tokens: a lift of 1.17 with a score of 72."""
    cells = {(0, 0): (450, 450.0), (0, 6): (50, 50.0)}
    rate = np.array([500, 100]) / 653
    (score, _), (lift, _) = group_scores(np.array([0, 0]), np.array([450, 50]), np.array([450.0, 50.0]), rate)
    assert score == pytest.approx(450 * log(lift)) and score > 70
    assert lift == pytest.approx((450 + 5 * 500 / 653) / 505 * 653 / 500)
    assert label(cells) == "fires on many different tokens"


def test_what_fires_rarely_says_how_often():
    assert label({(0, 5): (1, 3.0)}) == "fires once, on “odd”"
    assert label({(0, 5): (1, 3.0), (0, 0): (1, 1.0)}) == "fires 2 times, on “odd”, “the”"


def test_dense_features_say_what_they_are():
    assert label({(0, 2): (4, 4.0), (0, 0): (250, 250.0), (0, 6): (50, 50.0)}, density=0.46) == "fires on many tokens, 46%"
    assert label({(0, 0): (400, 400.0)}, density=0.63) == "fires on most tokens, 63%"
    assert label({(0, 2): (8, 80.0), (0, 0): (60, 60.0)}, density=0.11) == "“number” (fires on many tokens, 11%)"


def test_silent_features_are_known_by_what_they_promote():
    promoted = Promoted(np.array([[0, 2], [0, 2]]), np.array([[9.0, 3.0], [5.0, 4.0]]), np.array([1.0, 1.0]))
    found = automatic_labels(evidence({}, d_sae=2, density=0.0), TEXTS, promoted)
    assert found == ["silent in the base → “ The”", "silent in the base"]


def test_promoted_tokens_show_where_they_stand_out():
    """Beyond six standard deviations; at most two, each word once; placeholders of the vocabulary are passed over."""
    texts = TEXTS | {9: "<unused12>", 10: " luck", 11: "Luck", 12: " wish", 13: " hope"}
    promoted = Promoted(np.array([[9, 10, 11, 12, 13]]), np.array([[9.0, 8.0, 8.0, 7.0, 7.0]]), np.array([1.0]))
    assert automatic_labels(evidence({(0, 2): (9, 9.0)}), texts, promoted) == ["“number” → “ luck”, “ wish”"]
    weak = Promoted(promoted.token_ids, promoted.logits, np.array([2.0]))
    assert automatic_labels(evidence({(0, 2): (9, 9.0)}), texts, weak) == ["“number”"]


def test_marks_and_white_space_are_described():
    assert [token_name(text) for text in (" ", "\n", "\n\n", "\t", "<end_of_turn>", "<|im_start|>", "</s>")] == [
        "spaces", "a line's end", "a blank line", "a tab", "end of a turn", "start of a turn", "end of the text"
    ]  # fmt: skip
    assert label({(0, 7): (9, 9.0)}) == "start of a turn"
    assert label({(0, 7): (9, 9.0), (0, 8): (9, 9.0)}) == "start of the model's turn"
    assert phrase(["“user”", "start of a turn", "“hi”"], [], 9, 0.0, []) == "start of the user's turn, “hi”"


def test_a_part_of_a_character_is_no_letter():
    """It names what a feature fires on as the byte that it is; as what is promoted, it says nothing, nor does an unknown id."""
    texts = TEXTS | {9: "<0xE9>", 10: "<0xC3><0xAD>", 11: "⟨90001⟩", 12: " <0xE4>", 13: " né", 14: " th<0xE2>"}
    assert label({(0, 2): (9, 9.0)}) == "“number”"
    found = evidence({(0, 9): (9, 9.0)}, background={0: 400, 9: 4})
    promoted = Promoted(np.array([[9, 10, 11, 12, 13, 14]]), np.full((1, 6), 9.0), np.array([1.0]))
    assert automatic_labels(found, texts, promoted) == ["“<0xe9>” → “ né”, “ th<0xE2>”"]


def test_token_texts_stay_short_and_printable():
    assert token_name("\x1b[31m" + "=" * 50) == "“·[31m" + "=" * 18 + "…”"
    assert token_name(" <b>") == "“<b>”"  # escaping is for the page that shows it


# ---- the sums ----


def random_codes(n_rows, seed):
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.choice(n_rows * 8, size=n_rows * 3, replace=False))
    value = torch.from_numpy(rng.integers(1, 9, len(keys)).astype(np.float32))
    codes = SparseCodes(torch.from_numpy(keys // 8), torch.from_numpy(keys % 8), value, n_rows)
    return codes, rng.integers(0, 6, n_rows).astype(np.int32)


def test_token_sums_by_a_loop():
    codes, token_ids = random_codes(50, seed=1)
    norm = torch.arange(1, 9, dtype=torch.float64)
    sums = feature_sums.token_sums(codes, norm, token_ids)
    expected = {}
    for row, feature, value in zip(codes.row.tolist(), codes.feature.tolist(), codes.value.tolist(), strict=True):
        count, total = expected.get((feature, int(token_ids[row])), (0, 0.0))
        expected[feature, int(token_ids[row])] = (count + 1, total + value * (feature + 1))
    found = zip(*(sums[name].tolist() for name in ("feature", "token_id", "count", "activation")), strict=True)
    assert {(f, t): (n, a) for f, t, n, a in found} == expected
    assert list(expected) != sorted(expected) and list(zip(sums["feature"], sums["token_id"], strict=True)) == sorted(expected)


def test_nothing_fired():
    nothing = torch.zeros(0, dtype=torch.int64)
    sums = feature_sums.token_sums(SparseCodes(nothing, nothing, nothing.float(), 3), torch.ones(8), np.array([1, 2, 3]))
    assert all(len(values) == 0 for values in sums.values())
    assert feature_sums.token_counts(np.array([5, 7, 5]), np.array([True, False, True]))["count"].tolist() == [2]
