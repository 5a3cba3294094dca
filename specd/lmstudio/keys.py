"""What LM Studio calls its files and keys.

Sources: LM Studio's published configuration schema (npm ``@lmstudio/lms-kv-config``), its
open-source CLI, and settings files that users published. One name is not here but in specd.toml
(``settings_key``): what the switch in settings.json means to the app is not documented.
"""

from __future__ import annotations

from typing import Final

from specd.lmstudio.model import Drafter

# -- files, relative to the home --------------------------------------------------------------

SETTINGS: Final = "settings.json"
INTERNAL: Final = ".internal"
MODEL_DEFAULTS: Final = "user-concrete-model-default-config"  # under INTERNAL
DRAFT_CACHE: Final = "draft-model-compatibility-cache.json"  # under INTERNAL
SERVER_INFO: Final = "http-server.json"  # under INTERNAL: where the server really listens
SERVER_CONFIG: Final = "http-server-config.json"  # under INTERNAL: what was configured
MODEL_INDEX: Final = "model-index-cache.json"  # under INTERNAL
APP_LOCATION: Final = "app-install-location.json"  # under INTERNAL
LLMSTER_LOCATION: Final = "llmster-install-location.json"  # under INTERNAL
MODELS: Final = "models"
HUB_MODELS: Final = ("hub", "models")
PRESETS: Final = "config-presets"
CONVERSATIONS: Final = "conversations"
CONVERSATION_SUFFIX: Final = ".conversation.json"
SERVER_LOGS: Final = "server-logs"
LMS: Final = ("bin", "lms")
APPS: Final = "apps"
BIONIC: Final = "bionic"  # under APPS: a second app's own INTERNAL, with its SETTINGS inside

HOME_POINTER: Final = ".lmstudio-home-pointer"  # in the user's home directory
HOMES: Final = (".cache/lm-studio", ".lmstudio")  # there too, in the order LM Studio tries them

# -- settings.json ------------------------------------------------------------------------------

VISUALIZE: Final[tuple[str, ...]] = ("chat", "visualizeSpeculativeDecoding")
DEVELOPER_MODE: Final[tuple[str, ...]] = ("developerMode",)
UI_LEVEL: Final[tuple[str, ...]] = ("userInterfaceComplexityLevel",)  # before developerMode
DOWNLOADS_FOLDER: Final = "downloadsFolder"

# -- a model's defaults: two ordered lists of {"key": …, "value": …} -----------------------------

OPERATION_FIELDS: Final[tuple[str, ...]] = ("operation", "fields")
LOAD_FIELDS: Final[tuple[str, ...]] = ("load", "fields")
PRESET: Final[tuple[str, ...]] = ("preset",)

TEMPERATURE: Final = "llm.prediction.temperature"
TOP_K: Final = "llm.prediction.topKSampling"
TOP_P: Final = "llm.prediction.topPSampling"  # {"checked", "value"}, as the next
MIN_P: Final = "llm.prediction.minPSampling"
STRUCTURED: Final = "llm.prediction.structured"  # {"type": "none" or a kind of grammar, …}
_PREDICTION: Final = "llm.prediction.speculativeDecoding."
DRAFT_MODEL: Final = _PREDICTION + "draftModel"
DRAFT_TOKENS_EXACT: Final = _PREDICTION + "numDraftTokensExact"  # MLX
MAX_TOKENS_TO_DRAFT: Final = _PREDICTION + "maxTokensToDraft"  # llama.cpp

_LLAMA: Final = "llm.load.llama.speculativeDecoding."
LLAMA_DRAFT_MODEL: Final = _LLAMA + "draftModel"
LLAMA_DRAFT_MAX_TOKENS: Final = _LLAMA + "draftMaxTokens"
LLAMA_DRAFT_SIMPLE: Final = _LLAMA + "draftSimple"  # a draft model of its own
LLAMA_DRAFT_MTP: Final = _LLAMA + "draftMtp"  # the model's own multi-token prediction heads
LLAMA_DRAFT_SIDECARS: Final[dict[Drafter, str]] = {
    "mtp": _LLAMA + "draftMtpSidecar",
    "dflash": _LLAMA + "draftDflashSidecar",
    "dspark": _LLAMA + "draftDsparkSidecar",
}
LLAMA_PREDICTION_HEADS: Final = (LLAMA_DRAFT_MTP, LLAMA_DRAFT_SIDECARS["mtp"])
LLAMA_OF_DRAFT_MODEL: Final = (LLAMA_DRAFT_SIMPLE, *LLAMA_DRAFT_SIDECARS.values())
LLAMA_DRAFT_SWITCHES: Final = (LLAMA_DRAFT_MTP, *LLAMA_OF_DRAFT_MODEL)  # one of these may be on
DRAFTING: Final = (DRAFT_MODEL, LLAMA_DRAFT_MODEL, *LLAMA_DRAFT_SWITCHES)
SPECULATION: Final = frozenset(
    {DRAFT_TOKENS_EXACT, MAX_TOKENS_TO_DRAFT, LLAMA_DRAFT_MAX_TOKENS, *DRAFTING}
)

PARALLEL_SESSIONS: Final = "llm.load.numParallelSessions"
MLX_CACHE_QUANTIZATION: Final = "llm.load.mlx.kvCacheQuantization"  # {"enabled", "bits", …}
LLAMA_CACHE_TYPES: Final = {  # by their names in ``ChatSettings``; each {"checked", "value"}
    "k_type": "llm.load.llama.kCacheQuantizationType",
    "v_type": "llm.load.llama.vCacheQuantizationType",
}
