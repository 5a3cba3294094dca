"""LM Studio homes to test on: files shaped as the app writes them, models as small as can be.

The weights are a few bytes behind a true header, so that every check of a model's files passes
while a thousand of them cost nothing.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf

PUBLISHER = "mlx-community"
SEED_MAIN = f"{PUBLISHER}/Josiefied-Qwen3-8B-abliterated-v1-4bit"
SEED_DRAFT = f"{PUBLISHER}/Josiefied-Qwen2.5-0.5B-abliterated"
SEED_OTHERS = (
    f"{PUBLISHER}/Josiefied-Qwen2.5-3B-abliterated",
    f"{PUBLISHER}/Qwen3-4B-4bit",
    f"{PUBLISHER}/Josiefied-Qwen3-1.7B-abliterated-v1-4bit",
)

SECRETS = {"hfSearchToken": "hf_SECRETsearch", "hfDownloadToken": "hf_SECRETdownload"}


def lay_out(home: Path) -> Path:
    """A home like the one of a user who has had LM Studio for a while; the home itself."""
    internal = home / ".internal"
    for folder in (internal, home / "conversations", home / "server-logs" / "2026-11"):
        folder.mkdir(parents=True, exist_ok=True)
    write(home / "settings.json", settings(home))
    write(
        internal / "http-server-config.json",
        {
            "port": 1234,
            "cors": False,
            "networkInterface": "127.0.0.1",
            "justInTimeModelLoading": True,
            "fileLoggingMode": "succinct",
        },
    )
    write(
        internal / "draft-model-compatibility-cache.json", {SEED_MAIN: [SEED_DRAFT, *SEED_OTHERS]}
    )
    models = home / "models"
    mlx_model(models, SEED_MAIN, model_type="qwen3", vocab_size=151936)
    mlx_model(models, SEED_DRAFT, model_type="qwen2", vocab_size=151936)
    for identifier in SEED_OTHERS:
        kind = "qwen2" if "2.5" in identifier else "qwen3"
        mlx_model(models, identifier, model_type=kind, vocab_size=151936)
    write(
        defaults_path(home, SEED_MAIN),
        {
            "preset": "",
            "operation": {"fields": [{"key": "llm.prediction.temperature", "value": 0.6}]},
            "load": {"fields": [{"key": "llm.load.contextLength", "value": 40960}]},
        },
    )
    return home


def defaults_path(home: Path, identifier: str) -> Path:
    return home / ".internal" / "user-concrete-model-default-config" / f"{identifier}.json"


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def mlx_model(
    models: Path, identifier: str, *, bits: int | None = 4, weights: int = 64, **config: Any
) -> Path:
    """An MLX model's folder; ``config`` goes into config.json."""
    folder = models / identifier
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"model_type": "qwen3", "vocab_size": 151936, **config}
    if bits is not None:
        told["quantization"] = {"group_size": 64, "bits": bits}
    write(folder / "config.json", told)
    write(folder / "tokenizer.json", {"model": {"type": "BPE", "vocab": {}, "merges": []}})
    write(folder / "tokenizer_config.json", {})
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    return folder


def safetensors(size: int) -> bytes:
    """A safetensors file of one tensor of ``size`` bytes."""
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "mlx"}, "weight": tensor}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def gguf_model(
    models: Path,
    identifier: str,
    *,
    architecture: str = "llama",
    tokens: int = 32,
    file_type: int | None = None,
    **numbers: int,
) -> Path:
    """A GGUF file, as the maintained writer makes it; ``numbers`` go under the architecture."""
    file = models / identifier
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_context_length(4096)
    if file_type is not None:
        writer.add_file_type(file_type)
    for name, value in numbers.items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"<{n}>" for n in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file


def settings(home: Path) -> dict[str, Any]:
    """settings.json with the keys and the odd values that users' files have."""
    return {
        "language": "de",
        "downloadsFolder": str(home / "models"),
        "sidebar": {"showButtonNames": False, "monochromeSidebarIcons": True},
        "configs": {"expandConfigsOnClick": True},
        "chat": {
            "showSuggestionsOnNewChat": True,
            "allowOnlyOneNewChat": True,
            "useShiftEnterToSendMessage": False,
            "useKeychordToRegenerate": True,
            "unloadPreviousModelOnSelect": True,
            "aiNamingMode": "auto",
            "messageGenInfoMode": "lastMessage",
            "visualizeSpeculativeDecoding": False,
            "chatFullWidth": False,
            "skipToolConfirmationPatterns": [],
            "sidebarSort": {"field": "createdAt", "direction": "desc"},
            "imageInputs": {"userMaxImageDimensionPixels": 2048},
        },
        "developer": {
            "showExperimentalFeatures": False,
            "showDebugInfoBlocksInChat": False,
            "backendDownloadChannel": "stable",
            "appUpdateChannel": "stable",
            "unloadPreviousJITModelOnLoad": True,
            "jitModelTTL": {"enabled": True, "ttlSeconds": 3600},
            "autoUpdateExtensionPacks": True,
            "experimentFlags": [],
            "apiPredictionHistoryEviction": {"type": "time", "ttlDays": 30},
        },
        "ui": {"missionControlFullscreen": False, "contextDisplayMode": "percentage"},
        "configPresetInclusiveness": {"speculativeDecoding": False},
        "toggledConfigDropdowns": [],
        "developerMode": True,
        "userInterfaceComplexityLevel": 0,
        "appFirstLoad": False,
        "autoLoadBundledLLM": True,
        "modelLoadingGuardrails": {"mode": "high", "customThresholdBytes": 4294967296},
        "dismissedModals": ["Willkommen, 你好 👋"],
        "pre030ChatsMigrated": 3,
        "enableLocalService": True,
        "defaultContextLength": {"type": "custom", "value": 8192},
        "zoomFactor": 1.0,
        "lastSeenAt": 1764000000000123456,
        **SECRETS,
    }
