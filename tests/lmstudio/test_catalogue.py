from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.lmstudio import catalogue, model_defaults, models, names
from specd.lmstudio.model import Model
from tests.lmstudio import homes, shapes

GEMMA = "lmstudio-community/gemma-4-31B-it-QAT-GGUF/gemma-4-31B-it-QAT-Q4_0.gguf"
E2B = "lmstudio-community/gemma-4-E2B-it-GGUF/gemma-4-E2B-it-Q4_K_M.gguf"
CODER = "lmstudio-community/Qwen2.5-Coder-14B-Instruct-GGUF/Qwen2.5-Coder-14B-Instruct-{}.gguf"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shapes.home(tmp_path)
    for identifier in (GEMMA, E2B, CODER.format("Q4_K_M"), CODER.format("Q8_0")):
        homes.gguf_model(tmp_path / "models", identifier)
    homes.mlx_model(tmp_path / "models", "lmstudio-community/Qwen3-8B-MLX-4bit")
    return tmp_path


def installed(home: Path) -> tuple[Model, ...]:
    return catalogue.named(home, models.index(home / "models").models)


@pytest.mark.parametrize(
    ("name", "identifier", "defaults"),
    [
        ("google/gemma-4-31b-qat", GEMMA, "google/gemma-4-31b-qat"),
        ("gemma-4-31b-qat", GEMMA, "google/gemma-4-31b-qat"),
        ("google/gemma-4-31b-qat@q4_0", GEMMA, "google/gemma-4-31b-qat"),
        (f"google/gemma-4-31b-qat@{GEMMA}", GEMMA, "google/gemma-4-31b-qat"),
        (GEMMA, GEMMA, "google/gemma-4-31b-qat"),
        ("qwen/qwen2.5-coder-14b@q8_0", CODER.format("Q8_0"), "qwen/qwen2.5-coder-14b"),
        ("qwen2.5-coder-14b@q4_k_m", CODER.format("Q4_K_M"), "qwen/qwen2.5-coder-14b"),
        ("qwen/qwen3-8b", "lmstudio-community/Qwen3-8B-MLX-4bit", "qwen/qwen3-8b"),
        ("gemma-4-e2b", E2B, E2B),
    ],
)
@pytest.mark.parametrize("index", ["whole", "missing", "damaged"])
def test_a_catalogue_models_name_leads_to_its_file_and_to_its_own_defaults(
    home: Path, name: str, identifier: str, defaults: str, index: str
) -> None:
    path = catalogue.index_paths(home)[0]
    if index != "whole":
        coder = home / "hub" / "models" / "qwen" / "qwen2.5-coder-14b"
        repo, _, _ = CODER.rpartition("/")
        homes.write(
            coder / "manifest.json", {"dependencies": [{"type": "model", "modelKeys": [repo.lower()]}]}
        )  # fmt: skip
    if index == "missing":
        path.unlink()
    elif index == "damaged":
        path.write_bytes(path.read_bytes()[:700])
    found = names.resolve(name, installed(home))
    assert (found.identifier, found.defaults) == (identifier, defaults)


def test_variants_that_share_one_file_need_no_telling_apart(home: Path) -> None:
    here = installed(home)
    coder = [each for each in here if each.defaults == "qwen/qwen2.5-coder-14b"]
    small, large = (replace(m, size_bytes=size) for m, size in zip(coder, (8, 15), strict=True))
    found = names.resolve("qwen/qwen2.5-coder-14b", (large, small))
    assert (found.identifier, found.defaults) == (small.identifier, "qwen/qwen2.5-coder-14b")
    assert names.lookup("qwen2.5-coder-14b", (large, small)) == found
    assert names.resolve("qwen/qwen2.5-coder-14b@q8_0", here).quantization == "Q8_0"


def test_variants_of_two_formats_are_asked_about(home: Path) -> None:
    here = installed(home)
    one, other = (each for each in here if each.defaults == "qwen/qwen2.5-coder-14b")
    with pytest.raises(names.Ambiguous) as caught:
        names.resolve("qwen/qwen2.5-coder-14b", (one, replace(other, format="mlx")))
    assert len(caught.value.candidates) == 2


def test_the_variant_that_the_index_selects_is_meant_without_one(home: Path) -> None:
    index = shapes.value("0.4/model-index-cache.json")
    index["models"].append(
        {
            "indexedModelIdentifier": "qwen/qwen2.5-coder-14b",
            "virtual": {"concreteModelIndexedModelIdentifier": CODER.format("Q8_0")},
        }
    )
    homes.write(catalogue.index_paths(home)[0], index)
    found = names.resolve("qwen/qwen2.5-coder-14b", installed(home))
    assert found.identifier == CODER.format("Q8_0")


def test_model_yaml_says_the_same_where_there_is_no_manifest(home: Path) -> None:
    (home / "hub/models/google/gemma-4-31b-qat/manifest.json").unlink()
    catalogue.index_paths(home)[0].unlink()
    assert names.resolve("google/gemma-4-31b-qat", installed(home)).identifier == GEMMA


def test_a_catalogue_model_may_stand_for_another_one(home: Path) -> None:
    mine = home / "hub" / "models" / "me" / "my-gemma"
    mine.mkdir(parents=True)
    (mine / "model.yaml").write_text("model: me/my-gemma\nbase: google/gemma-4-31b-qat\n")
    circle = home / "hub" / "models" / "me" / "circle"
    circle.mkdir()
    (circle / "model.yaml").write_text("model: me/circle\nbase: me/circle\n")
    assert_each_has_its_own_file(home)
    catalogue.index_paths(home)[0].unlink()
    assert_each_has_its_own_file(home)


def assert_each_has_its_own_file(home: Path) -> None:
    here = installed(home)
    for name in ("google/gemma-4-31b-qat", "me/my-gemma", "me/my-gemma@q4_0", "my-gemma:2"):
        found = names.resolve(name, here)
        own = "me/my-gemma" if "my-gemma" in name else name
        assert (found.identifier, found.defaults) == (GEMMA, own)
        assert names.served_as(found, ["google/gemma-4-31b-qat", "me/my-gemma"], here) == own
    assert names.resolve(GEMMA, here).defaults == "google/gemma-4-31b-qat"


@pytest.mark.parametrize("backwards", [False, True])
def test_two_catalogue_models_in_the_index_may_mean_one_file(home: Path, backwards: bool) -> None:
    index = shapes.value("0.4/model-index-cache.json")
    chain = ["a/coder", "qwen/qwen2.5-coder-14b", CODER.format("Q8_0")]
    index["models"].append(
        {
            "indexedModelIdentifier": f"a/coder@{chain[-1]}",
            "defaultIdentifier": "a/coder@q8_0",
            "virtual": {"baseChain": chain, "concreteModelIndexedModelIdentifier": chain[-1]},
        }
    )
    if backwards:
        index["models"].reverse()
    homes.write(catalogue.index_paths(home)[0], index)
    here = installed(home)
    for name in ("a/coder", "a/coder@q8_0", "coder@q8_0"):
        assert names.resolve(name, here).defaults == "a/coder"
    for name in ("qwen/qwen2.5-coder-14b@q8_0", CODER.format("Q8_0")):
        assert names.resolve(name, here).defaults == "qwen/qwen2.5-coder-14b"


def test_bionics_index_names_models_as_well(home: Path) -> None:
    first, second = catalogue.index_paths(home)
    second.parent.mkdir(parents=True, exist_ok=True)
    first.rename(second)
    found = names.resolve("qwen/qwen2.5-coder-14b@q8_0", installed(home))
    assert found.identifier == CODER.format("Q8_0")


def test_a_server_key_of_the_catalogue_is_found_for_its_model(home: Path) -> None:
    here = installed(home)
    q8 = names.resolve("qwen/qwen2.5-coder-14b@q8_0", here)
    assert names.served_as(q8, ["qwen3-8b", "qwen/qwen2.5-coder-14b"], here) == (
        "qwen/qwen2.5-coder-14b"
    )


@pytest.mark.parametrize("name", ["../../settings", "a/..", "/a/b", "a/b/c", ".a/b", "a"])
def test_a_name_that_would_lead_elsewhere_is_none(home: Path, name: str) -> None:
    homes.write(
        catalogue.index_paths(home)[0],
        {"models": [{"indexedModelIdentifier": f"{name}@q", "virtual": {"baseChain": [name, GEMMA]}}]},
    )  # fmt: skip
    for each in installed(home):
        assert ".." not in each.defaults
        assert each.catalogue != name


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "base: [", "base: {a: 1}", "&a [*a]", "base: &a [*a, *a]", "- " * 5000, "\0"],
)
def test_odd_hub_files_say_nothing(home: Path, content: str) -> None:
    catalogue.index_paths(home)[0].unlink()
    for folder in (home / "hub/models/google/gemma-4-31b-qat", home / "hub/models/qwen/qwen3-8b"):
        (folder / "model.yaml").write_text(content)
        (folder / "manifest.json").write_text(content)
    assert all(not each.catalogue for each in installed(home))


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["models", "virtual", "baseChain", "indexedModelIdentifier"]), inner
        )
    ),
    max_leaves=12,
)


@given(ANY)
def test_any_index_is_read_without_a_crash(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    home = tmp_path_factory.getbasetemp() / "any-index"
    homes.write(catalogue.index_paths(home)[0], value)
    assert catalogue.named(home, ()) == ()
    assert json.loads(catalogue.index_paths(home)[0].read_text()) == value


def test_what_lm_studio_takes_for_a_drafter_is_no_draft_model(home: Path) -> None:
    identifier = "someone/Qwen3.8-27B-DFlash2-GGUF/Qwen3.8-27B-DFlash2-Q4_K_M.gguf"
    homes.gguf_model(home / "models", identifier, architecture="qwen35")
    (found,) = (each for each in installed(home) if each.identifier == identifier)
    assert (found.kind, found.drafter, found.drafts) == ("drafter", "dflash", False)


def test_the_draft_of_a_catalogue_model_stands_in_the_file_of_its_name(home: Path) -> None:
    main = names.resolve("google/gemma-4-31b-qat", installed(home))
    expected = homes.defaults_path(home, "google/gemma-4-31b-qat")
    assert model_defaults.config_path(home, main) == expected
