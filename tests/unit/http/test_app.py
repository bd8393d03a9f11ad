import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidewire.http.app import build_app, build_site
from tidewire.http.health import Readiness
from tidewire.http.metrics import Sample
from tidewire.http.page import PageConfig, page_routes

PAGE = PageConfig(url="", anon_key="public-key", version="1.2.3", tables=["trips"], is_demo=True)


class State:
    ready = True
    changes = 3


async def crash(_: Request) -> Response:
    raise RuntimeError("secret detail")


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def client(state: State) -> AsyncIterator[httpx.AsyncClient]:
    app = build_site(
        readiness=lambda: Readiness(state.ready, {"stream": "live" if state.ready else "down"}),
        read_samples=lambda: [
            Sample("connections", "Open connections.", 7),
            Sample("changes_total", "Changes.", state.changes),
            Sample("channel_joins", "Joins.", 5, prefix="realtime_"),
            Sample("refused_total", "Refusals.", 1, {"reason": "a"}),
            Sample("refused_total", "Refusals.", 2, {"reason": 'b"\n'}),
        ],
        tenants=build_app(
            page=PAGE, routes=[Route("/crash", crash), Route("/post", crash, methods=["POST"])]
        ),
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


@pytest.mark.parametrize("path", ["/healthz", "/healthcheck"])
async def test_a_live_process_says_ok(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.text) == (200, "ok")


async def test_ping_answers_as_the_original_does(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/ping")).json() == {"message": "Success"}


@pytest.mark.parametrize("path", ["/realtime/v1/websocket", "/socket/websocket"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_socket_asked_for_without_an_upgrade_is_a_bad_request(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    assert (await client.request(method, path)).status_code == 400


async def test_readiness_follows_the_stream(client: httpx.AsyncClient, state: State) -> None:
    assert (await client.get("/readyz")).status_code == 200
    state.ready = False
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "checks": {"stream": "down"}}


async def test_metrics_are_read_anew_at_each_scrape(
    client: httpx.AsyncClient, state: State
) -> None:
    assert "tidewire_changes_total 3.0" in (await client.get("/metrics")).text
    assert "\nrealtime_channel_joins 5.0" in (await client.get("/metrics")).text
    state.changes = 4
    answer = await client.get("/metrics")
    assert "tidewire_changes_total 4.0" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


async def test_metrics_of_one_name_are_one_family_with_escaped_labels(
    client: httpx.AsyncClient,
) -> None:
    text = (await client.get("/metrics")).text
    assert text.count("# TYPE tidewire_refused_total counter") == 1
    assert 'tidewire_refused_total{reason="a"} 1.0' in text
    assert 'tidewire_refused_total{reason="b\\"\\n"} 2.0' in text
    assert "# TYPE tidewire_connections gauge" in text


async def test_an_unknown_path_is_told_as_json(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json() == {"error": "No such path: /nowhere"}
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_wrong_method_names_the_right_ones(client: httpx.AsyncClient) -> None:
    answer = await client.get("/post")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json() == {"error": "Method Not Allowed"}


async def test_a_crash_of_a_route_tells_the_caller_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/crash")
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal error"})


@pytest.mark.parametrize("path", ["/realtime/v1/api/broadcast", "/", "/nowhere"])
async def test_a_preflight_is_answered_on_every_path(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.options(
        path,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "apikey,authorization,x-client-info",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "apikey,authorization,x-client-info"
    assert "POST" in answer.headers["access-control-allow-methods"]


async def test_options_without_a_question_is_no_preflight(client: httpx.AsyncClient) -> None:
    assert (await client.options("/healthz")).status_code == 405


async def test_the_page_may_load_and_be_framed_by_nothing_foreign(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_every_file_that_the_page_names_is_served(client: httpx.AsyncClient) -> None:
    html = (await client.get("/")).text
    names = [part.partition('"')[0] for part in html.split('"/static/')[1:]]
    assert names
    for name in names:
        assert (await client.get(f"/static/{name}")).status_code == 200


async def test_a_browser_that_has_the_file_gets_no_body(client: httpx.AsyncClient) -> None:
    first = await client.get("/static/page.css")
    again = await client.get("/static/page.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/index.html"]
)
async def test_nothing_but_the_pages_files_is_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_the_page_is_told_only_what_is_public(client: httpx.AsyncClient) -> None:
    answer = await client.get("/config.json")
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    told.pop("has_client")
    assert told == {
        "url": "",
        "anon_key": "public-key",
        "version": "1.2.3",
        "tables": ["trips"],
        "is_demo": True,
        "is_simulated": False,
    }


@pytest.mark.parametrize("has_vendor", [True, False])
async def test_the_page_is_told_whether_the_stock_client_is_there(
    tmp_path: Path, *, has_vendor: bool
) -> None:
    (tmp_path / "index.html").write_text("<p>")
    (tmp_path / "vendor").mkdir()
    if has_vendor:
        (tmp_path / "vendor" / "supabase.js").write_text("x")
    routes = {route.path: route for route in page_routes(PAGE, tmp_path)}
    assert ("/static/vendor/supabase.js" in routes) == has_vendor
    answer = await routes["/config.json"].endpoint(Request({"type": "http"}))
    assert json.loads(answer.body)["has_client"] is has_vendor
