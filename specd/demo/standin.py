"""A stand-in for LM Studio's server, over real generation: ``python -m specd.demo.standin``.

It speaks ``/api/v0``, ``/api/v1`` and ``/v1`` on the loopback interface as LM Studio does, and has
its habits: it loads models when a request needs them, takes the draft from the request or else from
the model's own default config, and when a draft cannot be used it answers without it and without a
word. What it does not have: sampling by default (temperature is 0 unless asked for), prompt reuse,
tools, images.

The port stands in the home's ``.internal/http-server-config.json``; port 0 takes a free one and
writes it there. One line of JSON on standard output says where it listens. With ``--with-parent``
it ends when its standard input does, so that it cannot outlive whoever started it.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import http
import json
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

from specd.demo.generation import Answer, Engine, Loaded, Question, Statistics
from specd.demo.installed import Installed, installed, named, read_object

_LARGEST_BODY = 1 << 20
_DRAFT = "llm.prediction.speculativeDecoding.draftModel"
_DRAFT_TOKENS = "llm.prediction.speculativeDecoding.numDraftTokensExact"


class RefusedError(Exception):
    """A request that gets an error: HTTP ``status`` and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class StandIn:
    """One LM Studio: its home, what is in memory, and the token it asks for, if any."""

    home: Path
    engine: Engine
    token: str | None

    def loaded_model(self, name: object, *, ttl: float | None = None) -> Loaded:
        """The model a request names, loaded now if need be and allowed.

        Raises:
            RefusedError: there is none of that name, or it may not or cannot be loaded.
        """
        model = named(name, installed(self.home)) if isinstance(name, str) else None
        if model is None:
            raise RefusedError(404, f"Model {name!r} not found. Installed models: GET /v1/models")
        on_demand = read_object(self.home / ".internal" / "http-server-config.json")
        if (
            model.key not in self.engine.loaded()
            and on_demand.get("justInTimeModelLoading") is False
        ):
            raise RefusedError(400, f"Model {model.key} is not loaded, and is not to be on demand")
        return self.load(model, ttl=ttl)

    def load(self, model: Installed, **wanted: Any) -> Loaded:
        """Load ``model``; ``wanted`` as ``Engine.load`` takes it.

        Raises:
            RefusedError: it cannot be loaded.
        """
        try:
            return self.engine.load(model, **wanted)
        except (ValueError, OSError, KeyError) as problem:
            raise RefusedError(500, f"Failed to load {model.key}: {problem}") from problem

    def draft_for(self, main: Loaded, request: dict[str, Any]) -> tuple[Loaded | None, int]:
        """The draft to use and how many tokens it drafts: the request's, else the config's.

        None when there is no draft or it cannot be used; nobody is told which.
        """
        defaults = self._defaults(main.installed)
        name = request.get("draft_model", defaults.get(_DRAFT))
        count = request.get("num_draft_tokens", defaults.get(_DRAFT_TOKENS, 2))
        draft = named(name, installed(self.home)) if isinstance(name, str) and name else None
        usable = (
            draft is not None
            and draft.vocab_size == main.installed.vocab_size
            and draft.key != main.installed.key
            and not main.installed.vision
            and main.parallel == 1
        )
        if not usable or draft is None:
            return None, 0
        try:
            return self.load(draft, ttl=request.get("ttl")), count if isinstance(
                count, int
            ) and count > 0 else 2
        except RefusedError:
            return None, 0

    def _defaults(self, model: Installed) -> dict[str, Any]:
        """The prediction fields of the model's own default config, by key."""
        folder = self.home / ".internal" / "user-concrete-model-default-config"
        operation = read_object(folder / f"{model.identifier}.json").get("operation", {})
        fields = operation.get("fields", []) if isinstance(operation, dict) else []
        return {str(field["key"]): field.get("value") for field in fields if "key" in field}

    def models_v0(self) -> dict[str, Any]:
        """``GET /api/v0/models``."""
        loaded = self.engine.loaded()
        return {"object": "list", "data": [_v0(m, loaded.get(m.key)) for m in installed(self.home)]}

    def models_v1(self) -> dict[str, Any]:
        """``GET /api/v1/models``."""
        loaded = self.engine.loaded()
        return {"models": [_v1(m, loaded.get(m.key)) for m in installed(self.home)]}

    def models_openai(self) -> dict[str, Any]:
        """``GET /v1/models``."""
        owner = "organization_owner"
        return {
            "object": "list",
            "data": [
                {"id": m.key, "object": "model", "owned_by": owner} for m in installed(self.home)
            ],
        }

    def load_v1(self, request: dict[str, Any]) -> dict[str, Any]:
        """``POST /api/v1/models/load``."""
        name = request.get("model")
        model = named(name, installed(self.home)) if isinstance(name, str) else None
        if model is None:
            raise RefusedError(404, f"Model {name!r} not found")
        began = time.perf_counter()
        entry = self.load(
            model,
            context_length=request.get("context_length"),
            parallel=int(request.get("parallel", 1)),
        )
        return {
            "type": "llm",
            "instance_id": model.key,
            "status": "loaded",
            "load_time_seconds": round(time.perf_counter() - began, 3),
            "load_config": {"context_length": entry.context_length, "parallel": entry.parallel},
        }

    def unload_v1(self, request: dict[str, Any]) -> dict[str, Any]:
        """``POST /api/v1/models/unload``."""
        instance = request.get("instance_id")
        if not isinstance(instance, str) or not self.engine.unload(instance):
            raise RefusedError(404, f"No loaded model with instance_id {instance!r}")
        return {"instance_id": instance}


def _v0(model: Installed, loaded: Loaded | None) -> dict[str, Any]:
    return {
        "id": model.key,
        "object": "model",
        "type": model.kind,
        "publisher": model.publisher,
        "arch": model.architecture,
        "compatibility_type": model.format,
        "quantization": model.quantization,
        "state": "loaded" if loaded else "not-loaded",
        "max_context_length": model.context_length,
        **({"loaded_context_length": loaded.context_length} if loaded else {}),
    }


def _v1(model: Installed, loaded: Loaded | None) -> dict[str, Any]:
    config = (
        {"context_length": loaded.context_length, "parallel": loaded.parallel} if loaded else {}
    )
    return {
        "type": "embedding" if model.kind == "embeddings" else "llm",
        "publisher": model.publisher,
        "key": model.key,
        "display_name": model.repo,
        "architecture": model.architecture,
        "quantization": {"name": model.quantization, "bits_per_weight": model.bits},
        "size_bytes": model.size_bytes,
        "params_string": None,
        "loaded_instances": [{"id": model.key, "config": config}] if loaded else [],
        "max_context_length": model.context_length,
        "format": model.format,
        "capabilities": {"vision": model.vision, "trained_for_tool_use": False},
    }


def _statistics(figures: Statistics) -> dict[str, Any]:
    stats: dict[str, Any] = {
        "tokens_per_second": figures.tokens_per_second,
        "time_to_first_token": figures.first_token_s,
        "generation_time": figures.total_s - figures.first_token_s,
        "stop_reason": figures.stop_reason,
    }
    if figures.draft is not None:
        stats |= {
            "draft_model": figures.draft,
            "total_draft_tokens_count": figures.drafted,
            "accepted_draft_tokens_count": figures.accepted,
            "rejected_draft_tokens_count": figures.drafted - figures.accepted - figures.ignored,
            "ignored_draft_tokens_count": figures.ignored,
        }
    return stats


def _question(request: dict[str, Any], draft_tokens: int) -> Question:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RefusedError(400, "'messages' must be a list with at least one message")
    wanted = request.get("max_tokens")
    return Question(
        messages=messages,
        max_tokens=wanted if isinstance(wanted, int) and wanted > 0 else None,
        temperature=float(request.get("temperature", 0.0)),
        top_p=float(request.get("top_p", 1.0)),
        draft_tokens=draft_tokens,
    )


class _Handler(BaseHTTPRequestHandler):
    """One connection. Handlers run in threads of their own; generation does not."""

    protocol_version = "HTTP/1.1"
    server_version = "LM-Studio-stand-in"
    standin: StandIn

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        print(f"{self.log_date_time_string()} {format % args}", file=sys.stderr, flush=True)

    def do_GET(self) -> None:
        routes: dict[str, Callable[[], dict[str, Any]]] = {
            "/api/v0/models": self.standin.models_v0,
            "/api/v1/models": self.standin.models_v1,
            "/v1/models": self.standin.models_openai,
        }
        self._respond(lambda: self._call(routes))

    def do_POST(self) -> None:
        if self.path in ("/api/v0/chat/completions", "/v1/chat/completions"):
            self._respond(self._chat)
            return
        routes: dict[str, Callable[[], dict[str, Any]]] = {
            "/api/v1/models/load": lambda: self.standin.load_v1(self._body()),
            "/api/v1/models/unload": lambda: self.standin.unload_v1(self._body()),
        }
        self._respond(lambda: self._call(routes))

    def _call(self, routes: dict[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
        route = routes.get(self.path)
        if route is None:  # LM Studio answers so, with status 200
            return {"error": f"Unexpected endpoint or method. ({self.command} {self.path})"}
        return route()

    def _respond(self, make: Callable[[], dict[str, Any] | None]) -> None:
        """Send what ``make`` returns; None: it has sent everything itself."""
        try:
            self._check_token()
            body = make()
        except RefusedError as refused:
            self._send(refused.status, {"error": {"message": str(refused), "type": "invalid"}})
        except (ValueError, TypeError) as problem:
            self._send(400, {"error": {"message": str(problem), "type": "invalid"}})
        else:
            if body is not None:
                self._send(200, body)

    def _check_token(self) -> None:
        sent = self.headers.get("Authorization", "")
        wanted = self.standin.token
        if wanted and not hmac.compare_digest(sent.encode(), f"Bearer {wanted}".encode()):
            raise RefusedError(401, "A valid API token is required: Authorization: Bearer …")

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 <= length <= _LARGEST_BODY:
            raise RefusedError(413, f"A request may have {_LARGEST_BODY} bytes")
        value = json.loads(self.rfile.read(length))
        if not isinstance(value, dict):
            raise RefusedError(400, "The body must be a JSON object")
        return value

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if status != http.HTTPStatus.OK:  # the body may not have been read
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def _chat(self) -> dict[str, Any] | None:
        request = self._body()
        main = self.standin.loaded_model(request.get("model"), ttl=request.get("ttl"))
        draft, count = self.standin.draft_for(main, request)
        answer = self.standin.engine.answer(main, draft, _question(request, count))
        if request.get("stream"):
            self._stream(main, answer)
            return None
        text = "".join(answer)
        message = {"role": "assistant", "content": text}
        return self._completion("chat.completion", main, answer, {"message": message})

    def _completion(
        self, kind: str, main: Loaded, answer: Answer, choice: dict[str, Any]
    ) -> dict[str, Any]:
        """The OpenAI body with usage, and under ``/api/v0`` what LM Studio adds."""
        figures = answer.statistics
        length = figures.stop_reason == "maxPredictedTokensReached"
        finish = "length" if length else "stop"
        body: dict[str, Any] = {
            **_head(kind, main),
            "choices": [{"index": 0, "logprobs": None, "finish_reason": finish, **choice}],
            "usage": {
                "prompt_tokens": figures.prompt_tokens,
                "completion_tokens": figures.tokens,
                "total_tokens": figures.prompt_tokens + figures.tokens,
            },
            "stats": _statistics(figures),
        }
        if self.path.startswith("/api/v0/"):
            model = main.installed
            body["model_info"] = {
                "arch": model.architecture,
                "quant": model.quantization,
                "format": model.format,
                "context_length": main.context_length,
            }
            body["runtime"] = {
                "name": "stand-in-mlx",
                "version": version("mlx"),
                "supported_formats": ["mlx"],
            }
        return body

    def _stream(self, main: Loaded, answer: Answer) -> None:
        """Server-sent events; a client that goes away stops the generation."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        head = _head("chat.completion.chunk", main)
        try:
            for piece in answer:
                if piece:
                    delta = {"index": 0, "delta": {"role": "assistant", "content": piece}}
                    self._event({**head, "choices": [{**delta, "finish_reason": None}]})
            self._event(self._completion(head["object"], main, answer, {"delta": {}}))
            self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            answer.stop.set()
        except ValueError as problem:
            self._event({"error": {"message": str(problem)}})

    def _event(self, body: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())


def _head(kind: str, main: Loaded) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:24]}",
        "object": kind,
        "created": int(time.time()),
        "model": main.installed.key,
    }


def _record_port(home: Path, port: int) -> None:
    """Write the port where LM Studio does, beside what stands there."""
    path = home / ".internal" / "http-server-config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {"justInTimeModelLoading": True, **read_object(path), "port": port}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _then(wait: Callable[[], object], act: Callable[[], None]) -> None:
    wait()
    act()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m specd.demo.standin", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the LM Studio home to serve")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--token-env", help="name of the variable that holds the token to ask for")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    return parser


def main() -> int:
    """Serve until SIGTERM, SIGINT, or the end of standard input."""
    args = _parser().parse_args()
    if mx.default_device() == mx.cpu and shutil.which("g++") is None:
        mx.disable_compile()  # MLX's CPU backend compiles with the system's compiler
    token = os.environ.get(args.token_env) if args.token_env else None
    handler = type("Handler", (_Handler,), {"standin": StandIn(args.home, Engine(), token)})
    server = ThreadingHTTPServer(("127.0.0.1", args.port), handler)
    server.daemon_threads = True
    port = server.server_address[1]
    _record_port(args.home, port)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if args.with_parent:
        threading.Thread(target=_then, args=(sys.stdin.read, stop), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}), flush=True)
    server.serve_forever(poll_interval=0.1)
    os._exit(0)  # a generation in progress must not keep the process


if __name__ == "__main__":
    sys.exit(main())
