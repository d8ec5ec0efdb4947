"""The page's files as they are served, and what only the page asks for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

PARTS = {
    "/": "text/html",
    "/page.css": "text/css",
    "/page.js": "text/javascript",
    "/page/api.js": "text/javascript",
    "/page/state.js": "text/javascript",
}


@pytest.mark.parametrize("path", PARTS)
def test_a_part_comes_with_its_type_and_policy(client: Any, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == f"{PARTS[path]}; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"


def static_files() -> dict[str, str]:
    static = files("twotower.serving.page") / "static"
    return {
        path: (static / path).read_text(encoding="utf-8")
        for path in [entry.name for entry in static.iterdir() if entry.is_file()]
        + [f"page/{entry.name}" for entry in (static / "page").iterdir()]
    }


def test_every_file_is_served_and_every_module_is_there(client: Any) -> None:
    found = static_files()
    assert len(found) >= 10
    for name, text in found.items():
        path = "/" if name == "index.html" else f"/{name}"
        assert client.get(path).text == text
    for name, text in found.items():
        folder = "/page/" if name.startswith("page/") else "/"
        for module in re.findall(r"from '\./([^']+)'", text):
            assert client.get(folder + module).status_code == 200


def test_nothing_refers_to_another_host() -> None:
    for name, text in static_files().items():
        named = set(re.findall(r"(?:https?:)?//[a-z0-9][\w.-]*\.[a-z]+", text))
        assert named <= {"http://www.w3.org"}, name  # the namespace of the icon
        if name.endswith(".html"):
            assert "style=" not in text
            assert re.findall(r"<script(?![^>]* src=)", text) == []
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|alert\(", text), (
                name
            )


def test_items_by_their_ids(client: Any) -> None:
    reply = client.get("/v1/items", params={"id": ["Item 03", "nosuch", "Item 01"]}).json()
    assert [item["id"] for item in reply["items"]] == ["Item 03", "Item 01"]
    assert set(reply["items"][0]["columns"]) == {"year", "query", "rank", "score"}
    assert client.get("/v1/items", params={"id": ["Item 03"], "words": "x"}).status_code == 422
    assert client.get("/v1/items", params={"id": ["Item 03"] * 101}).status_code == 422


def test_words_are_found_as_they_are_written(make_client: Any, writing: dict[str, str]) -> None:
    client = make_client()
    put = client.put(
        "/v1/items",
        json={"items": [{"id": name, "features": {"year": 1999}} for name in ("Die STRASSE", "Große Straße")]},
        headers=writing,
    )
    assert put.status_code == 200
    found = client.get("/v1/items", params={"words": "straße GROSSE"}).json()["items"]
    assert found == []
    assert [item["id"] for item in client.get("/v1/items", params={"words": "STRAßE"}).json()["items"]] == ["Große Straße"]


def test_a_history_may_be_asked_for_as_far_as_a_query_may_give_one(client: Any) -> None:
    assert client.get("/v1/history", params={"user": "user-01", "limit": 1000}).status_code == 200
    refused = client.get("/v1/history", params={"user": "user-01", "limit": 1001})
    assert refused.status_code == 422
    assert "1000" in refused.json()["detail"]
    parameters = client.get("/openapi.json").json()["paths"]["/v1/history"]["get"]["parameters"]
    assert parameters[1]["schema"]["maximum"] == 1000


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js on the path")
def test_a_history_whose_times_are_read_is_told_to_be_none_of_the_pages(tmp_path: Path) -> None:
    for name, text in static_files().items():
        (tmp_path / name.removeprefix("page/")).write_text(text, encoding="utf-8")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "ask.js").write_text(
        "import { unsaid } from './state.js';\n"
        "const [plain, timed] = [['item'], ['item', 'time', 'rating']].map((events) => ({ events }));\n"
        "const asked = [[{ history: ['a'] }, timed], [{ history: ['a'] }, plain]];\n"
        "asked.push([{ history: [] }, timed], [{ user: 1 }, timed]);\n"
        "console.log(JSON.stringify(asked.map((each) => unsaid(...each))));\n",
        encoding="utf-8",
    )
    found = json.loads(subprocess.run(["node", "ask.js"], cwd=tmp_path, capture_output=True, check=True, timeout=100).stdout)
    assert found[0].startswith("history: this model reads when each event was, which this page does not know")
    assert found[1:] == ["", "", ""]
    assert "unsaid(query, model)" in static_files()["page.js"]
