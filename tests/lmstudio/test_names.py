from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from specd.lmstudio import names
from specd.lmstudio.model import Model
from tests.conftest import Figures
from tests.lmstudio import homes


def model(identifier: str, quantization: str | None = None, kind: str = "llm") -> Model:
    parts = identifier.split("/")
    gguf = identifier.endswith(".gguf")
    repo = parts[1] if len(parts) > 1 else parts[0]
    return Model(
        key=repo.lower(),
        identifier=identifier,
        publisher=parts[0] if len(parts) > 1 else "",
        repo=repo,
        path=Path("/models") / identifier,
        format="gguf" if gguf else "mlx",
        kind=kind,  # type: ignore[arg-type]
        architecture="qwen3",
        vocab_size=151936,
        quantization=quantization,
        size_bytes=1,
    )


SEED = (
    model(homes.SEED_MAIN, "4bit"),
    model(homes.SEED_DRAFT, "4bit"),
    *(model(identifier, "4bit") for identifier in homes.SEED_OTHERS),
)
MANY = (
    *SEED,
    model("mlx-community/Llama-3.2-1B-Instruct-4bit", "4bit"),
    model("mlx-community/Llama-3.2-1B-Instruct-8bit", "8bit"),
    model("mlx-community/Llama-3.2-3B-Instruct-bf16", "bf16"),
    model("lmstudio-community/Qwen3-14B-MLX-4bit", "4bit"),
    model("lmstudio-community/gemma-3-27b-it-qat-4bit-dwq", "4bit"),
    model("bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf", "Q4_K_M"),
    model("bartowski/Phi-4-GGUF/phi-4-Q8_0.gguf", "Q8_0"),
    model("someone/lone-model.gguf", None),
)


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("josiefied-qwen3-8b-abliterated-v1", homes.SEED_MAIN),
        ("Josiefied-Qwen3-8B-abliterated-v1-4bit", homes.SEED_MAIN),
        ("josiefied-qwen2.5-0.5b-abliterated", homes.SEED_DRAFT),
        ("mlx-community/josiefied-qwen2.5-0.5b-abliterated", homes.SEED_DRAFT),
        ("qwen3-4b", "mlx-community/Qwen3-4B-4bit"),
        ("  QWEN3-4B-4BIT  ", "mlx-community/Qwen3-4B-4bit"),
        ("qwen3-4b@4bit", "mlx-community/Qwen3-4B-4bit"),
        ("8b-abliterated-v1", homes.SEED_MAIN),
        ("0.5b-abliterated", homes.SEED_DRAFT),
        ("llama-3.2-1b-instruct-8bit", "mlx-community/Llama-3.2-1B-Instruct-8bit"),
        ("llama-3.2-1b-instruct-8-bit", "mlx-community/Llama-3.2-1B-Instruct-8bit"),
        ("llama-3.2-3b-instruct", "mlx-community/Llama-3.2-3B-Instruct-bf16"),
        ("mlx-community/llama-3.2-3b-instruct", "mlx-community/Llama-3.2-3B-Instruct-bf16"),
        ("qwen3-14b", "lmstudio-community/Qwen3-14B-MLX-4bit"),
        ("qwen3-14b-mlx", "lmstudio-community/Qwen3-14B-MLX-4bit"),
        ("Qwen3-14B-4bit", "lmstudio-community/Qwen3-14B-MLX-4bit"),
        ("gemma-3-27b-it-qat", "lmstudio-community/gemma-3-27b-it-qat-4bit-dwq"),
        ("phi-4@q4_k_m", "bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf"),
        ("phi-4-q8_0", "bartowski/Phi-4-GGUF/phi-4-Q8_0.gguf"),
        ("phi-4-Q8_0.gguf", "bartowski/Phi-4-GGUF/phi-4-Q8_0.gguf"),
        ("bartowski/phi-4-gguf/phi-4-q8_0.gguf", "bartowski/Phi-4-GGUF/phi-4-Q8_0.gguf"),
        ("lone-model", "someone/lone-model.gguf"),
        ("josiefied-qwen3-8b", homes.SEED_MAIN),
        ("qwen3-8b", homes.SEED_MAIN),
        ("gemma", "lmstudio-community/gemma-3-27b-it-qat-4bit-dwq"),
        ("gem", "lmstudio-community/gemma-3-27b-it-qat-4bit-dwq"),
        ("llama-3.2-1b-8bit", "mlx-community/Llama-3.2-1B-Instruct-8bit"),
        (f"/models/{homes.SEED_MAIN}", homes.SEED_MAIN),
    ],
)
def test_a_name_as_people_write_it_leads_to_its_model(name: str, identifier: str) -> None:
    assert names.resolve(name, MANY).identifier == identifier


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        (
            "llama-3.2-1b-instruct",
            {
                "mlx-community/Llama-3.2-1B-Instruct-4bit",
                "mlx-community/Llama-3.2-1B-Instruct-8bit",
            },
        ),
        (
            "phi-4",
            {"bartowski/Phi-4-GGUF/phi-4-Q4_K_M.gguf", "bartowski/Phi-4-GGUF/phi-4-Q8_0.gguf"},
        ),
        ("abliterated", {homes.SEED_DRAFT, homes.SEED_OTHERS[0]}),
    ],
)
def test_a_name_that_fits_several_lists_them_all(name: str, candidates: set[str]) -> None:
    with pytest.raises(names.Ambiguous) as caught:
        names.resolve(name, MANY)
    assert set(caught.value.candidates) == candidates
    for identifier in candidates:
        assert identifier in str(caught.value)


DEVSTRAL = tuple(
    replace(
        model(f"mistralai/Devstral-2-GGUF/Devstral-2-{each}.gguf", each),
        key=f"devstral-2@{each.lower()}",
    )
    for each in ("Q4_K_M", "Q8_0")
)
EIGHT = tuple(model(f"qwen/Qwen3.8-8B-{each}bit", "4bit") for each in (4, 8))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("devstral-2-q8", DEVSTRAL[1]),
        ("devstral-2@q8", DEVSTRAL[1]),
        ("Devstral-2-Q4_K", DEVSTRAL[0]),
        ("2-q4", DEVSTRAL[0]),
        ("qwen3.8-8b-8", EIGHT[1]),
        ("8b-4bit", EIGHT[0]),
        ("8b-4", EIGHT[0]),
    ],
)
def test_a_part_may_end_within_the_quantization(name: str, found: Model) -> None:
    assert names.resolve(name, (*DEVSTRAL, *EIGHT)) == found


@pytest.mark.parametrize("name", ["qwen3-4b-8bit", "qwen3-4b@q4_k_m", "qwen3-4b-gguf"])
def test_a_quantization_or_format_that_is_written_must_be_the_models_own(name: str) -> None:
    with pytest.raises(names.NoSuchModel) as caught:
        names.resolve(name, MANY)
    assert "mlx-community/Qwen3-4B-4bit" in caught.value.candidates


@pytest.mark.parametrize("name", ["", "/", "-", "4bit", "gguf", "n/a/n/a", "..", "*"])
def test_a_name_that_says_nothing_fits_nothing(name: str) -> None:
    with pytest.raises(names.NameProblem):
        names.resolve(name, MANY)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("qwen3-4n", "mlx-community/Qwen3-4B-4bit"),
        ("quen3-14b", "lmstudio-community/Qwen3-14B-MLX-4bit"),
        ("josiefid-qwen3-8b-abliterated", homes.SEED_MAIN),
        ("lama-3.2-3b-instruct", "mlx-community/Llama-3.2-3B-Instruct-bf16"),
        ("mlx-community/Qwen3-4B-4bitt", "mlx-community/Qwen3-4B-4bit"),
    ],
)
def test_a_near_miss_lists_at_most_three_the_nearest_first(name: str, nearest: str) -> None:
    with pytest.raises(names.NoSuchModel) as caught:
        names.resolve(name, MANY)
    assert caught.value.candidates[0] == nearest
    assert len(caught.value.candidates) <= 3


def test_a_part_may_begin_at_a_words_number_and_leaves_out_no_word() -> None:
    coder = model("a/Qwen2.5-Coder-3B-4bit")
    for part in ("2.5-coder", "2.5-coder-3", "5-coder-3b-4bit"):
        assert names.resolve(part, (coder, model("a/Qwen2.5-7B-4bit"))) == coder
    with pytest.raises(names.NoSuchModel) as caught:  # which may be another model's whole name
        names.resolve("2.5-3b", (coder,))
    assert caught.value.candidates == (coder.identifier,)


def test_a_number_is_no_part_of_a_longer_one() -> None:
    library = (model("a/Qwen3-80B-4bit"), model("a/Qwen3-14B-4bit"))
    for name in ("qwen3-8", "qwen3-4b", "qwen3-8b", "0b", "en3-14b"):
        with pytest.raises(names.NoSuchModel):
            names.resolve(name, library)


def test_many_names_are_looked_up_among_many_models_in_milliseconds(figures: Figures) -> None:
    library = tuple(
        model(f"maker-{n % 40}/Family-{n % 7}-{n % 5 + 1}B-it-v{n}-4bit", "4bit")
        for n in range(1500)
    )
    unknown = [f"maker/Family-{n % 9}-nothing-{n}x" for n in range(500)]

    def look_up() -> None:
        for name in unknown:
            with pytest.raises(names.NoSuchModel):
                names.resolve(name, library)

    keys = [each.key for each in library]
    times = []
    for work in (look_up, look_up, lambda: names.served_as(library[-1], keys, library)):
        started = time.process_time()
        work()
        times.append((time.process_time() - started) * 1000)
    figures(first_ms=times[0], again_ms=times[1], served_as_ms=times[2])
    assert times[0] < 1000
    assert times[1] < 100
    assert times[2] < 100


def test_with_nothing_installed_the_message_says_so() -> None:
    with pytest.raises(names.NoSuchModel, match="none is installed"):
        names.resolve("qwen3", ())


def test_a_half_downloaded_model_does_not_stand_in_the_way_of_a_whole_one() -> None:
    broken = replace(model("other/Qwen3-4B-8bit", "8bit"), kind="incomplete", problem="x")
    assert names.resolve("qwen3-4b", (*SEED, broken)).identifier == "mlx-community/Qwen3-4B-4bit"
    assert names.resolve("qwen3-4b-8bit", (*SEED, broken)) == broken


def test_control_characters_in_a_name_are_shown_escaped() -> None:
    with pytest.raises(names.NoSuchModel) as caught:
        names.resolve("\x1b[31mred", SEED)
    assert "\x1b" not in str(caught.value)


def test_a_servers_key_is_found_for_a_model() -> None:
    keys = ["josiefied-qwen3-8b-abliterated-v1", "qwen3-4b", "text-embedding-nomic"]
    assert names.served_as(SEED[0], keys, MANY) == keys[0]
    assert names.served_as(SEED[1], keys, MANY) is None


WORDS = st.text("abcxyz019", min_size=1, max_size=6)
REPOS = st.lists(WORDS, min_size=1, max_size=4).map("-".join)
SUFFIXES = st.sampled_from(
    ["", "-4bit", "-8bit", "-bf16", "-fp16", "-mlx", "-MLX-4bit", "-4bit-dwq", "-mxfp4", "-MLX"]
)


@st.composite
def libraries(draw: st.DrawFn) -> tuple[Model, ...]:
    identifiers = draw(
        st.lists(
            st.tuples(WORDS, REPOS, SUFFIXES).map(lambda each: f"{each[0]}/{each[1]}{each[2]}"),
            min_size=1,
            max_size=8,
            unique_by=str.casefold,
        )
    )
    return tuple(model(identifier) for identifier in identifiers)


@given(libraries(), st.data())
def test_an_identifier_always_leads_to_its_model_in_any_case(
    library: tuple[Model, ...], data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from(library))
    change = data.draw(st.sampled_from([str, str.upper, str.lower, str.swapcase]))
    assert names.resolve(change(wanted.identifier), library) == wanted


@given(libraries(), st.text(max_size=20))
def test_any_name_leads_to_one_model_or_to_candidates_that_exist(
    library: tuple[Model, ...], name: str
) -> None:
    identifiers = {each.identifier for each in library}
    try:
        outcome: Model | names.NameProblem = names.resolve(name, library)
    except names.NameProblem as problem:
        outcome = problem
    if isinstance(outcome, Model):
        assert outcome in library
    else:
        assert set(outcome.candidates) <= identifiers
        assert str(outcome).isprintable()


@given(libraries(), REPOS, WORDS)
def test_leaving_out_the_quantization_finds_the_only_model_of_that_name(
    library: tuple[Model, ...], repo: str, publisher: str
) -> None:
    assume(all(repo not in each.identifier.casefold() for each in library))
    wanted = model(f"{publisher}/{repo}-MLX-4bit", "4bit")
    for name in (repo, f"{repo}-4bit", f"{repo}-mlx", f"{repo}@4bit", f"{publisher}/{repo}"):
        assert names.resolve(name, (*library, wanted)) == wanted


@given(libraries(), st.data())
def test_the_order_of_models_does_not_matter(
    library: tuple[Model, ...], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(library)).repo.rpartition("-")[2]
    shuffled = data.draw(st.permutations(library))

    def outcome(models: tuple[Model, ...]) -> object:
        try:
            return names.resolve(name, models).identifier
        except names.NameProblem as problem:
            return type(problem), set(problem.candidates)

    assert outcome(library) == outcome(tuple(shuffled))
