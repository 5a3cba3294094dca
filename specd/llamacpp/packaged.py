"""llama.cpp's server from the package ``xllamacpp``, with the options of ``llama-server``.

``python -m specd.llamacpp.packaged --model main.gguf …`` serves until standard input ends. It runs
in its own process, because llama.cpp exits when it refuses a model.
"""

from __future__ import annotations

import argparse
import os
import sys

import xllamacpp


def main() -> None:
    """Load the model, serve, and wait for the end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--spec-type", default="none")
    parser.add_argument("--cache-type-k", default="f16")
    parser.add_argument("--cache-type-v", default="f16")
    parser.add_argument("--model-draft")
    parser.add_argument("--spec-draft-n-max", type=int)
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.port = options.port
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    params.cache_type_k = _ggml_type(options.cache_type_k)
    params.cache_type_v = _ggml_type(options.cache_type_v)
    params.warmup = False
    kind = f"COMMON_SPECULATIVE_TYPE_{options.spec_type.upper().replace('-', '_')}"
    params.speculative.types = [getattr(xllamacpp.common_speculative_type, kind)]
    if options.model_draft is not None:
        params.speculative.draft.mparams.path = options.model_draft
    if options.spec_draft_n_max is not None:
        params.speculative.draft.n_max = options.spec_draft_n_max
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # llama.cpp's threads need not be waited for


def _ggml_type(name: str) -> int:
    return int(getattr(xllamacpp.ggml_type, f"GGML_TYPE_{name.upper()}"))


if __name__ == "__main__":
    main()
