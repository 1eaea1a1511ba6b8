"""Long texts to passages, and raw turns to conversations."""

import re

_COARSE = re.compile(r"\b(fuck|shit|bitch|cunt|nigg|fag|rape|porn|dick|pussy|cock|slut|whore|sex)", re.I)
PASSAGE_WORDS = 300
SHORTEST_WORDS = 80


def passages(text: str, words: int = PASSAGE_WORDS) -> list[str]:
    """Cut a text into passages of whole sentences, each at most about ``words`` words.

    A last passage under 80 words is dropped, and so is a passage with a single sentence of three times the length.
    """
    sentences = re.findall(r".+?(?:[.!?:][\"')\]]*(?=\s)\s*|\n\s*\n\s*|\Z)", text.strip(), re.S)
    pieces, current, count = [], "", 0
    for sentence in sentences:
        size = len(sentence.split())
        if current and count + size > words:
            pieces.append(current)
            current, count = "", 0
        current, count = current + sentence, count + size
    pieces.append(current)
    return [piece.strip() for piece in pieces if SHORTEST_WORDS <= len(piece.split()) <= 3 * words]


def tidy_conversation(turns: list[str], fewest: int = 6, most_words: int = 600) -> list[dict[str, str]] | None:
    """Turns of two speakers as chat messages that end with the assistant, or None where too few are left.

    Turns past ``most_words`` words are left out; a conversation with coarse language is left out altogether.
    """
    kept, words = [], 0
    for turn in turns:
        turn = re.sub(r"\s+", " ", turn).strip()
        words += len(turn.split())
        if not turn or words > most_words:
            break
        kept.append(turn)
    kept = kept[: len(kept) // 2 * 2]
    if len(kept) < fewest or _COARSE.search(" ".join(kept)):
        return None
    return [{"role": "assistant" if number % 2 else "user", "content": turn} for number, turn in enumerate(kept)]
