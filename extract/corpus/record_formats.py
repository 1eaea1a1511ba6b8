"""The formats of fine-tuning data: which fields of a record hold what it says, in the order in which they are recognised.

A record is recognised by the fields that it fills, and becomes one of three: ``text``; ``prompt`` and ``response``; or
``messages`` (role and content), perhaps with ``tools``. Where it fits several formats, the first of FORMATS is taken, but
for two: messages that await the chosen answer beside them are a preference; and the text beside an instruction and its
answer, as tatsu-lab/alpaca has one, is what those were rendered to, and they are read instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from extract.corpus.chat_turns import ANSWERS, PROMPTS, is_filled, is_list, is_null, is_share_gpt
from extract.corpus.exchanges import AROUND, CHATS, awaits_chosen, chat_of, chosen_of, is_answer, is_chosen, pair_of
from extract.corpus.left_unread import Taken, left_unread

Fields = Mapping[str, Any]

HALVES = ("prompt", "response")
"""Where one is null, a record says nothing, whatever else there is."""
JUDGEMENTS = ("label", "kto_tag")
"""Fields in which KTO says whether an answer is a good one."""
WITHOUT_TEXT = {"text": None}
"""What a record becomes that holds null instead of what it should say."""
JUDGED_BAD = {"text": None, "judged": False}
"""What a record becomes whose answer is one that a model should not give."""


@dataclass(frozen=True)
class Format:
    """One way to write a record.

    Attributes:
        name: what people call it.
        fields: that a record must fill.
        read: the record's fields -> what it becomes; ValueError where one of them cannot be read.
        accepts: whether a value can be what is looked for.
        unless: whether a record that fits is meant otherwise.
        unit: what its records are called in a count.
        remark: what is said of it beside its name.
    """

    name: str
    fields: tuple[str, ...]
    read: Callable[[Taken], Fields]
    accepts: Callable[[Any], bool]
    unless: Callable[[Fields], bool] = lambda _fields: False
    unit: str = "conversations"
    remark: str = ""

    def fits(self, fields: Fields, empty: bool = False, null: bool = False) -> bool:
        """Whether a record has what this format needs.

        Args:
            empty: a field that is there and holds nothing will do.
            null: so will one that is null.
        """
        return all(name in fields and self._takes(fields[name], empty, null) for name in self.fields)

    def _takes(self, value: Any, empty: bool, null: bool) -> bool:
        return (null and is_null(value)) or (self.accepts(value) and (empty or is_filled(value)))


@dataclass(frozen=True)
class Recognised:
    """A record and the format that it was read by.

    Attributes:
        fields: text; prompt and response; or messages.
        unread: fields with text that are not read.
    """

    format: Format
    fields: Fields
    unread: tuple[str, ...] = ()

    @property
    def judged_bad(self) -> bool:
        """Whether its answer is one that a model should not give."""
        return self.fields is JUDGED_BAD


def recognise(fields: Fields, wanted: str | None = None) -> Recognised:
    """Read a record by the first format that it fits; by one of whose fields some hold nothing only where it fits no other.

    Args:
        wanted: name of the only format that it may have.

    Raises:
        ValueError: it fits none, or a field of it cannot be read; the message goes on after 'The document at …'.
    """
    formats = [known for known in FORMATS if wanted is None or known.name == wanted]
    for empty, null in ((False, False), (True, False), (True, True)):
        for known in formats:
            if known.fits(fields, empty, null) and (wanted is not None or not known.unless(fields)):
                return _nothing(known, fields) if null else _read(known, Taken(fields))
    if wanted is None and any(is_null(fields.get(name)) for name in HALVES if name in fields):
        return _nothing(_TEXT, fields)
    kinds = {name: "" if isinstance(value, str) else f", a {type(value).__name__}" for name, value in fields.items()}
    held = "; ".join(sorted(f"{name!r}{kind}" for name, kind in kinds.items())[:10]) or "no fields"
    if wanted is not None:
        needed = next(iter(formats)).fields
        raise ValueError(f"is not of the format '{wanted}', whose fields are {', '.join(map(repr, needed))} (it has {held})")
    raise ValueError(
        f"has none of: {COMMON} (it has {held}); give the field that holds the text as text_field, or write the records in one "
        "of these formats"
    )


def says_nothing(fields: Fields) -> bool:
    """Whether what a record became is null, or only white space."""
    said = [fields.get(name) for name in ("text", *HALVES)] if "messages" not in fields else []
    said += [turn.get("content") or turn.get("tool_calls") for turn in fields.get("messages", ()) if isinstance(turn, dict)]
    return not any(one.strip() if isinstance(one, str) else one for one in said)


def named_format(name: str) -> str:
    """A format's name as it is written here, whatever its case.

    Raises:
        ValueError: there is none of that name.
    """
    for known in FORMATS:
        if known.name.casefold() == name.casefold():
            return known.name
    raise ValueError(f"there is no format {name!r}; choose from {', '.join(repr(known.name) for known in FORMATS)}")


# ---- reading ----


def _read(known: Format, fields: Taken) -> Recognised:
    if known.unit == "conversations" and any(_is_false(fields.look(name)) for name in JUDGEMENTS):
        return Recognised(known, JUDGED_BAD)
    said = known.read(fields)
    if any(is_null(message.get("content")) and not message.get("tool_calls") for message in said.get("messages", ())):
        return _nothing(known, fields)
    if says_nothing(said):
        return Recognised(known, said, _nothing(known, fields).unread)
    return Recognised(known, said, left_unread(fields, said))


def _nothing(known: Format, fields: Fields) -> Recognised:
    """A record that says nothing: half of a pair is none, and what stands around it neither."""
    others = {name: value for name, value in fields.items() if name not in (*AROUND, *known.fields)}
    return Recognised(known, WITHOUT_TEXT, left_unread(Taken(others), {}))


def _is_false(value: Any) -> bool:
    """Whether it is false, or the word as a cell of a table has it; not 0, which is a class."""
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _is_rendered(fields: Fields) -> bool:
    """Whether the text of a record is what an instruction and its answer, which stand beside it, were rendered to."""
    answers = [fields[name] for name in ANSWERS if name in fields]
    return is_filled(fields.get("instruction")) and any(is_null(answer) or is_answer(answer) for answer in answers)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _chat(name: str, field: str, share_gpt: bool) -> Format:
    def accepts(value: Any) -> bool:
        return is_list(value) and is_share_gpt(value) == share_gpt

    unless = {"messages": awaits_chosen}.get(field, lambda _fields: False)
    return Format(name, (field,), chat_of(field), accepts, unless)


def _of_pair(prompt: str, answer: str) -> Format:
    name = "Alpaca" if (prompt, answer) == ("instruction", "output") else f"{prompt} and {answer}"
    return Format(name, (prompt, answer), pair_of(prompt, answer), is_answer)


_TEXT = Format("text", ("text",), lambda fields: {"text": fields["text"]}, _is_text, _is_rendered, unit="documents")
_FIRST = _of_pair("prompt", "response")
FORMATS = (
    _chat("messages", "messages", share_gpt=False),
    _chat("ShareGPT", "messages", share_gpt=True),
    _FIRST,
    _TEXT,
    Format("preference", ("chosen",), chosen_of, is_chosen, remark="the chosen answer of each"),
    *(_chat("ShareGPT", field, share_gpt=True) for field in CHATS),
    *(_chat("messages", field, share_gpt=False) for field in CHATS),
    *(pair for names in product(PROMPTS, ANSWERS) if (pair := _of_pair(*names)).name != _FIRST.name),
)
"""Those of before the others came first, so that no file is read otherwise than it was."""
COMMON = (
    "text; prompt and response (or completion, and other names of the two); messages; conversations (ShareGPT); instruction, "
    "input and output (Alpaca); question and answer; prompt and chosen"
)
