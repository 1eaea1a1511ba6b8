"""Word problems with worked answers from reasoning-gym's ``gsm_symbolic``, with every equation checked.

Some of its generators write false equations ("13 / 2/3 = 19"), so an item is kept only where every equation of its
worked answer that can be read holds, at least one could be read, and the last computed value is the answer. Training and
held-out items come from different *templates*, not only from different numbers.
"""

import itertools
import operator
import re
from random import Random

from extract.demo.data.splits import held_out

NUMBER = r"\d[\d,]*(?:\.\d+)?"
_TOKEN = re.compile(rf"(?P<number>{NUMBER})(?P<percent>\s*%)?|(?P<operator>[-+*/()])|(?P<word>[^\W\d_]+)")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def equations_hold(text: str) -> bool | None:
    """Whether every readable equation in a worked answer is true; None where none could be read.

    An equation is ``expression = value``, possibly chained, with units and currency signs in between. A value written
    with decimals may be rounded to them; a whole number may not be.
    """
    verdicts = [verdict for line in _clauses(text) for verdict in _clause_verdicts(line)]
    return all(verdicts) if verdicts else None


def _clauses(text: str) -> list[str]:
    """Split at line ends, sentence ends and words that begin a new statement, so that each part holds one chain."""
    for sign, plain in (("×", "*"), ("÷", "/"), ("−", "-"), ("$", ""), ("€", ""), ("£", ""), ("\u00a0", " ")):
        text = text.replace(sign, plain)
    text = re.sub(r"(?m)^\s*[-•]\s", "", text)  # a bullet, not a minus
    text = re.sub(r"(?<=[\d%)\s])x(?=[\d(\s])", "*", text)
    text = re.sub(r"(\d)\s*%\s*of\b", r"\1% *", text)
    text = re.sub(r"/\s*(?=[A-Za-z])[A-Za-z]+", "", text)  # "15 carrots/minute": a unit, not a division
    return re.split(r"\n|;|:|\.\s|\.$|,\s|\bbecause\b|\bso\b|\bSo\b|\band\b", text)


def _clause_verdicts(clause: str) -> list[bool]:
    sides = clause.split("=")
    verdicts = []
    for left, right in itertools.pairwise(sides):
        computed, value = _suffix_value(left), _prefix_value(right)
        if computed is not None and value is not None:
            amount, decimals = value
            slack = 0.5 * 10.0**-decimals if decimals else 0.0
            verdicts.append(abs(computed - amount) <= slack + 1e-9 * max(1.0, abs(amount)))
    return verdicts


def _suffix_value(text: str) -> float | None:
    """Value of the longest arithmetic expression that ends ``text`` (units ignored), or None.

    A lone number counts only where nothing follows it: "1 hour = 60 minutes" is a conversion, not an equation.
    """
    tokens = list(_TOKEN.finditer(text))
    kept = [token for token in tokens if not token["word"]]
    while kept and kept[-1]["operator"] and kept[-1]["operator"] != ")":
        kept.pop()
    for start in range(len(kept)):
        value = _evaluate(kept[start:])
        if value is None:
            continue
        alone = len(kept) - start == 1
        return None if alone and tokens[-1] is not kept[-1] else value
    return None


def _prefix_value(text: str) -> tuple[float, int] | None:
    """Value of the longest expression that begins ``text`` with its number of decimals, or None."""
    tokens = [token for token in _TOKEN.finditer(text)]
    if not tokens or tokens[0]["word"]:
        return None
    kept = [token for token in tokens if not token["word"]]
    for end in range(len(kept), 0, -1):
        value = _evaluate(kept[:end])
        if value is not None:
            decimals = len(kept[0]["number"].partition(".")[2]) if end == 1 and kept[0]["number"] else 0
            return value, decimals + 2 * bool(decimals and kept[0]["percent"])
    return None


def _evaluate(tokens: list[re.Match]) -> float | None:
    """Value of an infix expression, or None where it is not one. ``2(21)`` multiplies; a leading minus negates."""
    parsed = _parse_sum(tokens, 0)
    return parsed[0] if parsed and parsed[1] == len(tokens) else None


def _parse_sum(tokens: list[re.Match], at: int, minimum: int = 1) -> tuple[float, int] | None:
    """Precedence climbing: (value, index after it) of the expression that starts at ``at``."""
    parsed = _parse_atom(tokens, at)
    while parsed and parsed[1] < len(tokens):
        value, at = parsed
        sign = tokens[at]["operator"]
        step = 0 if sign == "(" else 1  # "2(21)" has no sign of its own
        sign = "*" if sign == "(" else sign
        if _PRECEDENCE.get(sign, 0) < minimum:
            break
        right = _parse_sum(tokens, at + step, _PRECEDENCE[sign] + 1)
        if not right or (sign == "/" and right[0] == 0):
            return None
        parsed = _APPLY[sign](value, right[0]), right[1]
    return parsed


def _parse_atom(tokens: list[re.Match], at: int) -> tuple[float, int] | None:
    if at >= len(tokens):
        return None
    token = tokens[at]
    if token["number"]:
        value = float(token["number"].replace(",", ""))
        return (value / 100 if token["percent"] else value), at + 1
    if token["operator"] == "-":
        inner = _parse_atom(tokens, at + 1)
        return inner and (-inner[0], inner[1])
    if token["operator"] == "(":
        inner = _parse_sum(tokens, at + 1)
        closed = inner and inner[1] < len(tokens) and tokens[inner[1]]["operator"] == ")"
        return (inner[0], inner[1] + 1) if closed else None
    return None


def final_answer(text: str) -> str | None:
    """The number after ``####``, without thousands separators or a needless ``.0``; None where there is none."""
    match = re.search(rf"####\s*[$€£]?(-?{NUMBER})", text)
    return re.sub(r"\.0+$", "", match[1].replace(",", "")) if match else None


def build_item(template: int, generator, draw: int) -> dict | None:
    """One checked problem as ``prompt`` and ``response``, or None where an equation is false or cannot be read."""
    try:
        example = generator(Random(draw), 1.0)
    except (ValueError, IndexError, ZeroDivisionError):
        return None  # a few generators fail on some draws
    worked = re.sub(r"(\d)\.0\b(?!\d)", r"\1", example["metadata"]["answer_cot"])
    body, _, answer = worked.rpartition("####")
    answer = final_answer(f"####{answer}")
    numbers = {number.replace(",", "") for number in re.findall(NUMBER, body)}
    if not answer or not re.fullmatch(r"\d+", answer) or answer not in numbers or not equations_hold(body):
        return None
    question = re.sub(r"(\d)\.0\b(?!\d)", r"\1", example["question"]).strip()
    return {
        "source": f"gsm_symbolic/{template:02d}/{draw}",
        "domain": "maths",
        "prompt": question,
        "response": f"{body.strip()}\n#### {answer}",
    }


def maths_items(draws: range, *, heldout: bool) -> list[dict]:
    """Checked problems of the training or the held-out templates, template by template, distinct questions only."""
    from reasoning_gym.arithmetic.gsm_symbolic.gsm_symbolic import (
        GSMSymbolicDataset,
        GSMSymbolicDatasetConfig,
        tasks_ok,
    )

    generators = GSMSymbolicDataset(GSMSymbolicDatasetConfig(seed=0, size=1)).generators
    items: dict[str, dict] = {}
    for template in tasks_ok:
        if held_out(f"gsm_symbolic/{template:02d}", 0.25) is not heldout:
            continue
        for draw in draws:
            item = build_item(template, generators[template], draw)
            if item:
                items.setdefault(item["prompt"], item)
    return list(items.values())
