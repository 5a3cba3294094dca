"""A stand-in for LM Studio's server that really generates: ``python -m specd.demo.standin``.

It answers on the loopback interface like LM Studio of ``--version``, in the recorded shapes of
tests/lmstudio/recorded. Both versions load a model when a request needs it. They refuse the drafts
that their MLX engine refuses: another vocabulary, or a main that sees images or is loaded for
several requests at once.

- **0.3** has ``/api/v0`` and ``/v1`` and serves one request at a time. The draft comes from the
  request, else from the model's defaults at that moment. ``stats`` has its counts.
- **0.4.24** also has ``/api/v1``. It reads the model's defaults when it loads a model, and shows
  the settings in force with each instance. A model that was unloaded after its idle time and is
  loaded again by a request serves four requests at once, whatever its config says. The counts of a
  draft are in ``usage`` (``/api/v0``) or in ``stats`` (``/v1``); for MLX only the accepted tokens.
  A GGUF main takes no draft from a request. ``/api/v1/chat`` is missing, as specd never requests
  it.

It has no engine for GGUF (such a model is loaded in name only), no sampling by default (temperature
is 0 unless the request sets it), no prompt reuse, tools or images.

It takes a free port, writes it into the home's ``.internal``, where LM Studio of that version does,
and prints its address. It ends with its standard input, so that it cannot outlive its parent.
"""

from __future__ import annotations

import argparse
import contextlib
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

from specd.demo.generation import Engine, Generation, Loaded, Question, Statistics
from specd.demo.installed import Installed, installed, named, read_object
from specd.demo.serving import VERSIONS

_DRAFT = "llm.prediction.speculativeDecoding.draftModel"
_DRAFT_TOKENS = "llm.prediction.speculativeDecoding.numDraftTokensExact"
_PARALLEL = "llm.load.numParallelSessions"
_KV_QUANTIZATION = "llm.load.mlx.kvCacheQuantization"
_CONTEXT = "llm.load.contextLength"
_LLAMA = "llm.load.llama.speculativeDecoding."
_AT_ONCE = 4  # requests that a model is loaded for by default, since 0.4
_AT_LOAD = (
    "Engine protocol speculative decoding must be configured at load time, not prediction time"
)
_BATCHED = (
    "Failed to load draft model. SpeculativeDecodingNotSupportedError: Speculative decoding is not "
    "supported for batched MLX models."
)
_NOT_COMPATIBLE = "Failed to load draft model. Draft model is not compatible with main model"


class RefusedError(Exception):
    """A refused request, with its HTTP status.

    ``as_event``: a stream has status 200 and gets the error as an event.
    """

    def __init__(self, status: int, message: str, *, as_event: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.as_event = as_event

    def body(self) -> dict[str, Any]:
        """``{"error": …}``."""
        if self.as_event:
            return {"error": str(self)}
        return {"error": {"message": str(self), "type": "invalid_request"}}


@dataclass(frozen=True, slots=True)
class StandIn:
    """One LM Studio. ``newer``: 0.4.24, not 0.3."""

    home: Path
    engine: Engine
    newer: bool

    def installed(self, name: object) -> Installed:
        """The model that a request names.

        Raises:
            RefusedError: no model has this name.
        """
        model = named(name, installed(self.home)) if isinstance(name, str) else None
        if model is None:
            raise RefusedError(404, f"Model {name!r} not found. Installed models: GET /v1/models")
        return model

    def load(
        self,
        model: Installed,
        *,
        ttl: float | None = None,
        parallel: int | None = None,
        on_demand: bool = False,
    ) -> Loaded:
        """Load ``model``, unless it is loaded already.

        Raises:
            RefusedError: it cannot be loaded.
        """
        fields = self._defaults(model)
        at_once: Any = 1
        if self.newer:
            at_once = parallel or fields.get(_PARALLEL, _AT_ONCE)
            if parallel is None and on_demand and model.key in self.engine.expired:
                at_once = _AT_ONCE
        try:
            return self.engine.load(
                model,
                context_length=fields.get(_CONTEXT),
                parallel=at_once if isinstance(at_once, int) else _AT_ONCE,
                ttl=ttl,
                defaults=fields,
            )
        except (ValueError, OSError, KeyError, RuntimeError) as problem:
            raise RefusedError(500, f"Failed to load {model.key}: {problem}") from problem

    def draft_for(self, main: Loaded, request: dict[str, Any]) -> tuple[Loaded | None, int]:
        """The draft model and draft length: the request's, else the config's.

        Raises:
            RefusedError: the engine does not take the draft.
        """
        fields = main.defaults if self.newer else self._defaults(main.installed)
        name = request.get("draft_model", fields.get(_DRAFT))
        if main.installed.format == "gguf":
            if self.newer and request.get("draft_model"):
                raise RefusedError(400, _AT_LOAD, as_event=True)
            return None, 0
        if not isinstance(name, str) or not name:
            return None, 0
        quantized = fields.get(_KV_QUANTIZATION)
        sequential = isinstance(quantized, dict) and quantized.get("enabled") is True
        if main.installed.vision or (main.parallel > 1 and not sequential):
            raise RefusedError(400, _BATCHED, as_event=True)
        draft = named(name, installed(self.home))
        if draft is None:
            message = f"Failed to load draft model. Model {name!r} not found"
            raise RefusedError(400, message, as_event=True)
        try:
            loaded = self.load(draft, ttl=request.get("ttl"))
        except RefusedError as failure:
            message = f"Failed to load draft model. {failure}"
            raise RefusedError(400, message, as_event=True) from failure
        # The engine compares the tokenizers' sizes, without added tokens, and nothing else.
        if loaded.tokenizer.vocab_size != main.tokenizer.vocab_size:
            raise RefusedError(400, _NOT_COMPATIBLE, as_event=True)
        count = fields.get(_DRAFT_TOKENS, 2)
        if not self.newer:
            count = request.get("num_draft_tokens", count)
        return loaded, count if isinstance(count, int) and count > 0 else 2

    def _defaults(self, model: Installed) -> dict[str, Any]:
        """The fields of the model's defaults, by key."""
        folder = self.home / ".internal" / "user-concrete-model-default-config"
        document = read_object(folder / f"{model.defaults}.json")
        fields: dict[str, Any] = {}
        for section in ("operation", "load"):
            part = document.get(section)
            listed = part.get("fields", []) if isinstance(part, dict) else []
            fields |= {str(field["key"]): field.get("value") for field in listed if "key" in field}
        return fields

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
        model = self.installed(request.get("model"))
        entry = self.load(model, parallel=request.get("parallel"))
        return {"instance_id": model.key, "status": "loaded", "load_config": _in_force(entry)}

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
    instances = [{"id": model.key, "config": _in_force(loaded)}] if loaded else []
    return {
        "type": "embedding" if model.kind == "embeddings" else "llm",
        "publisher": model.publisher,
        "key": model.key,
        "display_name": model.repo,
        "architecture": model.architecture,
        "quantization": {"name": model.quantization, "bits_per_weight": model.bits},
        "size_bytes": model.size_bytes,
        "params_string": None,
        "loaded_instances": instances,
        "max_context_length": model.context_length,
        "format": model.format,
        "capabilities": {"vision": model.vision, "trained_for_tool_use": False},
    }


def _in_force(loaded: Loaded) -> dict[str, Any]:
    """The settings in force of a loaded model; a sidecar is not shown."""
    config: dict[str, Any] = {
        "context_length": loaded.context_length,
        "parallel": loaded.parallel,
    }
    if loaded.installed.format == "gguf":
        fields = loaded.defaults
        simple = fields.get(f"{_LLAMA}draftSimple") is True
        config |= {
            "speculative_draft_mtp": fields.get(f"{_LLAMA}draftMtp") is True,
            "speculative_draft_simple": simple,
            "speculative_draft_model": fields.get(f"{_LLAMA}draftModel", "") if simple else "",
            "speculative_draft_max_tokens": fields.get(f"{_LLAMA}draftMaxTokens", 3),
        }
    return config


def _clock(figures: Statistics) -> dict[str, Any]:
    return {
        "tokens_per_second": figures.tokens_per_second,
        "time_to_first_token": figures.first_token_s,
        "generation_time": figures.total_s - figures.first_token_s,
        "stop_reason": figures.stop_reason,
    }


def _counts(figures: Statistics, *, newer: bool) -> dict[str, Any]:
    """The draft's counts; since 0.4, for MLX, only the accepted tokens, and only if any were."""
    if figures.draft is None:
        return {}
    if newer:
        return {"accepted_draft_tokens_count": figures.accepted} if figures.accepted else {}
    return {
        "draft_model": figures.draft,
        "total_draft_tokens_count": figures.drafted,
        "accepted_draft_tokens_count": figures.accepted,
        "rejected_draft_tokens_count": figures.drafted - figures.accepted - figures.ignored,
        "ignored_draft_tokens_count": figures.ignored,
    }


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
    """One connection. Each has its own thread; all generation runs in one other thread."""

    protocol_version = "HTTP/1.1"
    server_version = "LM-Studio-stand-in"
    standin: StandIn

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        print(f"{self.log_date_time_string()} {format % args}", file=sys.stderr, flush=True)

    def do_GET(self) -> None:
        """Call the route and send its answer; None: the route has sent it."""
        routes: dict[str, Callable[[], dict[str, Any] | None]] = {
            "GET /api/v0/models": self.standin.models_v0,
            "GET /api/v1/models": self.standin.models_v1,
            "GET /v1/models": self.standin.models_openai,
            "POST /api/v0/chat/completions": self._chat,
            "POST /v1/chat/completions": self._chat,
            "POST /api/v1/models/load": lambda: self.standin.load_v1(self._body()),
            "POST /api/v1/models/unload": lambda: self.standin.unload_v1(self._body()),
        }
        call = f"{self.command} {self.path}"
        unknown = {"error": f"Unexpected endpoint or method. ({call})"}  # with status 200
        newer = self.standin.newer or not self.path.startswith("/api/v1/")
        try:
            body = routes.get(call, lambda: unknown)() if newer else unknown
        except RefusedError as refused:
            self._send(refused.status, refused.body())
        except (ValueError, TypeError) as problem:
            self._send(400, {"error": {"message": str(problem), "type": "invalid"}})
        else:
            if body is not None:
                self._send(200, body)

    do_POST = do_GET  # noqa: N815 - the parent's name

    def _body(self) -> dict[str, Any]:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
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

    def _begun(self, request: dict[str, Any]) -> tuple[Loaded, Generation]:
        """The main model and its answer, which is being generated.

        Raises:
            RefusedError: the request cannot be answered.
        """
        model = self.standin.installed(request.get("model"))
        main = self.standin.load(model, ttl=request.get("ttl"), on_demand=True)
        draft, count = self.standin.draft_for(main, request)
        if main.model is None:
            raise RefusedError(500, f"There is no engine for {main.installed.format} models here")
        return main, self.standin.engine.answer(main, draft, _question(request, count))

    def _chat(self) -> dict[str, Any] | None:
        request = self._body()
        try:
            main, answer = self._begun(request)
        except RefusedError as refused:
            if not (refused.as_event and request.get("stream")):
                raise
            self._begin_stream()
            self._event({"error": {"message": str(refused)}}, "error")
            return None
        if request.get("stream"):
            self._stream(main, answer)
            return None
        text = "".join(answer)
        message = {"role": "assistant", "content": text}
        return self._completion("chat.completion", main, answer, {"message": message})

    def _completion(
        self, kind: str, main: Loaded, answer: Generation, choice: dict[str, Any]
    ) -> dict[str, Any]:
        """OpenAI's body, with the members that this version of LM Studio adds at this path."""
        figures = answer.statistics
        newer, native = self.standin.newer, self.path.startswith("/api/v0/")
        counts = _counts(figures, newer=newer)
        length = figures.stop_reason == "maxPredictedTokensReached"
        finish = "length" if length else "stop"
        body: dict[str, Any] = {
            **_head(kind, main),
            "choices": [{"index": 0, "logprobs": None, "finish_reason": finish, **choice}],
            "usage": {
                "prompt_tokens": figures.prompt_tokens,
                "completion_tokens": figures.tokens,
                "total_tokens": figures.prompt_tokens + figures.tokens,
                **(counts if newer and native else {}),
            },
            "stats": {
                **(_clock(figures) if native else {}),
                **(counts if not (newer and native) else {}),
            },
        }
        if native:
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

    def _stream(self, main: Loaded, answer: Generation) -> None:
        """Send the answer as events; generation stops when the client disconnects."""
        self._begin_stream()
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

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _event(self, body: dict[str, Any], name: str = "") -> None:
        head = f"event: {name}\n" if name else ""
        self.wfile.write(f"{head}data: {json.dumps(body)}\n\n".encode())


def _head(kind: str, main: Loaded) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:24]}",
        "object": kind,
        "created": int(time.time()),
        "model": main.installed.key,
    }


def _record_port(home: Path, port: int, *, newer: bool) -> None:
    """Write the port into LM Studio's files; their other settings stay."""
    path = home / ".internal" / "http-server-config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    config = {**read_object(path), "port": port}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if newer:
        listening = json.dumps({"port": port}) + "\n"
        path.with_name("http-server.json").write_text(listening, encoding="utf-8")


def main() -> int:
    """Serve until SIGTERM, SIGINT, or the end of standard input."""
    parser = argparse.ArgumentParser(prog="python -m specd.demo.standin", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the LM Studio home to serve")
    parser.add_argument("--version", choices=VERSIONS, default=VERSIONS[-1], help="of LM Studio")
    args = parser.parse_args()
    if mx.default_device() == mx.cpu and shutil.which("g++") is None:
        mx.disable_compile()  # MLX's CPU backend compiles with the system's compiler
    newer = args.version == VERSIONS[-1]
    made = StandIn(args.home, Engine(), newer)
    handler = type("Handler", (_Handler,), {"standin": made})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    port = server.server_address[1]
    _record_port(args.home, port, newer=newer)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    def stop_with_input() -> None:
        sys.stdin.read()
        stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=stop_with_input, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        print(f"http://127.0.0.1:{port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    os._exit(0)  # a generation in progress must not keep the process


if __name__ == "__main__":
    sys.exit(main())
