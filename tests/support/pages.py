"""One page of the app through AppTest, without a browser."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

MAIN = Path(__file__).resolve().parent.parent.parent / "app" / "main.py"


def open_page(view: str, **params: str) -> AppTest:
    """The page of a view, as a link with these parameters shows it; stores are those of the environment."""
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    if view != "overview":
        app.switch_page(f"views/{view}.py")
    app.query_params.update(params)
    return app.run()
