"""A visitor without a browser: one session of the app, spoken to in Streamlit's own messages.

Twenty windows of Chromium keep two cores so busy that they measure themselves; twenty of these measure the server.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect


class Session:
    """One visitor.

    Attributes:
        headings: second-level headings of the page.
        buttons: label -> widget id of the page's buttons that can be pressed.
        complaints: exceptions and errors that the page showed.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._page, self._query = "", ""
        self._clear()

    async def visit(self, page: str, query: str = "") -> None:
        """Open a page at an address, and wait until it is drawn."""
        self._page, self._query = page, query
        await self._run([])

    async def press(self, label: str) -> None:
        """Press a button of the page, and wait until it is drawn anew."""
        await self._run([WidgetState(id=self.buttons[label], trigger_value=True)])

    async def _run(self, widgets: list[WidgetState]) -> None:
        ask = BackMsg()
        ask.rerun_script.page_name = self._page
        ask.rerun_script.query_string = self._query
        ask.rerun_script.widget_states.widgets.extend(widgets)
        self._clear()
        await self._socket.send(ask.SerializeToString())
        while not self._take(ForwardMsg.FromString(await self._socket.recv())):
            pass

    def _take(self, message: ForwardMsg) -> bool:
        """Whether the page is drawn."""
        kind = message.WhichOneof("type")
        if kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "delta":
            element = message.delta.new_element
            if element.WhichOneof("type") == "markdown" and (found := re.match(r"## (.+)", element.markdown.body)):
                self.headings.append(found[1])
            elif element.WhichOneof("type") == "button" and not element.button.disabled:
                self.buttons[element.button.label] = element.button.id
            elif element.WhichOneof("type") == "exception":
                self.complaints.append(element.exception.message)
            elif element.WhichOneof("type") == "alert" and element.alert.format == element.alert.ERROR:
                self.complaints.append(element.alert.body)
        return kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN

    def _clear(self) -> None:
        self.headings: list[str] = []
        self.buttons: dict[str, str] = {}
        self.complaints: list[str] = []


@asynccontextmanager
async def visitor(address: str) -> AsyncIterator[Session]:
    """A new session of the app at an address."""
    place = address.replace("http://", "ws://")
    async with connect(f"{place}/_stcore/stream", subprotocols=["streamlit"], max_size=None) as socket:
        yield Session(socket)
