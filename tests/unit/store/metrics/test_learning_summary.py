"""What was learned and what it cost, in sentences, for numbers of every kind."""

import pytest

from store.metrics.learning_summary import Learned, Through, agreement_sentence, cost_sentence, task_sentence, through_sentence

NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            Learned(0.752, 0.6, 0.9, 8, [-0.33]),
            "On its own task it learned +0.752 nats a token (0.6 to 0.9); a random change of that size: -0.33.",
        ),
        (
            Learned(0.3, 0.1, 0.5, 8, [0.2, -0.1]),
            "On its own task nothing was learned that stands beyond chance: +0.3 nats a token (0.1 to 0.5); "
            "a random change of that size: -0.1 to +0.2.",
        ),
        (
            Learned(0.3, -0.1, 0.7, 8, [-0.2]),
            "On its own task nothing was learned that stands beyond chance: +0.3 nats a token (-0.1 to 0.7); "
            "a random change of that size: -0.2.",
        ),
        (Learned(0.3, NAN, NAN, 1, []), "On its own task the text gains +0.3 nats a token; there are no twins."),
        (
            Learned(0.3, NAN, NAN, 1, [-0.2]),
            "On its own task the text gains +0.3 nats a token: too few clusters of documents to tell; "
            "a random change of that size: -0.2.",
        ),
        (
            Learned(0.3, -7, 7, 2, [-0.2]),
            "On its own task the text gains +0.3 nats a token (-7 to 7): too few clusters of documents to tell; "
            "a random change of that size: -0.2.",
        ),
        (
            Learned(0.3, 0.2, 0.4, 4, [-0.2]),
            "On its own task it learned +0.3 nats a token (0.2 to 0.4); a random change of that size: -0.2.",
        ),
        (
            Learned(-0.5, -0.6, -0.4, 8, [-0.2]),
            "On its own task it lost more than chance: -0.5 nats a token (-0.6 to -0.4); a random change of that size: -0.2.",
        ),
    ],
)
def test_of_its_task(found: Learned, said: str):
    assert task_sentence(found) == said


BESIDE = "a random change of that size"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Learned(-0.4, -0.5, -0.3, 8, [-0.25]), f"it costs 0.4 nats a token (0.3 to 0.5), more than {BESIDE}: 0.25."),
        (Learned(-0.22, -0.3, -0.1, 8, [-0.25]), f"it costs 0.22 nats a token (0.1 to 0.3), not told from {BESIDE}: 0.25."),
        (
            Learned(-0.1, -0.15, -0.05, 8, [-0.25, -0.2]),
            f"it costs 0.1 nats a token (0.05 to 0.15), less than {BESIDE}: 0.2 to 0.25.",
        ),
        (Learned(-0.3, -0.4, -0.2, 8, [0.1]), f"it costs 0.3 nats a token (0.2 to 0.4), more than {BESIDE}: -0.1."),
        (Learned(0.02, -0.1, 0.1, 8, [-0.25]), f"no cost can be told: +0.02 nats a token (-0.1 to 0.1); {BESIDE}: -0.25."),
        (Learned(-0.02, -0.1, 0.06, 8, [-0.25]), f"no cost can be told: -0.02 nats a token (-0.1 to 0.06); {BESIDE}: -0.25."),
        (Learned(0.2, 0.1, 0.3, 8, [-0.25]), f"it gains +0.2 nats a token (0.1 to 0.3); {BESIDE}: -0.25."),
        (
            Learned(-0.2, NAN, NAN, 1, [-0.1]),
            f"it gains -0.2 nats a token: too few clusters of documents to tell; {BESIDE}: -0.1.",
        ),
        (Learned(-0.2, -0.3, -0.1, 8, []), "it gains -0.2 nats a token (-0.3 to -0.1); there are no twins."),
    ],
)
def test_of_neutral_text(found: Learned, said: str):
    assert cost_sentence(found) == f"On text that no variant was trained for {said}"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            Through(12, 1.2, 0.57, 0.3, 9),
            "Of +1.2 on the predictions that were taken apart +0.57 passes through layer 12: "
            "+0.3 through its features, 9 of which make half of that, "
            "+0.27 through what its dictionary cannot express.",
        ),
        (
            Through(9, 2, 1, 1.5, 1),
            "Of +2 on the predictions that were taken apart +1 passes through layer 9: "
            "+1.5 through its features, one of which makes half of that, "
            "-0.5 through what its dictionary cannot express.",
        ),
        (
            Through(9, 0, 0, 0, None),
            "Of 0 on the predictions that were taken apart 0 passes through layer 9: 0 through its features, "
            "0 through what its dictionary cannot express.",
        ),
    ],
)
def test_where(found: Through, said: str):
    assert through_sentence(found) == said


def test_a_random_change_learns_nothing_by_its_own_measure():
    """A twin, told beside another twin of its size: neither learned nor a cost beyond chance."""
    twin = Learned(-0.3, -0.4, -0.2, 8, [-0.28])
    assert not twin.is_learned and not twin.is_cost
    assert not Learned(0.2, 0.1, 0.3, 8, [0.25]).is_learned


@pytest.mark.parametrize(
    ("runs", "twins", "said"),
    [
        ([0.853, 0.9], [0.02], "The recipe's other runs work through the same features (correlation +0.853 to +0.9; a random "
         "change of the weights: +0.02)."),
        ([0.9, 0.3], [], "The recipe's other runs work only in part through the same features (correlation +0.3 to +0.9)."),
        ([0.3], [-0.1, 0.4], "The recipe's other runs agree on the features no more than a random change of the weights does "
         "(correlation +0.3; a random change of the weights: -0.1 to +0.4)."),
        ([], [0.02], ""),
    ],
)  # fmt: skip
def test_whether_other_runs_agree(runs: list[float], twins: list[float], said: str):
    assert agreement_sentence(runs, twins) == said
