"""What a source was read as: told in a line, kept in the manifest."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from extract.corpus.document_sources import Source
from extract.corpus.record_formats import Format, Recognised, says_nothing
from store.errors import UserError


@dataclass
class Reading:
    """What one source turned out to hold.

    Attributes:
        formats: format -> records that say something.
        empty: format -> records that say nothing: null, or only white space.
        bad: format -> records whose answer was judged a bad one.
        unread: field with text that was not read -> records that have it.
        n_named: records that are known by an id of their own.
        notes: what was done otherwise than the records say, a sentence each.
    """

    source: Source
    formats: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    n_named: int = 0
    notes: list[str] = field(default_factory=list)
    _known: dict[str, Format] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.notes += self.source.notes()

    def count(self, found: Recognised) -> None:
        """Count a record."""
        self._known.setdefault(found.format.name, found.format)
        kind = self.bad if found.judged_bad else self.empty if says_nothing(found.fields) else self.formats
        kind[found.format.name] += 1
        config = self.source.config
        aside = ("domain", config.source_field, config.cluster_field)
        self.unread.update(name for name in found.unread if name not in aside)

    def close(self) -> None:
        """Note what was not read, once every record was counted.

        Raises:
            UserError: nothing was, though the records hold text.
        """
        fields = _listed(self.unread)
        if self.unread and not self.formats and not self.bad:
            raise UserError(
                f"Of the corpus source '{self.source.name}' nothing can be read: its records hold text in {fields} alone; give "
                "the field that holds it as text_field."
            )
        if self.unread:
            self.notes.append(f"Fields of {self.name} with text that are left unread: {fields}.")

    @property
    def name(self) -> str:
        """What the source is called, in one line."""
        return self.source.name if self.source.name.isprintable() else repr(self.source.name)

    @property
    def format(self) -> str:
        """The format's name; of a mixed source all of them, with the records of each, the most frequent first."""
        counted = self._most_common()
        return counted[0][0] if len(counted) == 1 else ", ".join(f"{name} ({count:,})" for name, count in counted)

    def line(self) -> str:
        """For people: what it was read as, and how much that is."""
        counted = self._most_common()
        said = [f"{self._named(name)}, {_counted(self.formats[name], self._known[name].unit)}" for name, _count in counted]
        mixed = f"{len(said)} formats: " if len(said) > 1 else ""
        empty, bad = self.empty.total(), self.bad.total()
        skipped = f", {_counted(empty, 'records')} without text skipped" if empty else ""
        judged = f", {_counted(bad, 'answers')} that {'was' if bad == 1 else 'were'} judged bad skipped" if bad else ""
        return f"{self.name}: read as {mixed}{'; '.join(said)}{skipped}{judged}{self._texts()}"

    def _most_common(self) -> list[tuple[str, int]]:
        return (self.formats or self.empty or self.bad).most_common()

    def _texts(self) -> str:
        config = self.source.config
        if not self.source.is_texts:
            return ""
        return " (each block between blank lines)" if config.paragraphs else " (each a file; 'paragraphs: true' would split it)"

    def describe(self) -> dict[str, Any]:
        """For the manifest: the source, and what it was read as."""
        return {**self.source.describe(), "format": self.format}

    def _named(self, name: str) -> str:
        remark = self._known[name].remark
        return f"{name} ({remark})" if remark else name


def _listed(names: Iterable[str]) -> str:
    """The first names, sorted."""
    shown = [name if name.isprintable() and len(name) <= 60 else f"{name!r:.60}" for name in sorted(names)]
    return ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "")


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit if count != 1 else unit.removesuffix('s')}"
