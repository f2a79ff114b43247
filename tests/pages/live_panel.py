"""The browser's side of the live panel: what it was sent, and what it says back.

AppTest runs no JavaScript; here stands what Streamlit's own client would send for js/streamlit.js.
"""

import json
from typing import Any

from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.testing.v1 import AppTest


class LivePanel:
    """The panel on a page."""

    def __init__(self, app: AppTest) -> None:
        self.app = app
        self._state: dict[str, Any] = {}

    @property
    def _protos(self) -> list[Any]:
        return [element.proto for element in self.app.get("bidi_component")]

    @property
    def _told(self) -> list[Any]:
        """Of the components that are told an object; captions are told a list."""
        told = [proto for proto in self._protos if proto.WhichOneof("data") == "json"]
        return [proto for proto in told if proto.json.startswith("{")]

    @property
    def _panels(self) -> list[Any]:
        return [proto for proto in self._told if '"model"' in proto.json]

    @property
    def is_there(self) -> bool:
        return bool(self._panels)

    @property
    def _proto(self) -> Any:
        (found,) = self._panels
        return found

    @property
    def data(self) -> dict[str, Any]:
        """What the panel is told, read as strictly as a browser reads it."""

        def refuse(constant: str):
            raise AssertionError(f"JavaScript cannot read {constant}")

        return json.loads(self._proto.json, parse_constant=refuse)

    @property
    def packs(self) -> list[bytes]:
        """The bytes that the last run sent."""
        return [proto.bytes for proto in self._protos if proto.WhichOneof("data") == "bytes"]

    def set(self, name: str, value: Any) -> AppTest:
        """setStateValue(name, value)."""
        self._state[name] = value
        return self._run()

    def trigger(self, name: str, value: Any) -> AppTest:
        """setTriggerValue(name, value)."""
        return self._run({"event": name, "value": value})

    def _run(self, *events: dict[str, Any]) -> AppTest:
        states = self.app._tree.get_widget_states()
        states.widgets.add(id=self._proto.id, json_value=json.dumps(self._state))
        if events:
            states.widgets.add(
                id=_make_trigger_id(self._proto.id, "events")
            ).json_trigger_value = json.dumps(events)
        return self.app._run(states)
