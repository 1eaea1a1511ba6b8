"""What the web server says with every answer, and what it does not take; the app itself knows nothing of it.

Streamlit has no setting for headers. `streamlit run app/main.py` finds in app/main.py a server with this around it.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",  # Streamlit's first script is inline, Vega makes functions
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
"""Nothing is loaded from elsewhere or sent there, whatever a store's texts bring a page to hold; and no page is framed."""

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {whence}" for what, whence in POLICY.items()),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # a page's address holds queries, and a reviewer's name
}
METHODS = ("GET", "HEAD", "OPTIONS")
"""The app takes no files, and what its pages send goes through the websocket: nothing else changes anything here."""


class Guard:
    """ASGI middleware: refuses every request that would write, and puts HEADERS on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        allowed = scope["method"] in METHODS
        refusal = PlainTextResponse("This server takes no uploads.\n", 405, {"Allow": ", ".join(METHODS)})
        await (self._app if allowed else refusal)(scope, receive, sent)
