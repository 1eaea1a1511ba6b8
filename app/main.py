"""The frame: page settings, the store picker, the way around, presentation mode. `streamlit run app/main.py -- [STORE ...]`"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Streamlit puts app/ on the path, not the root.

import duckdb
import streamlit as st
from starlette.middleware import Middleware

from app import server
from store.errors import Replaced, UserError, first_line, reason
from store.format.manifest import DATABASE_FILE
from store.read.store import Store
from store.templates import style

# Streamlit executes this file for a visitor's page; the server, when it is started, imports it.
RUNS_A_PAGE = __name__ == "__main__"

if RUNS_A_PAGE:
    from app import data, link, pages, words
    from app.components import pickers, runs, scripts, tour
    from app.markup import contexts

STYLE = """<style>
.stMainBlockContainer { padding: 1.8rem 2.6rem 3rem 2.6rem; }
@media (max-width: 768px) { .stMainBlockContainer { padding: 3.6rem 1.2rem 3rem 1.2rem; } }
[data-testid="stSidebarHeader"] { height: 2.6rem; margin-bottom: 0; }
h2 { padding-top: 0; }
[data-testid="stCaptionContainer"], .stApp kbd { opacity: 0.8; }
[data-testid="stSidebar"] [data-testid="stVerticalBlock"] { gap: 0.35rem; }
[data-testid="stPageLink"] p { overflow: hidden; text-overflow: ellipsis; }
[data-testid^="stBaseButton-primary"] { color: light-dark(#ffffff, #0c1b22); }
.stVegaLiteChart svg text[fill="#808495"] { fill: #666a7b; }
.stVegaLiteChart svg text[fill="#767a8c"] { fill: light-dark(#666a7b, #9a9eb0); }
[data-testid="stPageLink"] a:focus-visible, .stDataFrame:has(canvas:focus-visible, td:focus-visible) {
  outline: 2px solid light-dark(#2a6f97, #85c1da); }
[data-testid="stElementToolbar"] button[aria-label^="Download as"] svg { display: none; }
[data-testid="stElementToolbar"] button[aria-label^="Download as"]::after { font-size: 0.75rem; }
[data-testid="stElementToolbar"] button[aria-label^="Download as CSV"]::after { content: "CSV"; }
[data-testid="stElementToolbar"] button[aria-label^="Download as PNG"]::after { content: "PNG"; }
[data-testid="stElementToolbar"] button[aria-label^="Download as SVG"]::after { content: "SVG"; }
</style>"""
# Below the margins: what Streamlit draws paler than 4.5:1 (test_contrast.py), and palette.QUIET_COLOUR, which no one grey
# can be on both a white and a dark page; then what would show no focus, and files by their kind.

PRINT, PRINT_DARK = (style(Path(__file__).parent / "markup" / file) for file in ("print.css", "print_dark.css"))

# Larger type and no sidebar: everything of Streamlit is sized by the root's type.
PRESENTATION = """<style>
html { font-size: 20px !important; }
[data-testid="stSidebar"], [data-testid="stExpandSidebarButton"] { display: none; }
.stMainBlockContainer { padding-top: 2.2rem; }
</style>"""

# Address of a page that is no more -> the page that took it in, and the parameters that show it there.
MOVED = {"shifted": ("features", {}), "shape": ("words", {"open": "shape"}), "template": ("layers", {"view": "template"})}


def main() -> None:
    """Draw the sidebar, then the page; what is wrong with a store is said in place of the page."""
    st.set_page_config(page_title="Featureshift", page_icon="🔀", layout="wide", initial_sidebar_state=250)
    presenting = st.query_params.get("present") == "1"
    printed = PRINT + PRINT_DARK if st.context.theme.type == "dark" else PRINT
    st.html(f"{STYLE}{contexts.STYLE}{printed}{PRESENTATION if presenting else ''}")
    home, *_ = pages.every()
    targets = [
        st.Page(page.file, title=page.title, icon=page.icon, url_path=page.path, default=page.path == home)
        for page in pages.every().values()
    ]
    before = [st.Page(_moved(*there), url_path=path, visibility="hidden") for path, there in MOVED.items()]
    page = st.navigation([*targets, *before], position="hidden")
    link.start()
    try:
        found = data.stores()
        if presenting:
            _bar(targets, page, list(found))
        else:
            with st.sidebar:
                st.markdown("### Featureshift")
                name = pickers.pick_store(list(found)) if found else None
                facts = st.container()
                _page_links(targets, page, name if len(found) > 1 else None)
                st.button(
                    "Presentation mode", icon=":material/slideshow:", on_click=_present, args=("1",), width="stretch",
                    help="Larger type, no sidebar; requests that may be harmful are covered until asked for.",
                )  # fmt: skip
        store = data.current()
        if not presenting:
            _facts(facts, store)
        tour.banner(store, page.url_path or home)
        page.run()
        scripts.place([page.title, _base(store), *link.subject()])
    except (UserError, OSError, duckdb.Error) as error:
        st.error(_sentence(error), icon=":material/error:")


def _sentence(error: UserError | OSError | duckdb.Error) -> str:
    """What is said in place of a page."""
    if isinstance(error, Replaced):
        return "This store was changed or replaced while the page was drawn: reload the page to see the new one."
    if isinstance(error, UserError):
        return words.sentence(str(error))
    if isinstance(error, OSError):
        what = f"'{error.filename}'" if error.filename else "Something on this machine"
        return words.plain(f"{what} could not be used: {reason(error)}.")
    said = words.plain(first_line(error)[:200])
    if isinstance(error, duckdb.DataError):
        return f"A value here cannot be shown ({said}); ask for it as text, `::VARCHAR`, or leave it out."
    return f"The store's database ({DATABASE_FILE}) could not be read ({said}); check it with `python -m extract verify`."


def _moved(page: str, shown: dict[str, str]) -> Callable[[], None]:
    """What stands at an address of MOVED: the way to the page, with all of the link's parameters."""
    return lambda: st.switch_page(f"views/{page}.py", query_params=link.query(**shown))


def _page_links(targets: list[st.Page], page: st.Page, store: str | None) -> None:
    """A link to every page, under what it is for; to others only what all pages share goes with it."""
    shared, group = link.shared(store), None
    for target, described in zip(targets, pages.every().values(), strict=True):
        if described.group != group:
            group = described.group
            st.caption(group)
        here = target.url_path == page.url_path
        st.page_link(target, query_params=link.query() if here else shared, width="stretch")


def _bar(targets: list[st.Page], page: st.Page, stores: list[str]) -> None:
    """In presentation mode: the way to the other pages, and out of it."""
    line = st.container(horizontal=True, vertical_alignment="center")
    with line.popover("Pages", icon=":material/menu:", key=f"pages_{page.url_path}"):  # closed again on another page
        named = link.read("store", stores, stores[0]) if len(stores) > 1 else None
        _page_links(targets, page, named)
    line.button("Leave presentation mode", icon=":material/close_fullscreen:", on_click=_present, args=(None,))


def _present(value: str | None) -> None:
    """Into presentation mode, or out of it; what was covered is covered again."""
    link.write(present=value, text=None)


def _base(store: Store) -> str:
    """What the store's base model is called."""
    return str(store.manifest.base.get("name", "base"))


def _facts(place: st.delta_generator.DeltaGenerator, store: Store) -> None:
    """What the chosen store holds, in two lines."""
    counts = store.manifest.counts
    place.caption(
        f"{words.plain(_base(store))} · {words.plain(store.where)}  \n"
        f"{words.count(counts.get('tokens'))} tokens · {words.count(counts.get('documents'))} documents  \n"
        f"variants: {words.listing([one.replace('**', '') for one in runs.listed(store)])}"
    )


if RUNS_A_PAGE:
    main()
else:
    app = st.App(__file__, middleware=[Middleware(server.Guard)])  # `streamlit run` looks for this line
