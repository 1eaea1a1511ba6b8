"""About this store: where it comes from, what it can be trusted with, what was left out, and what the words mean."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, words
from app.components import manifest_rows, pickers
from app.components.columns import TITLES
from app.components.manifest_rows import name_of, written
from app.words import meanings, metrics
from store.errors import UserError
from store.metrics.definitions import Section, names, sections
from store.metrics.thresholds import DENSE
from store.read.store import Store
from store.read.verification import verify

TITLE = "About this store"
ICON = ":material/info:"
GROUP = "Data"
ORDER = 120

NOTICE = data.ROOT / "NOTICE"
PARTS = ("Provenance", "Dictionaries", "Left out", "Integrity", "Glossary", "Licences")
HARMFUL = (
    "Examples of harmful requests may be part of the corpus, so that it can be seen what safety training changed. Requests "
    "that may be harmful are covered until asked for, and answers to them that are no refusals."
)


def table(rows: list[dict] | pd.DataFrame, key: str, **columns: st.column_config) -> None:
    """A small table, whole."""
    frame = pd.DataFrame(rows)
    st.dataframe(frame, hide_index=True, height="content" if len(frame) <= 30 else 620, key=key, column_config=columns or None)


def provenance(store: Store) -> None:
    """Models, dictionaries and corpus with their hashes; settings; versions; the store's digest, and what it was cut from."""
    manifest = store.manifest
    st.markdown("### Models")
    table(manifest_rows.models(manifest), "models")
    st.markdown("### Dictionaries")
    table(manifest_rows.dictionaries(manifest), "saes")
    if fed := manifest_rows.dictionary_inputs(manifest):
        st.markdown("### What each dictionary was trained on, and is fed")
        table(fed, "fed")
    st.markdown("### Corpus")
    if domains := manifest.corpus.get("domains", {}):
        table([{"domain": name, **counted} for name, counted in domains.items()], "domains")
    table(manifest_rows.sources(manifest), "sources")
    st.markdown("### Settings of the run")
    table([{"setting": name, "value": written(value)} for name, value in manifest.settings.items()], "settings")
    st.markdown("### Made with")
    if manifest.packages:
        table([{"package": name, "version": version} for name, version in manifest.packages.items()], "packages")
    else:
        st.caption("The manifest names no package versions.")
    st.markdown("### This store")
    table([*manifest_rows.identity(manifest), {"what": "labels imported", "value": words.count(store.n_labels)}], "identity")
    if manifest.published_from:
        source = ", ".join(f"{name}: {written(value)}" for name, value in manifest.published_from.items())
        st.markdown(f"A cut-down copy, published from {words.plain(source)}. The notes above say what it leaves out.")
    else:
        st.caption("Not a cut-down copy: everything that the run kept is here.")


def dictionaries(store: Store) -> None:
    """How well the dictionaries describe the base, domain by domain, and then the variants."""
    rows = data.ask(store, Store.dictionary_quality)
    st.caption(
        "FVU: the share of the residuals' variance that the dictionary misses. Self-test: on the pilot's tokens of the base. "
        "Dead: never fires in the base on this corpus, which a larger one may change. "
        f"Dense: fires on over {words.percent(DENSE)} of its tokens."
    )
    table(
        pd.DataFrame(
            {
                "layer": rows["layer"], "dictionary": rows["sae"], "architecture": rows["architecture"],
                "d_model": rows["d_model"], "features": rows["d_sae"], "self-test FVU": rows["self_test_fvu"].map(words.number),
                "self-test L0": rows["self_test_l0"].map(words.number), "dead": rows["dead"].map(words.percent),
                "dense": rows["dense"].map(words.percent),
            }
        ),
        "quality",
    )  # fmt: skip
    st.markdown("### FVU of the base by domain and layer")
    fit = data.ask(store, Store.base_fit)
    fit["fvu"] = fit["fvu_base"].map(words.number)
    wide = fit.pivot(index="domain", columns="layer", values="fvu").loc[fit["domain"].unique()]
    wide.columns = [f"layer {layer}" for layer in wide.columns]
    table(wide.reset_index(), "fvu")
    st.markdown("### Does the dictionary still fit the variants?")
    gate = data.ask(store, Store.variant_gates).pivot(index="variant", columns="layer", values="gate")
    gate.columns = [f"layer {layer}" for layer in gate.columns]
    table(gate.reset_index(), "gates")
    for name, meaning in meanings.GATE_MEANINGS.items():
        st.caption(f"**{name}**: {meaning}")


def left_out(store: Store) -> None:
    """Tokens and documents that do not count, and why."""
    counts, settings = store.manifest.counts, store.manifest.settings
    st.markdown("### Tokens")
    bos = counts.get("bos")
    said = {
        True: "A BOS token was put before every context window for the models; it never counts.",
        False: "No BOS token was put before the context windows.",
    }.get(bos, "The manifest does not say whether a BOS token was used.")
    factor = settings.get("sink_factor")
    sinks = (
        "Attention sinks count in this run, by its settings."
        if settings.get("count_sinks")
        else f"Attention sinks are left out: tokens whose norm in the base is beyond {factor} times the layer's median."
        if factor
        else "Attention sinks are left out."
    )
    st.markdown(f"{said} {sinks}")
    rows = data.ask(store, Store.sinks)
    table(
        pd.DataFrame(
            {"layer": rows["layer"], "tokens that count": rows["n_tokens"], "sinks left out": rows["n_sinks"],
             "share left out": rows["share"].map(words.percent)}
        ),
        "sinks",
    )  # fmt: skip
    st.markdown("### Documents")
    skipped = counts.get("skipped") or {}
    if skipped:
        table([{"documents skipped": number, "why": why} for why, number in skipped.items()], "skipped")
    else:
        st.markdown("No document was skipped.")
    if (cut := counts.get("left_out")) == {}:
        st.markdown("Every document was read whole, as it was given.")
    elif isinstance(cut, dict):
        st.markdown("### Of the documents that were read")
        table([{"how many": written(number), "what": what} for what, number in cut.items()], "cut")
    kept = data.ask(store, Store.kept_codes).iloc[0]
    if kept["kept"] < kept["documents"]:
        number = f"{words.count(kept['kept'])} of {words.count(kept['documents'])}"
        st.markdown(f"The codes of {number} documents were kept; every statistic is of all of them.")
    else:
        st.markdown("The codes of every document were kept.")


def check(store: Store) -> None:
    """Read every file, and say what is wrong with the store, or why that could not be found out."""
    try:
        with st.spinner("Reading every file"):
            problems = verify(store.path)
    except UserError as error:
        st.error(f"It could not be checked: {words.sentence(str(error))}", icon=":material/error:")
        return
    if problems:
        said = ["**This store is damaged**: do not trust what it shows.", *map(words.plain, problems)]
        st.error("  \n".join(said), icon=":material/error:")
        return
    files, rows = len(store.manifest.files), words.count(sum(store.manifest.rows.values()))
    st.success(f"The store is whole: {files} files and {rows} rows are what was written.", icon=":material/check_circle:")


def integrity(store: Store) -> None:
    """Check every byte and row, when asked to."""
    size = sum(file.get("bytes", 0) for file in store.manifest.files.values())
    st.markdown(
        f"Every file was hashed when the store was made. The check reads all of it ({words.count(size / 1e6)} MB) and compares "
        "files, rows and contents with the manifest."
    )
    if st.button("Check this store now", icon=":material/verified_user:", key="verify"):
        check(store)
    table(
        [
            {"file": name, "bytes": words.count(file.get("bytes")), "SHA-256": file.get("sha256", "–")}
            for name, file in sorted(store.manifest.files.items())
        ],
        "files",
    )


def in_app(defined: list[str]) -> str:
    """What the app calls a metric or column; empty where it shows none of them."""
    found = []
    for name in defined:
        if name in metrics.METRICS:
            found.append(f"**{metrics.METRICS[name].label}**")
        elif name in TITLES:
            found.append(f"**{TITLES[name]}**")
    return " · ".join(dict.fromkeys(found))


def definitions(store: Store) -> None:
    """Every definition that contains the words looked for; all of them where none are."""
    st.caption("The tables of docs/metrics.md.")
    sought = st.text_input("Find", key="find", placeholder="a name or a word, e.g. overlap").strip().lower()
    found = False
    for section in sections():
        rows = [(row[0], in_app(names(row)), *row[1:]) for row in section.rows]
        rows = [row for row in rows if sought in " ".join(row).lower()]
        if not rows:
            continue
        found = True
        shown = Section(section.title, (section.columns[0], "in the app", *section.columns[1:]), tuple(rows))
        st.markdown(f"### {section.title}")
        st.markdown(shown.markdown())
    if not found:
        st.info(f"Nothing here is called “{words.plain(sought)}”: try a shorter word.", icon=":material/search_off:")
    st.caption("Tables and columns are described on the page Query.")


def legal(store: Store) -> None:
    """What NOTICE says."""
    st.markdown(
        "The licences of the corpus's sources are under Provenance, where the run's configuration named them. Models, "
        "dictionaries and data of your own keep their licences, and so do the passages of the corpus that this store holds."
    )
    if not NOTICE.is_file():
        st.info("The file NOTICE is not here: it belongs to this program's repository.", icon=":material/search_off:")
        return
    st.caption("NOTICE, about what this repository bundles and its demo is made from:")
    st.code(NOTICE.read_text(encoding="utf-8"), language=None, wrap_lines=True)


SECTIONS = dict(zip(PARTS, (provenance, dictionaries, left_out, integrity, definitions, legal), strict=True))

store = data.current()
st.markdown(f"## {TITLE}")
counts = store.manifest.counts
base = words.plain(name_of(store.manifest.base, "name"))
st.markdown(
    f"**{words.plain(words.listing(store.variants))}** compared with **{base}** on "
    f"{words.count(counts.get('tokens'))} tokens of {words.count(counts.get('documents'))} documents; made "
    f"{words.plain(store.manifest.created[:10])}, digest {words.plain(store.manifest.digest[:12])}."
)
for note in store.manifest.notes:
    st.info(words.plain(note), icon=":material/info:")
st.caption(HARMFUL)
SECTIONS[pickers.pick("Part", "part", PARTS, PARTS[0])](store)
