"""A review report as one HTML page: nothing from elsewhere, no script, everything escaped, fit to print. Pure."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

from store.metrics.evidence import POWER
from store.reports.review import list_in_words
from store.sidecar.reviews import CONCERN
from store.text import in_place, lines, visible

MOST_LISTED = 2000
"""Features named one by one where they were not reviewed; the JSON names all."""

STYLE = """
:root { color-scheme: light dark; --line: rgba(128,128,128,0.35); --soft: rgba(128,128,128,0.10); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 0.3rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; }
h3 { font-size: 1.05rem; margin: 0 0 0.3rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 0.5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.9rem 0.2rem 0; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
td.n, th.n { text-align: right; padding-right: 0.7rem; vertical-align: bottom; overflow-wrap: normal; }
td.n { white-space: nowrap; }
.facts th { white-space: nowrap; }
code, .window { font-family: ui-monospace, "Source Code Pro", monospace; font-size: 0.84rem; }
code { overflow-wrap: anywhere; }
.feature { border: 1px solid var(--line); border-left: 5px solid #808495; border-radius: 6px; padding: 0.8rem 1rem;
  margin: 0.9rem 0; }
.feature.concern { border-left-color: #c43c39; }
.feature.benign { border-left-color: #2a9d4e; }
.feature.unclear { border-left-color: #d08a1d; }
.judgement { margin: 0.35rem 0; padding: 0.3rem 0.7rem; background: var(--soft); border-radius: 4px; overflow-wrap: anywhere; }
.differ { font-weight: 600; }
.soft { opacity: 0.75; font-size: 0.88rem; }
.window { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.15rem 0; }
.window > b { font: 0.75rem system-ui, sans-serif; opacity: 0.7; display: inline-block; width: 4.5rem; overflow: hidden;
  text-overflow: ellipsis; vertical-align: bottom; }
.window > span { unicode-bidi: isolate; }
.peak { outline: 1.5px solid currentColor; border-radius: 2px; }
.fs-mark { opacity: 0.55; }
#show:not(:checked) ~ main .window > span { filter: blur(0.4em); user-select: none; }
@media print {
  body { max-width: none; margin: 0; font-size: 10.5pt; }
  .feature { break-inside: avoid; } h2 { break-after: avoid; }
  .window > span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  #show, label.show { display: none; }
  #show:not(:checked) ~ main .window { display: none; }
  #show:not(:checked) ~ main .contexts::after { content: "Example text was left out of this print."; font-style: italic; }
}
"""
HEAD = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
)
COLOURS = {"base": "31,131,198", "variant": "221,107,16"}
FACTS = (
    ("shift", "shift"), ("floor", "floor"), ("floor_ratio", "shift / floor"), ("z", "z"), ("q", "q"),
    ("minimum_detectable", "smallest detectable shift"), ("near_threshold", "flips near threshold"),
    ("freq_base", "frequency in base"), ("freq_variant", "frequency in variant"), ("mean_base", "mean in base"),
    ("mean_variant", "mean in variant"), ("n_documents", "documents"),
)  # fmt: skip
SHARES = ("near_threshold", "freq_base", "freq_variant")


def as_html(content: dict[str, Any]) -> str:
    """The page for the content of :func:`store.reports.review.collect`."""
    chosen, store = content["work_list"], content["store"]
    title = f"Review of {visible(chosen['variant'])} against {visible(str(store['base'].get('name', 'base')))}"
    main = [
        f"<h1>{title}</h1>",
        f'<p class="soft">Featureshift review, {_time(content["made"])} · store <code>{visible(store["digest"])}</code></p>',
        _summary(content),
        "<h2>Reviewed</h2>",
        *(_feature(one, chosen["variant"]) for one in content["reviewed"]),
        "" if content["reviewed"] else "<p>No feature of this list was reviewed.</p>",
        _elsewhere(content["reviewed_elsewhere"]),
        _left(content["not_reviewed"], chosen["total"]),
        _sensitivity(content["sensitivity"]),
        _fit(content["fit"]),
        _provenance(store),
    ]
    return (
        f"{HEAD}<title>{_plain_title(chosen['variant'])}</title><style>{STYLE}</style></head><body>"
        '<input type="checkbox" id="show"> <label class="show" for="show">Show example text (some may be harmful)</label>'
        f"<main>{''.join(main)}</main></body></html>"
    )


def _plain_title(variant: str) -> str:
    """A title holds no markup, so that a character which cannot be shown becomes a replacement."""
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in f"Review of {variant}"))


def _summary(content: dict[str, Any]) -> str:
    done, chosen = content["progress"], content["work_list"]
    who = ", ".join(f"<bdi>{visible(name)}</bdi> ({count:,})" for name, count in done["reviewers"].items()) or "nobody yet"
    rows = [
        ("Work list", f"{_counted(done['total'], 'feature')}: {visible(list_in_words(chosen))}"),
        ("Reviewed", f"{done['reviewed']:,} of {done['total']:,}, {_counted(done['concerns'], 'concern')}"),
        ("Not reviewed", f"{content['not_reviewed']['count']:,}"),
        ("Reviewers disagree on", _counted(done["disagreements"], "feature")),
        ("Reviewers", who),
        ("Could not have been seen", _blindness(content["sensitivity"])),
    ]
    return f'<table class="facts">{"".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)}</table>'


def _blindness(rows: Sequence[dict[str, Any]]) -> str:
    """How many features nothing can be said of, and from where on a change of the others would have been found."""
    if not any(row["testable"] or row["untestable"] for row in rows):
        return "Nothing was tested: this store has no noise floor, so no change of any feature is claimed or excluded."
    silent, untestable, testable = (sum(row[name] for row in rows) for name in ("silent", "untestable", "testable"))
    said = (
        f"{_counted(untestable, 'feature')} fired too seldom to be tested and {silent:,} never fired: any change of theirs, "
        "however large, would have stayed hidden."
    )
    least = [row["smallest"] for row in rows if row["smallest"] is not None]
    if not least:
        return f"{said} None was testable."
    return (
        f"{said} Of the {testable:,} tested, the smallest shift that could have been seen is {_number(min(least))} in the most "
        "sensitive feature; by layer see below."
    )


def _feature(one: dict[str, Any], variant: str) -> str:
    judged = [judgement["verdict"] for judgement in one["judgements"]]
    gravest = CONCERN if CONCERN in judged else "unclear" if "unclear" in judged else "benign"
    numbers = one["numbers"]
    label = f" · <bdi>{visible(one['label'])}</bdi>" if one["label"] else ""
    said = ", ".join(
        f"{title} {_number(100 * numbers[name])} %" if name in SHARES else f"{title} {_number(numbers[name])}"
        for name, title in FACTS
        if numbers[name] is not None
    )
    differ = '<p class="differ">Reviewers disagree.</p>' if one["disagreement"] else ""
    contexts = "".join(_context(context, variant) for context in one["contexts"])
    title = f"Contexts, most {one['ranking']}d" if contexts else "No contexts are kept."
    return (
        f'<section class="feature {gravest}"><h3>L{one["layer"]}:{one["feature"]}{label}</h3>'
        f"{''.join(_judgement(judgement) for judgement in one['judgements'])}{differ}"
        f"<p>Verdict of the store: {visible(numbers['verdict'] or 'none')}, {visible(numbers['kind'])}; fit: "
        f"{visible(numbers['gate'] or 'unknown')}. {visible(one['reason'])}</p>"
        f'<p class="soft">{said}</p><div class="contexts"><p><b>{title}</b></p>{contexts}</div></section>'
    )


def _judgement(judgement: dict[str, Any]) -> str:
    severity = f", {judgement['severity']}" if judgement["severity"] else ""
    note = f"<br><bdi>{lines(judgement['note'])}</bdi>" if judgement["note"] else ""
    return (
        f'<div class="judgement"><b>{visible(judgement["verdict"] + severity)}</b> · '
        f'<bdi>{visible(judgement["reviewer"])}</bdi> <span class="soft">{_time(judgement["made"])}</span>{note}</div>'
    )


def _context(context: dict[str, Any], variant: str) -> str:
    top = max(*context["base"], *context["variant"], 0.0)
    a, b = context["base"][context["peak"]], context["variant"][context["peak"]]
    rows = "".join(
        f'<div class="window"><b>{visible(name)}</b>{_window(context, model, top)}</div>'
        for model, name in (("base", "base"), ("variant", variant))
    )
    return (
        f'<p class="soft">{visible(str(context["domain"]))} · {visible(str(context["source"]))} · token '
        f"{context['position']:,} · {_number(a)} → {_number(b)}</p>{rows}"
    )


def _window(context: dict[str, Any], model: str, top: float) -> str:
    spans = []
    for i, (token, value) in enumerate(zip(context["tokens"], context[model], strict=True)):
        strength = max(0.06, 0.62 * math.sqrt(value / top)) if value > 0 else 0
        style = f' style="background:rgba({COLOURS[model]},{strength:.2f})"' if strength else ""
        peak = ' class="peak"' if i == context["peak"] else ""
        spans.append(f"<span{peak}{style}>{in_place(token, i > 0)}</span>")
    return "".join(spans)


def _elsewhere(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    table = (
        (f"L{row['layer']}:{row['feature']}", "".join(_judgement(judgement) for judgement in row["judgements"])) for row in rows
    )
    return (
        f"<h2>Reviewed, but not in this list</h2><p>{_counted(len(rows), 'feature')} of this variant, judged under other "
        f"filters; their evidence is not repeated here.</p>{_table(('Feature', 'Judgements'), table)}"
    )


def _left(left: dict[str, Any], total: int) -> str:
    names = ", ".join(f"L{layer}:{feature}" for layer, feature in left["features"][:MOST_LISTED])
    more = left["count"] - MOST_LISTED
    rest = f" and {more:,} more, which the JSON names" if more > 0 else ""
    said = "None: every feature of the list has a judgement." if total else "The list is empty."
    if left["count"]:
        said = f"{_counted(left['count'], 'feature')} of the list: <code>{names}</code>{rest}."
    return f"<h2>Not reviewed</h2><p>{said}</p>"


def _sensitivity(rows: Sequence[dict[str, Any]]) -> str:
    titles = ("Layer", "Features", "Never fired", "Untestable", "Tested", "Smallest", "25 %", "Median", "75 %", "Largest",
              "Even a complete loss may hide")  # fmt: skip
    names = ("layer", "d_sae", "silent", "untestable", "testable", "smallest", "quarter", "median", "three_quarters", "largest",
             "blind")  # fmt: skip
    body = ([_number(row[name]) for name in names] for row in rows)
    return (
        "<h2>What could have been seen</h2>"
        f"<p>{_blindness(rows)} For the tested features, the distribution of the smallest shift (mean change of the scaled "
        f"activation, either way) that would have been found with a probability of {POWER:.0%}; the last column counts those "
        f"of them for which that is more than their whole mean in the base.</p>{_table(titles, body, right=True)}"
    )


def _fit(rows: Sequence[dict[str, Any]]) -> str:
    body = ((str(row["layer"]), visible(row["gate"]), _number(row["fvu_base"]), _number(row["fvu_variant"])) for row in rows)
    return "<h2>Does the dictionary still fit</h2><p>Where it does not, features prove nothing.</p>" + _table(
        ("Layer", "Gate", "Unexplained in base", "In variant"), body
    )


def _provenance(store: dict[str, Any]) -> str:
    rows = [
        ("store", store["created"], store["digest"]),
        ("base", store["base"].get("name"), store["base"].get("sha256")),
        ("variant", store["variant"]["variant"], store["variant"].get("sha256")),
        *((f"dictionary, layer {layer}", sae.get("name"), sae.get("sha256")) for layer, sae in store["dictionaries"].items()),
        ("tokenizer", None, store["tokenizer"].get("sha256")),
        ("corpus, the tokens read", None, store["corpus"].get("sha256")),
        *(
            ("corpus, a source", source.get("file") or source.get("dataset"), source.get("sha256"))
            for source in store["corpus"].get("sources", [])
            if isinstance(source, dict)
        ),
    ]
    if store["published_from"]:
        rows.insert(1, ("cut from the store", None, store["published_from"].get("digest")))
    body = ((visible(what), visible(str(name or "–")), f"<code>{visible(str(sha or '–'))}</code>") for what, name, sha in rows)
    notes = "".join(f"<p>{lines(note)}</p>" for note in store["notes"])
    return f"<h2>Made from</h2>{_table(('What', 'Name', 'SHA-256'), body)}{notes}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: bool = False) -> str:
    """Cells are HTML already."""
    attribute = ' class="n"' if right else ""
    head = "".join(f"<th{attribute}>{title}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td{attribute}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _time(made: str) -> str:
    """'2026-03-04 05:06:07 UTC', from ISO 8601."""
    return f"{visible(made[:19].replace('T', ' '))} UTC"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _number(value: float | None) -> str:
    """'1,234', '−0.123', '–' where there is none."""
    if value is None:
        return "–"
    whole = isinstance(value, int) or abs(value) >= 1000
    written = f"{value:,.0f}" if whole else f"{value:.3g}"
    return written.replace("-", "−", 1) if value < 0 else written
