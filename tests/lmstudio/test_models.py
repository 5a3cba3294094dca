from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from specd.files.pointer import ABSENT
from specd.lmstudio import models as index_of
from specd.lmstudio.model import Model
from specd.lmstudio.models import index, store, stored
from specd.tokenizer import fingerprint
from tests.conftest import Figures
from tests.lmstudio import homes

OLD = time.time() - 3600


def only(models: Path) -> Model:
    (found,) = index(models).models
    return found


def age(folder: Path) -> None:
    """Everything below ``folder``, and itself, was last changed an hour ago."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            os.utime(Path(path) / name, (OLD, OLD))
    os.utime(folder, (OLD, OLD))


def test_the_first_machines_models_are_all_found(home: Path) -> None:
    found = {model.identifier: model for model in index(home / "models").models}
    assert set(found) == {homes.SEED_MAIN, homes.SEED_DRAFT, *homes.SEED_OTHERS}
    main = found[homes.SEED_MAIN]
    assert main == Model(
        key="josiefied-qwen3-8b-abliterated-v1-4bit",
        identifier=homes.SEED_MAIN,
        publisher="mlx-community",
        repo="Josiefied-Qwen3-8B-abliterated-v1-4bit",
        path=home / "models" / homes.SEED_MAIN,
        format="mlx",
        kind="llm",
        architecture="qwen3",
        vocab_size=151936,
        quantization="4bit",
        size_bytes=(home / "models" / homes.SEED_MAIN / "model.safetensors").stat().st_size,
    )


def test_a_vision_model_is_told_by_its_vision_config(models: Path) -> None:
    homes.mlx_model(
        models,
        "a/Qwen2-VL-4bit",
        model_type="qwen2_vl",
        vocab_size=None,
        vision_config={"depth": 1},
        text_config={"vocab_size": 152064},
    )
    found = only(models)
    assert (found.kind, found.vocab_size) == ("vlm", 152064)


@pytest.mark.parametrize(
    ("config", "quantization"),
    [
        ({"torch_dtype": "bfloat16"}, "bf16"),
        ({"dtype": "float16"}, "fp16"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"quantization_config": {"bits": 8, "group_size": 32}}, "8bit"),
        ({"quantization": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_quantization_is_config_jsons(
    models: Path, config: dict[str, object], quantization: str | None
) -> None:
    homes.mlx_model(models, "a/b", bits=None, **config)
    assert only(models).quantization == quantization


@pytest.mark.parametrize("model_type", ["bert", "nomic_bert", "modernbert", "xlm-roberta"])
def test_berts_are_embedding_models(models: Path, model_type: str) -> None:
    homes.mlx_model(models, "a/b", model_type=model_type)
    assert only(models).kind == "embedding"


def test_a_language_model_made_into_an_embedding_model_is_one(models: Path) -> None:
    folder = homes.mlx_model(models, "a/Qwen3-Embedding-0.6B")
    homes.write(folder / "modules.json", [])
    homes.write(folder / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    assert only(models).kind == "embedding"


def test_an_adapter_without_a_base_is_one(models: Path) -> None:
    folder = models / "a" / "my-lora"
    homes.write(folder / "adapter_config.json", {"fine_tune_type": "lora"})
    (folder / "adapters.safetensors").write_bytes(homes.safetensors(8))
    found = only(models)
    assert (found.kind, found.problem) == ("adapter", None)


def test_weights_of_another_format_are_neither_mlx_nor_gguf(models: Path) -> None:
    folder = homes.mlx_model(models, "a/torch")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    assert only(models).format == "other"


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(b'{"model_type": "qw')


def _deep_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"[" * 100_000)


def _list_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"[]")


def _empty_config(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"")


def _empty_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"")


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _partial(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors.part").write_bytes(b"x")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _cut_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])


def _noise_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def _missing_shard(folder: Path) -> None:
    names = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    (folder / "model.safetensors").rename(folder / names[0])
    shards = {f"layer{n}": name for n, name in enumerate(names)}
    homes.write(folder / "model.safetensors.index.json", {"weight_map": shards})


def _shards_without_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (_no_config, "config.json is missing"),
        (_broken_config, "config.json is not valid JSON"),
        (_deep_config, "config.json is not valid JSON"),
        (_list_config, "config.json does not hold an object"),
        (_empty_config, "config.json is empty"),
        (_empty_tokenizer, "tokenizer.json is empty"),
        (_no_tokenizer, "no tokenizer"),
        (_partial, "download is not finished (model-00002-of-00002.safetensors.part)"),
        (_no_weights, "no weights"),
        (_empty_weights, "model.safetensors is empty"),
        (_cut_weights, "model.safetensors is cut off: "),
        (_noise_weights, "model.safetensors is cut off, or no safetensors file"),
        (_shards_without_index, "model-00002-of-00002.safetensors is missing (1 of"),
        (_missing_shard, "model-00002-of-00003.safetensors is missing (2 of its weight files"),
    ],
)
def test_an_unusable_model_is_incomplete_and_says_why(
    models: Path, breaks: object, words: str
) -> None:
    folder = homes.mlx_model(models, "a/b")
    breaks(folder)  # type: ignore[operator]
    found = only(models)
    assert found.kind == "incomplete"
    assert words in (found.problem or "")


def test_an_index_left_over_from_another_conversion_is_ignored(models: Path) -> None:
    folder = homes.mlx_model(models, "a/b")
    shards = {"w": "model-00001-of-00009.safetensors"}
    homes.write(folder / "model.safetensors.index.json", {"weight_map": shards})
    assert only(models).kind == "llm"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_config_makes_the_model_incomplete(models: Path) -> None:
    folder = homes.mlx_model(models, "a/b")
    (folder / "config.json").chmod(0)
    assert "cannot be read" in (only(models).problem or "")


def test_a_gguf_file_with_prediction_heads_tells_how_many(models: Path) -> None:
    homes.gguf_model(models, "a/b-GGUF/b-Q4_0.gguf", architecture="glm4", nextn_predict_layers=1)
    assert only(models).mtp_heads == 1


def test_a_gguf_file_is_named_with_its_file_and_measured_by_its_tokens(models: Path) -> None:
    path = homes.gguf_model(models, "bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf", tokens=100)
    found = only(models)
    assert found == Model(
        key="phi-4",
        identifier="bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf",
        publisher="bartowski",
        repo="Phi-4-GGUF",
        path=path,
        format="gguf",
        kind="llm",
        architecture="llama",
        vocab_size=100,
        quantization="Q4_K_M",
        size_bytes=path.stat().st_size,
    )


def test_several_files_in_one_repo_are_told_apart_as_the_app_does(models: Path) -> None:
    for quantization in ("Q4_K_M", "Q8_0"):
        homes.gguf_model(models, f"a/Phi-4-GGUF/phi-4-{quantization}.gguf")
    assert {model.key for model in index(models).models} == {"phi-4@q4_k_m", "phi-4@q8_0"}


def test_a_file_in_a_subfolder_has_the_key_of_its_repo(models: Path) -> None:
    homes.gguf_model(models, "a/Big-GGUF/Q4_K_M/Big-Q4_K_M-00001-of-00001.gguf")
    homes.gguf_model(models, "a/Big-GGUF/MTP/mtp-model.gguf", architecture="qwen35_mtp")
    homes.gguf_model(models, "a/Small-GGUF/mtp.gguf", architecture="qwen35_mtp")
    assert {model.key for model in index(models).models} == {
        "big@q4_k_m",
        "big-mtp-model",
        "small",
    }


def test_a_projector_makes_its_neighbour_a_vision_model(models: Path) -> None:
    homes.gguf_model(models, "a/vl-GGUF/model-Q4_0.gguf")
    homes.gguf_model(models, "a/vl-GGUF/mmproj-model-f16.gguf", architecture="clip")
    kinds = {model.path.name: model.kind for model in index(models).models}
    assert kinds == {"model-Q4_0.gguf": "vlm", "mmproj-model-f16.gguf": "mmproj"}


@pytest.mark.parametrize(
    ("architecture", "numbers"), [("nomic-bert", {}), ("qwen3", {"pooling_type": 3})]
)
def test_a_gguf_embedding_model_is_one(
    models: Path, architecture: str, numbers: dict[str, int]
) -> None:
    homes.gguf_model(models, "a/b/c.gguf", architecture=architecture, **numbers)
    assert only(models).kind == "embedding"


def test_the_files_of_a_split_gguf_are_one_model(models: Path) -> None:
    first = homes.gguf_model(models, "a/big/big-Q4_0-00001-of-00002.gguf")
    second = first.with_name("big-Q4_0-00002-of-00002.gguf")
    second.write_bytes(b"GGUF" + bytes(96))
    found = only(models)
    assert (found.quantization, found.size_bytes) == ("Q4_0", first.stat().st_size + 100)
    second.unlink()
    found = only(models)
    assert found.kind == "incomplete"
    assert "big-Q4_0-00002-of-00002.gguf is missing" in (found.problem or "")


def test_a_broken_gguf_is_incomplete(models: Path) -> None:
    for name, content in (("empty", b""), ("cut", b"GGUF\x03"), ("other", b"PK" * 20)):
        path = models / "a" / name / f"{name}.gguf"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    problems = {model.path.stem: model.problem for model in index(models).models}
    assert problems == {
        "empty": "empty.gguf is empty; download it again",
        "cut": "cut.gguf cannot be used: it ends in the middle of its header, at byte 5; download it again",
        "other": "other.gguf cannot be used: it does not begin with GGUF; download it again",
    }


@pytest.mark.parametrize("identifier", ["shallow-model", "a/b/deep", "a/b/c/deeper"])
def test_models_outside_publisher_and_repo_are_found_too(models: Path, identifier: str) -> None:
    homes.mlx_model(models, identifier)
    assert only(models).identifier == identifier


def test_a_gguf_file_right_under_its_publisher_is_found(models: Path) -> None:
    homes.gguf_model(models, "someone/lone.gguf")
    assert only(models).identifier == "someone/lone.gguf"


def test_folders_that_are_no_models_are_passed_over(models: Path) -> None:
    for path in ("a/notes/README.md", "a/b/.cache/config.json", "stray.txt", "a/config.json"):
        homes.write(models / path, {})
    assert index(models).models == ()


def test_a_models_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    found = index(tmp_path / "gone")
    assert found.models == ()
    assert "does not exist" in found.problems[0]


def test_links_to_models_are_followed_and_circles_end(models: Path, tmp_path: Path) -> None:
    homes.mlx_model(tmp_path / "disk", "a/b")
    (models / "linked").symlink_to(tmp_path / "disk" / "a")
    (models / "linked" / "b" / "circle").symlink_to(models)
    (models / "nowhere").symlink_to(tmp_path / "gone")
    assert only(models).identifier == "linked/b"


def test_files_that_are_linked_one_by_one_are_read(models: Path, tmp_path: Path) -> None:
    blob = homes.gguf_model(tmp_path / "ollama", "sha256-0123", tokens=7)
    (models / "ollama" / "Llama").mkdir(parents=True)
    (models / "ollama" / "Llama" / "llama-Q4_K_M.gguf").symlink_to(blob)
    real = homes.mlx_model(tmp_path / "blobs", "x/y")
    (models / "cache" / "Qwen").mkdir(parents=True)
    for file in real.iterdir():
        (models / "cache" / "Qwen" / file.name).symlink_to(file)
    found = {each.identifier: each for each in index(models).models}
    assert found["ollama/Llama/llama-Q4_K_M.gguf"].vocab_size == 7
    assert found["cache/Qwen"].kind == "llm"
    assert fingerprint.read(found["cache/Qwen"].path).logits == 151936


def test_tekken_alone_is_a_tokenizer(models: Path) -> None:
    folder = homes.mlx_model(models, "a/Mistral")
    (folder / "tokenizer.json").rename(folder / "tekken.json")
    assert only(models).kind == "llm"


def test_a_name_with_control_characters_is_left_out_and_shown_escaped(models: Path) -> None:
    homes.mlx_model(models, "a/b\x1b[31m\n")
    (models / "a" / os.fsdecode(b"\xff\xfe")).mkdir()
    found = index(models)
    assert found.models == ()
    assert len(found.problems) == 2
    assert all(problem.isprintable() for problem in found.problems)


@pytest.mark.parametrize(
    ("file", "file_type", "quantization"),
    [
        ("a.gguf", 0, "F32"),
        ("a.gguf", 15, "Q4_K_M"),
        ("a.gguf", 99, None),
        ("a-Q8_0.gguf", 0, "Q8_0"),
    ],
)
def test_a_gguf_files_quantization_is_in_its_name_or_its_header(
    models: Path, file: str, file_type: int, quantization: str | None
) -> None:
    homes.gguf_model(models, f"someone/a-GGUF/{file}", file_type=file_type)
    assert only(models).quantization == quantization


def test_downloads_folder_says_where_models_are(tmp_path: Path) -> None:
    assert index_of.models_dir(tmp_path, {"downloadsFolder": "/elsewhere"}) == Path("/elsewhere")
    for nothing in (
        {},
        {"downloadsFolder": ""},
        {"downloadsFolder": 7},
        {"downloadsFolder": "~nobody-of-that-name/models"},
        [],
        None,
        ABSENT,
    ):
        assert index_of.models_dir(tmp_path, nothing) == tmp_path / "models"  # type: ignore[arg-type]


# -- reading again ----------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The folders that were read anew."""
    read: list[str] = []
    true = index_of._read

    def told(path: str, *rest: object) -> object:
        read.append(Path(path).name)
        return true(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(index_of, "_read", told)
    return read


def test_what_did_not_change_is_not_read_again(home: Path, opened: list[str]) -> None:
    age(home / "models")
    first = index(home / "models")
    opened.clear()
    assert index(home / "models", first.listings) == first
    assert opened == []


def test_what_changed_is_read_again_and_nothing_else(home: Path, opened: list[str]) -> None:
    age(home / "models")
    known = index(home / "models").listings
    opened.clear()
    homes.write(home / "models" / homes.SEED_MAIN / "config.json", {"model_type": "changed"})
    found = index(home / "models", known).models
    assert opened == [Path(homes.SEED_MAIN).name]
    (main,) = (model for model in found if model.identifier == homes.SEED_MAIN)
    assert main.architecture == "changed"


def test_models_that_come_and_go_are_noticed(home: Path) -> None:
    age(home / "models")
    before = index(home / "models")
    homes.mlx_model(home / "models", "new/model")
    more = index(home / "models", before.listings)
    assert len(more.models) == len(before.models) + 1
    for path in sorted((home / "models/new").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert index(home / "models", more.listings).models == before.models


def test_a_file_written_a_moment_ago_is_not_trusted_to_stay(models: Path) -> None:
    folder = homes.mlx_model(models, "a/b", model_type="aaaa")
    known = index(models).listings
    facts = (folder / "config.json").stat()
    content = (folder / "config.json").read_text().replace("aaaa", "bbbb")
    (folder / "config.json").write_text(content)
    os.utime(folder / "config.json", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert index(models, known).models[0].architecture == "bbbb"


def test_listings_of_a_folder_whose_path_is_not_utf_8_are_not_stored_and_nothing_fails(
    tmp_path: Path,
) -> None:
    models = tmp_path / os.fsdecode(b"caf\xe9")
    models.mkdir()
    store(tmp_path / "kept.json", index(models).listings)
    assert stored(tmp_path / "kept.json") == {}


def test_the_cache_survives_a_restart(home: Path, tmp_path: Path, opened: list[str]) -> None:
    age(home / "models")
    kept = tmp_path / "state" / "models.json"
    first = index(home / "models")
    store(kept, first.listings)
    assert kept.stat().st_mode & 0o077 == 0
    opened.clear()
    assert index(home / "models", stored(kept)) == first
    assert opened == []
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"version": "0", "folders": {}}', pytest.param(b"[" * 50_000, id="deep")],
)
def test_a_cache_that_is_no_use_is_as_good_as_none(
    home: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "models.json").write_bytes(content)
    known = stored(tmp_path / "models.json")
    assert len(index(home / "models", known).models) == 5


def test_a_thousand_models_are_indexed_quickly_and_again_at_once(
    models: Path, tmp_path: Path, figures: Figures
) -> None:
    template = homes.mlx_model(tmp_path, "template")
    files = {path.name: path.read_bytes() for path in template.iterdir()}
    for n in range(1000):
        folder = models / f"publisher-{n % 25}" / f"Model-{n}-4bit"
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    age(models)
    cold, found = _timed(lambda: index(models))
    known = found.listings
    store(tmp_path / "kept.json", known)
    assert len(found.models) == 1000
    warm, _ = min((_timed(lambda: index(models, known)) for _ in range(3)), key=lambda t: t[0])
    restart, again = min(
        (_timed(lambda: index(models, stored(tmp_path / "kept.json"))) for _ in range(3)),
        key=lambda t: t[0],
    )
    assert again == found
    figures(cold_ms=cold * 1000, warm_ms=warm * 1000, restart_ms=restart * 1000)
    assert warm < cold / 2
    assert restart < cold / 1.5


def test_more_models_than_memory_is_meant_for_are_left_out_by_name(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        homes.gguf_model(models, f"a/repo-{number}/model.gguf")
    monkeypatch.setattr(index_of, "_MAX_MODELS", 5)
    found = index(models)
    assert [model.repo for model in found.models] == [f"repo-{number}" for number in range(5)]
    assert found.problems == (
        f"{models} has more than 5 models; those from {models}/a/repo-5 on, by name, are left out",
    )
    assert index(models, found.listings) == found
    (models / "a" / "a\nb").mkdir()
    first, other = index(models).problems
    assert ("more than 5 models" in first, "unprintable" in other) == (True, True)


def test_a_hundred_thousand_stray_files_cost_nothing_the_second_time(
    models: Path, figures: Figures
) -> None:
    homes.mlx_model(models, "a/b")
    stray = models / "a" / "stray"
    stray.mkdir()
    handle = os.open(stray, os.O_RDONLY)
    for n in range(100_000):
        os.close(os.open(f"f{n}", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    age(models)
    cold, found = _timed(lambda: index(models))
    warm, _ = _timed(lambda: index(models, found.listings))
    assert len(found.models) == 1
    figures(cold_ms=cold * 1000, warm_ms=warm * 1000)
    assert cold < 5
    assert warm < 0.05


def _timed(work: object) -> tuple[float, index_of.ModelIndex]:
    started = time.process_time()
    made = work()  # type: ignore[operator]
    return time.process_time() - started, made
