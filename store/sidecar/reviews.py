"""What people judge of features: a judgement, the current ones of a history, and the way through a work list. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from store.errors import UserError
from store.value_types import Index, Word

CONCERN = "concern"
VERDICTS = (CONCERN, "benign", "unclear")
SEVERITIES = ("low", "medium", "high")
MAX_NAME, MAX_NOTE = 80, 5000
"""Characters of a reviewer's name, and of a note."""

Key = tuple[int, int]
"""(layer, feature)."""


@dataclass(frozen=True)
class Review:
    """One judgement of one feature's change in one variant.

    Attributes:
        reviewer: who judged; untrusted text of 1 to MAX_NAME characters.
        verdict: one of VERDICTS.
        severity: one of SEVERITIES, or None where it was not said; of a concern only.
        note: untrusted text of at most MAX_NOTE characters.
        made: ISO 8601 time, UTC; set when it is written.

    Raises:
        UserError: a field is none of these.
    """

    variant: Word
    layer: Index
    feature: Index
    reviewer: Word
    verdict: Word
    severity: Word | None = None
    note: Word = ""
    made: Word = ""

    def __post_init__(self) -> None:
        if not self.reviewer.strip() or len(self.reviewer) > MAX_NAME:
            raise UserError(f"A reviewer needs a name of 1 to {MAX_NAME} characters.")
        if self.verdict not in VERDICTS:
            raise UserError(f"There is no verdict '{self.verdict}' of a reviewer; choose from {', '.join(VERDICTS)}.")
        if self.severity is not None and (self.verdict != CONCERN or self.severity not in SEVERITIES):
            raise UserError(f"Only a concern has a severity, which is one of {', '.join(SEVERITIES)}.")
        if len(self.note) > MAX_NOTE:
            raise UserError(f"A note has at most {MAX_NOTE:,} characters; this one has {len(self.note):,}.")

    @property
    def key(self) -> Key:
        """What was judged."""
        return self.layer, self.feature


def standing(history: Iterable[Review]) -> dict[Key, list[Review]]:
    """The current judgements of one variant's history: of each feature the latest judgement of each reviewer, by name."""
    latest = {(review.key, review.reviewer): review for review in history}
    found: dict[Key, list[Review]] = {}
    for (key, _), review in sorted(latest.items()):
        found.setdefault(key, []).append(review)
    return found


def disagree(reviews: Iterable[Review]) -> bool:
    """Whether the standing judgements of one feature have more than one verdict."""
    return len({review.verdict for review in reviews}) > 1


def step(keys: Sequence[Key], done: Collection[Key], at: Key, ahead: bool) -> Key | None:
    """The next key after `at` (or before it) that is not done, going round at the end; None where only `at` may be left.

    keys: the work list; `at` stands in it.
    """
    place = keys.index(at)
    onward = [*keys[place + 1 :], *keys[:place]]
    return next((key for key in (onward if ahead else reversed(onward)) if key not in done), None)
