"""The frame: page settings, the store picker, the way around. `streamlit run app/main.py -- [STORE ...]`"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Streamlit puts app/ on the path, not the root.

import duckdb
import streamlit as st

from app import data, link, tokens, widgets, words
from store.errors import UserError, first_line
from store.reader import Store

VIEWS = (
    ("views/overview.py", "Overview", ":material/home:"),
    ("views/layers.py", "Layers", ":material/stacked_line_chart:"),
    ("views/shifted.py", "Shifted features", ":material/swap_vert:"),
    ("views/suppressed.py", "Suppressed features", ":material/trending_down:"),
    ("views/review.py", "Review", ":material/rate_review:"),
    ("views/feature.py", "Feature", ":material/search_insights:"),
    ("views/compare.py", "Across variants", ":material/compare_arrows:"),
    ("views/template.py", "Template", ":material/chat:"),
    ("views/shape.py", "Shape of the change", ":material/scatter_plot:"),
    ("views/documents.py", "Documents", ":material/article:"),
    ("views/answers.py", "Answers", ":material/forum:"),
    ("views/query.py", "Query", ":material/database:"),
    ("views/about.py", "About this store", ":material/info:"),
)

STYLE = """<style>
.stMainBlockContainer { padding: 2.6rem 2.6rem 3rem 2.6rem; }
[data-testid="stSidebarHeader"] { height: 2.6rem; margin-bottom: 0; }
h2 { padding-top: 0; }
</style>"""


def main() -> None:
    """Draw the sidebar, then the page; what is wrong with a store is said in place of the page."""
    st.set_page_config(page_title="Featureshift", page_icon="🔀", layout="wide", initial_sidebar_state=250)
    st.html(STYLE + tokens.STYLE)
    pages = [
        st.Page(file, title=title, icon=icon, url_path=Path(file).stem, default=file == VIEWS[0][0])
        for file, title, icon in VIEWS
    ]
    page = st.navigation(pages, position="hidden")
    link.start()
    try:
        found = data.stores()
        with st.sidebar:
            st.markdown("### Featureshift")
            name = widgets.pick_store(list(found)) if found else None
            facts = st.container()
            shared = link.shared(name if len(found) > 1 else None)
            for target in pages:
                here = target.url_path == page.url_path
                st.page_link(target, query_params=link.query() if here else shared, width="stretch")
        store = data.current()
        _facts(facts, store)
        page.run()
    except UserError as error:
        st.error(words.plain(str(error)), icon=":material/error:")
    except duckdb.Error as error:
        reason = words.plain(first_line(error)[:200])
        st.error(
            f"The store's database could not be read ({reason}); check it with `python -m extract verify`.",
            icon=":material/error:",
        )


def _facts(place: st.delta_generator.DeltaGenerator, store: Store) -> None:
    """What the chosen store holds, in two lines."""
    counts = store.manifest.counts
    place.caption(
        f"{words.plain(str(store.manifest.base.get('name', 'base')))}  \n"
        f"{words.count(counts.get('tokens'))} tokens · {words.count(counts.get('documents'))} documents  \n"
        f"variants: {words.plain(words.listing(store.variants))}"
    )


main()
