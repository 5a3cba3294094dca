"""docs/openapi.yaml against the running daemon: every path is there, and every answer fits."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from bench.seed_home import seed_home
from specd.agent import api
from specd.agent.address import short
from specd.bench.prompts import SUITES
from specd.reconcile.conditions import CONDITIONS
from tests.daemon import Sandbox, until

FILE = Path(__file__).parents[2] / "docs" / "openapi.yaml"

PAIR = """\
[[pair]]
main = "josiefied-qwen3-8b-abliterated-v1"
draft = "josiefied-qwen2.5-0.5b-abliterated"
"""


@pytest.fixture(scope="module")
def described() -> OpenAPI:
    as_text = {"text/event-stream": lambda content: content.decode()}
    return OpenAPI.from_file_path(str(FILE), Config(extra_media_type_deserializers=as_text))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A daemon that keeps a pair of the seed's models configured."""
    made = Sandbox(tmp_path_factory.mktemp("openapi"))
    seed_home(made.home)
    made.config.write_text(PAIR)
    made.start()
    until(lambda: made.condition("PairsConfigured")["status"] == "true", "the pair is configured")
    yield made
    made.kill()


def exchange(
    sandbox: Sandbox, method: str, path: str, body: object = None, *, lines: int | None = None
) -> tuple[int, str, bytes]:
    """(status, content type, content) of one request; with ``lines``, so much of a stream."""
    asking = http.client.HTTPConnection("specd", timeout=30)
    asking.sock = socket.socket(socket.AF_UNIX)
    asking.sock.settimeout(30)
    with short(sandbox.state / "run" / "specd.sock") as address:
        asking.sock.connect(address)
    asking.request(method, path, None if body is None else json.dumps(body))
    answer = asking.getresponse()
    content = answer.read() if lines is None else b"".join(answer.readline() for _ in range(lines))
    asking.close()
    return answer.status, answer.headers["Content-Type"], content


def check(
    described: OpenAPI,
    sandbox: Sandbox,
    method: str,
    path: str,
    body: object = None,
    query: dict[str, Any] | None = None,
    *,
    lines: int | None = None,
) -> tuple[int, bytes]:
    """Ask, hold the answer against the description, and return it."""
    words = "&".join(f"{name}={value}" for name, value in (query or {}).items())
    status, kind, content = exchange(
        sandbox, method, f"{path}?{words}" if words else path, body, lines=lines
    )
    asked = MockRequest(
        "http://specd",
        method.lower(),
        path,
        args=query or {},
        data=None if body is None else json.dumps(body).encode(),
    )
    described.validate_response(
        asked, MockResponse(content, status_code=status, content_type=kind.partition(";")[0])
    )
    return status, content


def test_the_description_lists_exactly_the_paths_that_are_served(described: OpenAPI) -> None:
    listed = {
        (method.upper(), path)
        for path, verbs in described.spec.read_value()["paths"].items()
        for method in verbs
    }
    served = {(route.method, path) for path, route in api.ROUTES.items()} | {("GET", api.EVENTS)}
    assert listed == served


def test_the_description_knows_every_condition_and_every_suite(described: OpenAPI) -> None:
    schemas = described.spec.read_value()["components"]["schemas"]
    assert schemas["Condition"]["properties"]["type"]["enum"] == [each.type for each in CONDITIONS]
    assert schemas["BenchOrder"]["properties"]["suite"]["enum"] == sorted(SUITES)


@pytest.mark.parametrize(
    "path",
    ["/v1/status", "/v1/conditions", "/v1/pairs", "/v1/plan", "/v1/journal", "/v1/history"],
)
def test_every_question_is_answered_as_described(
    described: OpenAPI, running: Sandbox, path: str
) -> None:
    status, content = check(described, running, "GET", path)
    assert status == 200
    # What is described must have been there to be checked; nothing was benchmarked here.
    assert json.loads(content) or path == "/v1/history"


def test_verdicts_are_answered_as_described(described: OpenAPI, running: Sandbox) -> None:
    (pair,) = running.status()["pairs"]
    query = {"main": pair["main"], "draft": pair["draft"]}
    status, content = check(described, running, "GET", "/v1/verdict", query=query)
    assert status == 200
    assert json.loads(content)["verdict"] is not None


def test_an_unknown_path_is_answered_with_the_known_ones(running: Sandbox) -> None:
    status, _, content = exchange(running, "GET", "/v2/status")
    assert status == 404
    assert json.loads(content)["paths"] == [*api.ROUTES, api.EVENTS]


def test_metrics_and_events_are_answered_as_described(described: OpenAPI, running: Sandbox) -> None:
    status, content = check(described, running, "GET", "/metrics")
    assert (status, b"specd_healthy" in content) == (200, True)
    status, content = check(described, running, "GET", "/v1/events", lines=3)
    assert status == 200
    number, level, data = content.decode().splitlines()
    assert number == "id: 1"
    event = json.loads(data.removeprefix("data: "))
    assert level == f"event: {event['level']}"
    schema = described.spec.read_value()["components"]["schemas"]["Event"]
    assert set(schema["required"]) <= event.keys()


def test_orders_are_answered_as_described(described: OpenAPI, running: Sandbox) -> None:
    running.save(**(running.read() | {"configPresetInclusiveness": {}}))
    until(running.applied, "the drift is restored")
    _, content = check(described, running, "GET", "/v1/journal", query={"limit": 1})
    newest = json.loads(content)[0]["id"]
    assert check(described, running, "POST", "/v1/pause")[0] == 200
    assert json.loads(check(described, running, "GET", "/v1/status")[1])["paused"] is True
    status, content = check(described, running, "POST", "/v1/restore", {"id": newest})
    assert status == 200
    assert json.loads(content)["restored"][0]["id"] == newest
    # While it is paused, what is held and what would be written can be looked at.
    assert json.loads(check(described, running, "GET", "/v1/plan")[1])["held"]
    assert check(described, running, "POST", "/v1/resume")[0] == 200
    assert check(described, running, "POST", "/v1/apply")[0] == 200
    assert check(described, running, "POST", "/v1/bench", {"main": "none of these"})[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/restore", {"id": 4_000_000}, 404),
        ("POST", "/v1/restore", {}, 400),
        ("POST", "/v1/restore", {"id": "1"}, 400),
        ("POST", "/v1/bench", {"pair": "x"}, 400),
        ("GET", "/v1/journal?limit=0", None, 400),
        ("GET", "/v1/journal?limit=many", None, 400),
        ("GET", "/v1/verdict?main=x", None, 400),
        ("GET", "/v1/verdict?main=no-such-model&draft=none-either", None, 404),
    ],
)
def test_refusals_are_described_too(
    described: OpenAPI, running: Sandbox, method: str, path: str, body: object, status: int
) -> None:
    found, query = path.partition("?")[::2]
    words = dict(each.split("=") for each in query.split("&") if each)
    assert check(described, running, method, found, body, words)[0] == status


@given(body=st.dictionaries(st.sampled_from(["id", "all", "main", "drafts", "suite", "quick", "x"]),
                            st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3) |
                            st.lists(st.text(max_size=2), max_size=2), max_size=3),
       path=st.sampled_from(["/v1/restore", "/v1/bench"]))  # fmt: skip
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_the_description_forbids_the_daemon_refuses(
    described: OpenAPI, running: Sandbox, body: dict[str, Any], path: str
) -> None:
    asked = MockRequest("http://specd", "post", path, data=json.dumps(body).encode())
    try:
        described.validate_request(asked)
    except OpenAPIError:
        status, _ = check(described, running, "POST", path, body)
        assert status == 400, body
