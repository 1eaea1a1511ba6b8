"""One page of the app through AppTest, without a browser."""

from streamlit.testing.v1 import AppTest

from tests.support import ROOT

MAIN = ROOT / "app" / "main.py"


def open_page(view: str, /, **params: str) -> AppTest:
    """The page of a view, as a link with these parameters shows it; stores are those of the environment."""
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    if view != "overview":
        app.switch_page(f"views/{view}.py")
    app.query_params.update(params)
    return app.run()


def text(app: AppTest) -> str:
    """Everything that the page says in words."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.html)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def column(app: AppTest, name: str) -> list:
    """A column of the first table of the page."""
    return app.dataframe[0].value[name].tolist()
