"""A llama.cpp server process with one main and its drafter."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, Literal, Self, TypeAlias

from specd.llamacpp.engine import LlamaCpp

START_S: Final = 300.0
ANSWER_S: Final = 600.0
SHOWN: Final = 4

LARGEST_DIFFERENCE: Final = 4.0
DIFFERENCE_ACCURACY: Final = 0.02
"""Limit and accuracy of a search for the difference of two logits."""

Speculation: TypeAlias = Literal[
    "none", "draft-simple", "draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark",
    "ngram-simple",
]  # fmt: skip
"""llama.cpp's names of drafters: a draft model, heads in the main or a sidecar, n-grams."""


class DidNotStart(Exception):
    """The server ended or did not answer; the message has llama.cpp's own error."""


class NoAnswer(Exception):
    """The server refused a prompt or ended before the answer; the message says why."""


class TookTooLong(NoAnswer):
    """There was no answer within the time allowed; the server gives the request up."""


@dataclass(frozen=True, slots=True)
class Load:
    """The models and settings of a server.

    ``draft``: file of a draft model or of a sidecar with heads. ``draft_tokens``: draft length,
    None for llama.cpp's default. ``context``: context length in tokens. ``kv_types``:
    llama.cpp's names of the types of keys and values in the main's KV cache.
    """

    main: Path
    speculation: Speculation = "none"
    draft: Path | None = None
    draft_tokens: int | None = None
    context: int = 4096
    kv_types: tuple[str, str] = ("f16", "f16")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and its timings.

    ``tokens``: its token ids. ``prompt_tokens``: prompt tokens processed in ``prefill_s`` seconds;
    ``kept`` more were in the cache. ``decode_s``: seconds of generating. ``drafted`` and
    ``accepted``: counts of draft tokens, both 0 without a drafter.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    kept: int
    prefill_s: float
    decode_s: float
    drafted: int
    accepted: int


class Server:
    """A running server; leaving the ``with`` block ends its process. ``context`` is in tokens.

    Raises:
        DidNotStart: the server ended or did not answer within ``START_S``.
    """

    def __init__(self, engine: LlamaCpp, load: Load) -> None:
        self._key = secrets.token_hex(16)
        self.context = load.context
        while not self._starts(engine, load):
            self.close()

    def _starts(self, engine: LlamaCpp, load: Load) -> bool:
        """Start the process and wait for it; False if another program took its port meanwhile."""
        self._port = _free_port()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self._process = subprocess.Popen(
            [*engine.command, *_options(load, self._port)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "LLAMA_API_KEY": self._key},
        )
        try:
            return self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text`` with BOS; control tokens in the text are parsed.

        Raises:
            NoAnswer: the server has ended.
        """
        body = {"content": text, "add_special": True, "parse_special": True}
        return tuple(map(int, self._ask("/tokenize", body)["tokens"]))

    def chat(self, text: str, *, thinks: bool = True) -> str:
        """``text`` as a user's message, formatted by the main's chat template.

        ``thinks``: a reasoning model thinks before it answers, if the template leaves the choice.

        Raises:
            NoAnswer: the server has ended, or the template fails.
        """
        body = {
            "messages": [{"role": "user", "content": text}],
            "chat_template_kwargs": {"enable_thinking": thinks},
        }
        return str(self._ask("/apply-template", body)["prompt"])

    def generate(
        self,
        prompt: str | Sequence[int],
        tokens: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        keep: bool = True,
        narrowed: Mapping[str, float] = MappingProxyType({}),
        seconds: float = ANSWER_S,
    ) -> Answer:
        """Answer ``prompt`` with at most ``tokens`` tokens, within ``seconds``.

        With ``keep`` the server may reuse its cache for the prompt's start, as in a chat.
        ``narrowed``: ``top_k``, ``top_p`` and ``min_p`` that differ from llama.cpp's defaults.

        Raises:
            NoAnswer: the server refuses the prompt, or has ended; ``TookTooLong``.
        """
        found = self._ask(
            "/completion",
            {
                "prompt": prompt if isinstance(prompt, str) else list(prompt),
                "n_predict": tokens,
                "temperature": temperature,
                "seed": seed,
                "cache_prompt": keep,
                "return_tokens": True,
                **narrowed,
            },
            seconds,
        )
        timings = found["timings"]
        return Answer(
            found["content"],
            tuple(found["tokens"]),
            timings["prompt_n"],
            timings.get("cache_n", 0),
            timings["prompt_ms"] / 1000,
            timings["predicted_ms"] / 1000,
            timings.get("draft_n", 0),
            timings.get("draft_n_accepted", 0),
        )

    def logit_difference(self, prompt: Sequence[int], two: tuple[int, int]) -> float:
        """The difference of logits between the two most likely tokens after the whole prompt.

        llama.cpp reports no probabilities where a token is a part of a character. Then: the bias
        with which the less likely of ``two`` is generated, ``LARGEST_DIFFERENCE`` if none is found.

        Raises:
            NoAnswer: the server refuses the prompt, or has ended.
        """
        body = {"prompt": list(prompt), "n_predict": 1, "temperature": 0.0, "n_probs": 2}
        body |= {"cache_prompt": False, "return_tokens": True}
        answer = self._ask("/completion", body)
        for each in answer.get("completion_probabilities", ()):
            if (found := _apart(each)) is not None:
                return found
        (first,) = answer["tokens"][:1] or (None,)
        other = two[first == two[0]]
        enough, too_little = LARGEST_DIFFERENCE, 0.0
        while enough - too_little > DIFFERENCE_ACCURACY:
            bias = (enough + too_little) / 2
            biased = self._ask("/completion", {**body, "logit_bias": [[other, bias]]})
            if biased["tokens"][:1] == [other]:
                enough = bias
            else:
                too_little = bias
        return enough

    def difference_after(self, prompt: Sequence[int], tokens: int) -> float | None:
        """The difference of logits after so many generated tokens, each computed by itself.

        None where llama.cpp does not report the probabilities of every token.

        Raises:
            NoAnswer: the server refuses the prompt, or has ended.
        """
        body = {"prompt": list(prompt), "n_predict": tokens + 1, "temperature": 0.0, "n_probs": 2}
        answer = self._ask("/completion", body | {"cache_prompt": False})
        reported: list[Any] = answer.get("completion_probabilities", [])
        return _apart(reported[tokens]) if len(reported) == tokens + 1 else None

    def _wait(self) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            ended, status = self._process.poll() is not None, None
            with contextlib.suppress(OSError, http.client.HTTPException):
                # Unlike "/health" it requires the key: no other server on the port answers 200.
                status, props = self._request("GET", "/props", None, 5.0)
            if ended and status is None:
                raise DidNotStart(self._error())
            if ended:
                return False
            if status == http.client.OK:
                # llama.cpp gives no more than the model was trained for.
                self.context = int(json.loads(props)["default_generation_settings"]["n_ctx"])
                return True
            time.sleep(0.05)
        raise DidNotStart(f"llama.cpp did not answer within {START_S:.0f} seconds")

    def _ask(self, path: str, body: dict[str, Any], seconds: float = ANSWER_S) -> dict[str, Any]:
        try:
            status, content = self._request("POST", path, body, seconds)
        except TimeoutError as error:
            raise TookTooLong(f"llama.cpp gave no answer within {seconds:.0f} s") from error
        except (OSError, http.client.HTTPException) as error:
            ended = self._process.poll() is not None
            raise NoAnswer(self._error() if ended else str(error) or repr(error)) from error
        if status != http.client.OK:
            raise NoAnswer(content.decode("utf-8", "replace")[:400])
        found = json.loads(content)
        if not isinstance(found, dict):
            raise NoAnswer("llama.cpp's answer is no JSON object")
        return found

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, seconds: float
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _error(self) -> str:
        """The last error lines of llama.cpp's log."""
        self._log.seek(0)
        lines = self._log.read()[-40_000:].decode("utf-8", "replace").splitlines()
        words = [set(line.lower().replace(":", " ").split()) for line in lines]
        errors = [line for line, of_line in zip(lines, words, strict=True) if _OF_ERRORS & of_line]
        shown = " / ".join(line.strip()[:200] for line in (errors or lines)[:SHOWN])
        return shown or f"llama.cpp ended with code {self._process.returncode} and printed nothing"


_OF_ERRORS: Final = {
    "error", "e", "failed", "must", "incompatible", "compatible", "unable", "what()",
}  # fmt: skip


def _options(load: Load, port: int) -> Iterator[str]:
    yield from ("--model", str(load.main), "--port", str(port), "--ctx-size", str(load.context))
    yield from ("--parallel", "1", "--spec-type", load.speculation)
    for name, kind in zip(("k", "v"), load.kv_types, strict=True):
        yield from (f"--cache-type-{name}", kind)
    if load.draft is not None:
        yield from ("--model-draft", str(load.draft))
    if load.draft_tokens is not None:
        yield from ("--spec-draft-n-max", str(load.draft_tokens))


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _apart(reported: dict[str, Any]) -> float | None:
    """The difference of the two best tokens in llama.cpp's report of one; None without two."""
    best = [float(each["logprob"]) for each in reported.get("top_logprobs", ())]
    return best[0] - best[1] if len(best) == 2 else None
