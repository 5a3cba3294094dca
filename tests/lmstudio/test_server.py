from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.config import LmStudio
from specd.lmstudio import answers
from specd.lmstudio.answers import DraftStats, Instance
from specd.lmstudio.connection import BadAnswer, DraftRefused, NotReachable, Refused
from specd.lmstudio.home import Home
from specd.lmstudio.server import Server, server_urls
from specd.reconcile import survey
from tests.lmstudio import shapes

TOKEN = "lm-SECRET-token"

V1 = {
    "models": [
        {
            "type": "llm",
            "publisher": "mlx-community",
            "key": "qwen3-8b",
            "architecture": "qwen3",
            "quantization": {"name": "4bit", "bits_per_weight": 4},
            "size_bytes": 4620000000,
            "loaded_instances": [
                {"id": "qwen3-8b", "config": {"context_length": 40960, "parallel": 4}}
            ],
            "max_context_length": 40960,
            "format": "mlx",
            "capabilities": {"vision": False},
        },
        {
            "type": "embedding",
            "key": "nomic",
            "quantization": None,
            "loaded_instances": [],
            "format": "gguf",
        },
        {"type": "llm", "key": "vl", "capabilities": {"vision": True}, "loaded_instances": "?"},
        "nonsense",
        {"key": 7},
    ]
}
V0 = {
    "data": [
        {
            "id": "qwen3-8b",
            "type": "llm",
            "publisher": "mlx-community",
            "arch": "qwen3",
            "compatibility_type": "mlx",
            "quantization": "4bit",
            "state": "loaded",
            "max_context_length": 40960,
        },
        {"id": "vl", "type": "vlm", "state": "not-loaded"},
    ]
}
ANSWER = {
    "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Hallo"}}],
    "usage": {"prompt_tokens": 24, "completion_tokens": 53},
    "stats": {
        "tokens_per_second": 51.4,
        "time_to_first_token": 0.111,
        "generation_time": 0.954,
        "stop_reason": "eosFound",
        "draft_model": "qwen3-0.6b",
        "total_draft_tokens_count": 40,
        "accepted_draft_tokens_count": 25,
        "rejected_draft_tokens_count": 13,
        "ignored_draft_tokens_count": 2,
    },
    "runtime": {"name": "mlx-llm-mac-arm64", "version": "1.3.0"},
}
CHAT = [{"role": "user", "content": "Hi"}]

Answering = Callable[["Handler"], None]


@dataclass
class Lms:
    """A small real HTTP server; what it does at each path is the test's."""

    paths: dict[str, Answering] = field(default_factory=dict)
    seen: list[tuple[str, str | None, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, path: str, value: Any, status: int = 200) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.paths[path] = lambda handler: handler.reply(content, status)

    def streams(self, path: str, *events: Any, pause: float = 0.0, done: bool = True) -> None:
        def answer(handler: Handler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.end_headers()
            for event in events:
                data = event if isinstance(event, str) else json.dumps(event)
                handler.wfile.write(f"data: {data}\n\n".encode())
                handler.wfile.flush()
                time.sleep(pause)
            if done:
                handler.wfile.write(b"data: [DONE]\n\n")

        self.paths[path] = answer


class Handler(BaseHTTPRequestHandler):
    lms: Lms

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, content: bytes, status: int = 200, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.lms.seen.append(
            (self.path, self.headers.get("Authorization"), json.loads(body) if body else None)
        )
        answer = self.lms.paths.get(self.path)
        if answer is None:
            self.reply(b'{"error": "not found"}', 404)
        else:
            answer(self)

    do_GET = do_POST = handle_any  # noqa: N815 - the names http.server calls


@pytest.fixture
def lms() -> Iterator[Lms]:
    made = Lms()
    handler = type("Bound", (Handler,), {"lms": made})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def deaf() -> Iterator[str]:
    """Somebody who listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


# -- where it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({"port": 4321, "networkInterface": "127.0.0.1"}, "http://127.0.0.1:4321"),
        ({"port": 4321, "networkInterface": "0.0.0.0"}, "http://127.0.0.1:4321"),  # noqa: S104
        ({"port": 4321, "networkInterface": "192.168.1.5"}, "http://192.168.1.5:4321"),
        ({"port": 4321, "networkInterface": "fe80::1"}, "http://[fe80::1]:4321"),
        ({"port": 4321, "networkInterface": "evil.example/\r\nX: y"}, "http://127.0.0.1:4321"),
        ({"port": 4321, "networkInterface": 7}, "http://127.0.0.1:4321"),
        ({"port": "4321"}, "http://127.0.0.1:1234"),
        ({"port": 0}, "http://127.0.0.1:1234"),
        ({"port": True}, "http://127.0.0.1:1234"),
        ([], "http://127.0.0.1:1234"),
    ],
)
def test_the_url_comes_from_lm_studios_own_config(tmp_path: Path, config: Any, url: str) -> None:
    (tmp_path / ".internal").mkdir()
    (tmp_path / ".internal" / "http-server-config.json").write_text(json.dumps(config))
    assert server_urls(tmp_path, "auto")[0] == url


def test_the_port_the_server_listens_on_goes_before_the_configured_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internal = shapes.home(tmp_path) / ".internal"
    (internal / "http-server.json").write_text('{"port": 4321}')
    assert server_urls(tmp_path)[0] == "http://127.0.0.1:4321"
    other = tmp_path / "info.json"
    other.write_text('{"port": 5432}')
    with monkeypatch.context() as env:
        env.setenv("LMS_API_SERVER_INFO_PATH", str(other))
        assert server_urls(tmp_path)[0] == "http://127.0.0.1:5432"
    (internal / "http-server.json").write_text("{")
    assert server_urls(tmp_path)[0] == "http://127.0.0.1:1234"


def test_the_configured_port_is_tried_where_nobody_listens_on_the_last_one(
    lms: Lms, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = free.getsockname()[1]
    internal = shapes.home(tmp_path) / ".internal"
    (internal / "http-server.json").write_text(json.dumps({"port": dead}))
    (internal / "http-server-config.json").write_text(json.dumps({"port": lms.port}))
    lms.says("/api/v1/models", V1)
    seen = survey.ask_server(Home(tmp_path, "test"), LmStudio())
    assert (seen.url, seen.problem, len(seen.models)) == (lms.url, None, 3)
    (internal / "http-server-config.json").unlink()
    seen = survey.ask_server(Home(tmp_path, "test"), LmStudio())
    assert (seen.url, bool(seen.problem)) == (f"http://127.0.0.1:{dead}", True)


def test_bionics_server_is_asked_where_it_is_alone(tmp_path: Path) -> None:
    internal = tmp_path / "apps" / "bionic" / ".internal"
    internal.mkdir(parents=True)
    config = {"port": 4321, "networkInterface": "192.168.1.5"}
    (internal / "http-server-config.json").write_text(json.dumps(config))
    assert server_urls(tmp_path)[0] == "http://192.168.1.5:4321"
    (internal / "http-server.json").write_text('{"port": 4322}')
    assert server_urls(tmp_path)[0] == "http://192.168.1.5:4322"
    shapes.home(tmp_path)
    assert server_urls(tmp_path)[0] == "http://127.0.0.1:1234"


def test_without_a_config_the_default_port_is_taken(tmp_path: Path) -> None:
    assert server_urls(tmp_path)[0] == "http://127.0.0.1:1234"
    (tmp_path / ".internal").mkdir()
    (tmp_path / ".internal" / "http-server-config.json").write_text("{")
    assert server_urls(tmp_path)[0] == "http://127.0.0.1:1234"


@pytest.mark.parametrize(
    ("configured", "url"),
    [
        ("http://mac.local:1234", "http://mac.local:1234"),
        ("http://mac.local:1234/", "http://mac.local:1234"),
        ("http://mac.local:1234/v1/", "http://mac.local:1234"),
        ("https://proxy.example/lm/api/v0", "https://proxy.example/lm"),
    ],
)
def test_a_url_as_other_programs_want_it_is_understood(
    tmp_path: Path, configured: str, url: str
) -> None:
    assert server_urls(tmp_path, configured)[0] == url


@pytest.mark.parametrize("configured", ["localhost:1234", "ftp://x", "http://", ""])
def test_what_is_no_url_is_refused(tmp_path: Path, configured: str) -> None:
    with pytest.raises(ValueError, match="no http or https URL"):
        server_urls(tmp_path, configured)


# -- models -----------------------------------------------------------------------------------------


def test_models_are_listed_with_their_instances(lms: Lms) -> None:
    lms.says("/api/v1/models", V1)
    main, embedding, vision = Server(lms.url).models()
    assert (main.key, main.format) == ("qwen3-8b", "mlx")
    assert main.loaded_instances == (Instance("qwen3-8b", 40960, 4),)
    assert (embedding.key, embedding.loaded) == ("nomic", False)
    assert (vision.key, vision.loaded_instances) == ("vl", ())


def test_what_an_instance_runs_with_is_read() -> None:
    listed = shapes.value("0.4/api-v1-models.json")["models"]
    mlx, gguf, idle = (answers.LISTINGS[0][2](each).loaded_instances for each in listed)
    assert mlx == (Instance("qwen3-8b", 40960, 4),)
    assert gguf == (Instance("qwen/qwen3.8-27b", 131072, 1, True, False, None, 2),)
    assert idle == ()


def test_a_list_in_openais_shape_on_lm_studios_path_is_passed_over(lms: Lms) -> None:
    other = {"object": "list", "data": [{"id": "gemma3:4b", "object": "model"}]}
    lms.says("/api/v1/models", other)
    lms.says("/v1/models", other)
    assert [each.key for each in Server(lms.url).models()] == ["gemma3:4b"]


def test_an_older_server_is_asked_in_its_own_way(lms: Lms) -> None:
    lms.says("/api/v0/models", V0)
    main, vision = Server(lms.url).models()
    assert (main.loaded, main.format) == (True, "mlx")
    assert (vision.key, vision.loaded) == ("vl", False)
    assert [path for path, _, _ in lms.seen] == ["/api/v1/models", "/api/v0/models"]


def test_an_unknown_path_may_be_answered_with_a_complaint_and_status_200(lms: Lms) -> None:
    lms.says("/api/v1/models", {"error": "Unexpected endpoint or method. (GET /api/v1/models)"})
    lms.says("/api/v0/models", V0)
    assert len(Server(lms.url).models()) == 2


def test_a_server_that_only_speaks_openais_api_is_understood(lms: Lms) -> None:
    lms.says("/v1/models", {"object": "list", "data": [{"id": "some/model", "object": "model"}]})
    (only,) = Server(lms.url).models()
    assert (only.key, only.loaded) == ("some/model", False)


def test_a_server_that_lists_no_models_is_not_lm_studios(lms: Lms) -> None:
    with pytest.raises(BadAnswer, match="is it LM Studio's server"):
        Server(lms.url).models()


def asks_for_a_token(lms: Lms, path: str, value: Any) -> None:
    """As LM Studio does with authentication switched on (``recorded/0.4``)."""

    def answer(handler: Handler) -> None:
        if handler.headers.get("Authorization") == f"Bearer {TOKEN}":
            handler.reply(json.dumps(value).encode())
        else:
            handler.reply(shapes.path("0.4/token-required.json").read_bytes(), 401)

    lms.paths[path] = answer


def test_the_token_goes_to_the_server_that_has_just_asked_for_it(lms: Lms) -> None:
    asks_for_a_token(lms, "/api/v1/models", V1)
    asks_for_a_token(lms, "/api/v0/chat/completions", ANSWER)
    server = Server(lms.url, TOKEN)
    assert len(server.models()) == 3
    assert server.chat("m", CHAT).tokens == 53
    bearer = f"Bearer {TOKEN}"
    assert [sent for _, sent, _ in lms.seen] == [None, bearer, bearer]


@pytest.mark.parametrize(
    "said", [{}, {"error": "token, please"}, {"error": {"code": "invalid_api_key", "message": ""}}]
)
def test_nobody_else_gets_the_token(lms: Lms, said: object) -> None:
    lms.says("/api/v1/models", said, 401)
    with pytest.raises(Refused, match="does not answer as LM Studio does") as refused:
        Server(lms.url, TOKEN).models()
    assert "free the port" in refused.value.remedy
    assert "token" not in refused.value.remedy
    lms.says("/api/v1/models", V1)
    Server(lms.url, TOKEN).models()
    assert [sent for _, sent, _ in lms.seen] == [None, None]


def test_beyond_this_machine_only_a_configured_server_gets_the_token(
    lms: Lms, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks_for_a_token(lms, "/api/v1/models", V1)
    there = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", lms.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: there)
    url = f"http://mac.example:{lms.port}"
    with pytest.raises(Refused, match=r"specd\.toml names"):
        Server(url, TOKEN).models()
    assert [sent for _, sent, _ in lms.seen] == [None]
    assert len(Server(url, TOKEN, configured=True).models()) == 3


def test_the_token_is_shown_nowhere(lms: Lms) -> None:
    lms.paths["/api/v1/models"] = lambda handler: handler.reply(
        shapes.path("0.4/token-required.json").read_bytes(), 401
    )
    server = Server(lms.url, TOKEN, token_env="MY_TOKEN")
    with pytest.raises(Refused) as caught:
        server.models()
    assert lms.seen[-1][1] == f"Bearer {TOKEN}"
    assert "the right one into $MY_TOKEN" in str(caught.value)
    for text in (str(caught.value), repr(caught.value), repr(server)):
        assert TOKEN not in text


def test_without_a_token_none_is_sent_and_the_variable_is_named(lms: Lms) -> None:
    lms.says("/api/v1/models", {}, 403)
    with pytest.raises(Refused, match=r"\$LM_API_TOKEN"):
        Server(lms.url).models()
    assert lms.seen[0][1] is None


# -- answers ----------------------------------------------------------------------------------------


def test_an_answer_tells_what_the_draft_did(lms: Lms) -> None:
    lms.says("/api/v0/chat/completions", ANSWER)
    answer = Server(lms.url).chat("qwen3-8b", CHAT, draft_model="qwen3-0.6b", max_tokens=50)
    assert (answer.text, answer.tokens, answer.prompt_tokens) == ("Hallo", 53, 24)
    assert answer.draft == DraftStats("qwen3-0.6b", 40, 25)
    assert answer.tokens_per_second == 51.4
    assert answer.time_to_first_token == 0.111
    assert lms.seen[0][2] == {
        "model": "qwen3-8b",
        "messages": CHAT,
        "max_tokens": 50,
        "temperature": 0.0,
        "stream": False,
        "draft_model": "qwen3-0.6b",
    }


@pytest.mark.parametrize(
    ("name", "tokens", "draft"),
    [
        ("0.3/api-v0-chat-completions", (66, 300), DraftStats("qwen3-0.6b", 492, 176)),
        ("0.4/api-v0-chat-completions", (66, 300), DraftStats("", 492, 176)),
        ("0.4/v1-chat-completions", (66, 300), DraftStats("", 20, 17)),
        ("0.4/v1-chat-completions-without-draft", (66, 300), None),
    ],
)
def test_counts_are_read_wherever_a_version_puts_them(
    name: str, tokens: tuple[int, int], draft: DraftStats | None
) -> None:
    body = shapes.value(f"{name}.json")
    answer = answers.read_answer(body, answers.text_in(body), 1.0, None)
    assert (answer.prompt_tokens, answer.tokens, answer.draft) == (*tokens, draft)
    assert answer.text == "The tide came in."
    clocked = "/v1-" not in name
    assert (answer.time_to_first_token is not None) == clocked
    assert (answer.tokens_per_second is not None) == clocked


@pytest.mark.parametrize(
    ("name", "tokens", "draft"),
    [
        ("0.3/api-v0-chat-completions", (9, 3), DraftStats("qwen3-0.6b", 4, 2)),
        ("0.4/api-v0-chat-completions", (9, 3), DraftStats("", 4, 2)),
        ("0.4/v1-chat-completions", (9, 3), DraftStats("", 4, 2)),
    ],
)
def test_counts_are_read_from_a_stream_as_well(
    lms: Lms, name: str, tokens: tuple[int, int], draft: DraftStats | None
) -> None:
    content = shapes.path(f"{name}-stream.txt").read_bytes()
    lms.paths["/api/v0/chat/completions"] = lambda handler: handler.reply(
        content, kind="text/event-stream"
    )
    answer = Server(lms.url).chat("qwen3-8b", CHAT, stream=True)
    assert (answer.prompt_tokens, answer.tokens, answer.draft) == (*tokens, draft)
    assert answer.text == "Hmm. The tide"


def test_an_answer_that_says_nothing_of_a_draft_has_none(lms: Lms) -> None:
    lms.says("/api/v0/chat/completions", {**ANSWER, "stats": {"tokens_per_second": 18.0}})
    assert Server(lms.url).chat("m", CHAT, draft_model="d").draft is None


def test_mlx_lms_server_is_asked_at_openais_path(lms: Lms) -> None:
    lms.says("/v1/chat/completions", {k: v for k, v in ANSWER.items() if k != "stats"})
    answer = Server(lms.url).chat("m", CHAT, draft_model="d", num_draft_tokens=4)
    assert (answer.tokens, answer.draft) == (53, None)
    assert lms.seen[-1][0] == "/v1/chat/completions"
    assert (lms.seen[-1][2]["draft_model"], lms.seen[-1][2]["num_draft_tokens"]) == ("d", 4)


def test_a_stream_is_put_together_and_its_first_token_timed(lms: Lms) -> None:
    pieces = [{"choices": [{"delta": {"content": word}}]} for word in ("Hal", "lo", "!")]
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "stats": ANSWER["stats"]}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    lms.streams(
        "/api/v0/chat/completions", {"choices": [{"delta": {"role": "assistant"}}]}, *pieces, end,
        usage, pause=0.02,
    )  # fmt: skip
    answer = Server(lms.url).chat("m", CHAT, stream=True)
    assert (answer.text, answer.tokens, answer.prompt_tokens) == ("Hallo!", 4, 3)
    assert answer.draft == DraftStats("qwen3-0.6b", 40, 25)
    assert answer.time_to_first_token is not None
    assert 0.02 <= answer.time_to_first_token < answer.seconds
    assert answer.seconds >= 0.1


def test_a_stream_without_usage_is_counted_by_its_events(lms: Lms) -> None:
    pieces = [{"choices": [{"delta": {"content": str(n)}}]} for n in range(7)]
    lms.streams("/v1/chat/completions", *pieces)
    assert Server(lms.url).chat("m", CHAT, stream=True).tokens == 7


def test_a_streamed_answer_without_text_has_no_tokens(lms: Lms) -> None:
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    lms.streams("/v1/chat/completions", {"choices": [{"delta": {"content": ""}}]}, end)
    answer = Server(lms.url).chat("m", CHAT, stream=True)
    assert (answer.text, answer.tokens) == ("", 0)


def test_what_a_reasoning_model_thinks_counts_as_its_first_token(lms: Lms) -> None:
    events = [
        {"choices": [{"delta": {"reasoning_content": "hm "}}]},
        {"choices": [{"delta": {"content": "yes"}}]},
    ]
    lms.streams("/api/v0/chat/completions", *events)
    assert Server(lms.url).chat("m", CHAT, stream=True).text == "hm yes"


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (["{"], "not a JSON object"),
        ([], "before it began"),
        ([{"error": {"message": "out of memory"}}], "out of memory"),
    ],
)
def test_a_broken_stream_says_what_broke(lms: Lms, events: list[Any], words: str) -> None:
    lms.streams("/api/v0/chat/completions", *events)
    with pytest.raises(BadAnswer, match=words):
        Server(lms.url).chat("m", CHAT, stream=True)


# -- what can go wrong ------------------------------------------------------------------------------


def test_nobody_there_is_not_reachable() -> None:
    server = Server(f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(NotReachable, match="nobody answers at http://127"):
        server.models()


def test_somebody_who_never_answers_costs_no_more_than_the_time_limit(deaf: str) -> None:
    started = time.monotonic()
    with pytest.raises(NotReachable, match="in time"):
        Server(deaf).models(timeout=0.2)
    assert time.monotonic() - started < 60


def test_an_answer_that_trickles_is_cut_off_at_the_time_limit(lms: Lms) -> None:
    piece = {"choices": [{"delta": {"content": "x"}}]}
    lms.streams("/api/v0/chat/completions", *[piece] * 10_000, pause=0.05)
    started = time.monotonic()
    with pytest.raises(NotReachable, match="finish"):
        Server(lms.url).chat("m", CHAT, stream=True, timeout=0.3)
    assert time.monotonic() - started < 60


DRIPS = {
    "a head without an end": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "a line without an end": (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "nothing but interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "the size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" "),
    "a body until it closes": (b"HTTP/1.0 200 OK\r\n\r\n", b" "),
}


@pytest.mark.parametrize("what", DRIPS)
def test_a_server_that_drips_is_left_at_the_deadline(what: str) -> None:
    begin, drop = DRIPS[what]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            peer, _ = listening.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(1000)
                peer.sendall(begin)
                for _ in range(10_000):
                    time.sleep(0.02)
                    peer.sendall(drop)

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        with pytest.raises((NotReachable, BadAnswer)):
            Server(f"http://127.0.0.1:{listening.getsockname()[1]}").models(timeout=0.4)
        took = time.monotonic() - started
        thread.join()
    assert took < 60


def test_a_name_that_is_looked_up_without_end_is_left_and_looked_up_once(
    lms: Lms, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answers = threading.Event()
    there = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", lms.port))]
    resolved = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        if host != "mac.example":
            return resolved(host, *rest, **more)
        asked.append(host)
        answers.wait(60)
        return there

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    lms.says("/api/v1/models", V1)
    server = Server(f"http://mac.example:{lms.port}")
    for _ in range(3):
        with pytest.raises(NotReachable, match="in time"):
            server.models(timeout=0.1)
    assert asked == ["mac.example"]
    answers.set()
    assert len(server.models(timeout=60)) == 3


def test_a_name_that_is_none_is_said() -> None:
    host = f"{'a' * 64}.example"
    with pytest.raises(NotReachable, match=f"nobody answers at http://{host}"):
        Server(f"http://{host}").models(timeout=60)


def test_all_the_ways_of_asking_share_one_deadline(lms: Lms) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        handler.reply(b'{"error": "not found"}', 404)

    for path in ("/api/v1/models", "/api/v0/models", "/v1/models"):
        lms.paths[path] = slow
    with pytest.raises(NotReachable):
        Server(lms.url).models(timeout=0.5)
    assert len(lms.seen) < 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"error": {"message": "model\\u001b[31m crashed"}}', "crashed"),
        (json.dumps({"models": [{"key": f"m{n}"} for n in range(300_000)]}).encode(), "more than"),
    ],
)
def test_an_answer_that_is_none_is_told_apart(lms: Lms, content: bytes, words: str) -> None:
    lms.says("/api/v1/models", content)
    with pytest.raises(BadAnswer, match=words) as caught:
        Server(lms.url).models(timeout=10)
    assert str(caught.value).isprintable()


def test_an_error_carries_the_servers_own_words_and_status(lms: Lms) -> None:
    lms.says("/api/v0/chat/completions", {"error": {"message": "insufficient\n memory"}}, 500)
    with pytest.raises(BadAnswer, match="answered 500: insufficient memory") as caught:
        Server(lms.url).chat("m", CHAT)
    assert caught.value.status == 500


BATCHED = "SpeculativeDecodingNotSupportedError: not supported for batched MLX models."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_event", [False, True])
@pytest.mark.parametrize("at_load", [False, True])
def test_a_draft_that_is_refused_is_told_from_other_trouble(
    lms: Lms, stream: bool, as_event: bool, at_load: bool
) -> None:
    error = shapes.value("0.4/refused-draft.json") if at_load else {"error": BATCHED}
    event = shapes.text("0.4/refused-draft-event.txt") if at_load else (
        f"data: {json.dumps(error)}\n\n"
    )  # fmt: skip
    content = event.encode() if as_event else json.dumps(error).encode()
    kind = "text/event-stream" if as_event else "application/json"
    lms.paths["/api/v0/chat/completions"] = lambda handler: handler.reply(
        content, 200 if as_event else 400, kind
    )
    with pytest.raises(DraftRefused) as refused:
        Server(lms.url).chat("m", CHAT, draft_model="d", stream=stream)
    assert refused.value.at_load_only == at_load
    with pytest.raises(BadAnswer) as caught:
        Server(lms.url).chat("m", CHAT, stream=stream)
    assert not isinstance(caught.value, DraftRefused)


def test_a_model_that_is_not_there_is_named(lms: Lms) -> None:
    with pytest.raises(BadAnswer, match="does not have nobody"):
        Server(lms.url).chat("nobody", CHAT)


def test_an_answer_counts_that_comes_before_the_request_was_read() -> None:
    """As the real mlx_lm.server does for a path it does not know: the body stays unread."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listening, listening.accept()[0] as client:
            client.recv(1)
            client.sendall(b"HTTP/1.0 500 Busy\r\nContent-Length: 0\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    server = Server(f"http://127.0.0.1:{listening.getsockname()[1]}")
    with pytest.raises(BadAnswer, match="500"):
        server.chat("m", [{"role": "user", "content": "x" * (4 << 20)}])


def test_something_that_does_not_speak_http_is_said_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(BadAnswer, match="does not speak HTTP"):
            Server(f"http://127.0.0.1:{listening.getsockname()[1]}").models()
        thread.join()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "delta",
                    "content",
                    "usage",
                    "stats",
                    "completion_tokens",
                    "draft_model",
                    "total_draft_tokens_count",
                    "config",
                    "loaded_instances",
                    "id",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "stats", "runtime"]), ANY))
def test_any_answer_is_read_without_a_crash(told: dict[str, Any]) -> None:
    answer = answers.read_answer(told, answers.text_in(told), 1.0, None)
    assert answer.tokens >= 0
    assert isinstance(answers.text_in(told, "delta"), str)


@given(st.dictionaries(st.sampled_from(["key", "id", "loaded_instances", "state", "type"]), ANY))
def test_any_model_is_read_without_a_crash(told: dict[str, Any]) -> None:
    for _, _, read in answers.LISTINGS:
        assert isinstance(read(told).key, str)
