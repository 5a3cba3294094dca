from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specd import config
from specd.files import jsonedit
from specd.files.pointer import ABSENT, Absent, Json
from specd.lmstudio import settings
from specd.lmstudio.home import lm_studio
from specd.lmstudio.surface import Desired, DesiredValue
from specd.reconcile.observe import FileSeen
from specd.reconcile.plan import plan
from tests.lmstudio import homes

FILE = Path("/home/settings.json")
PLAIN: dict[str, Json] = {"chat": {}, "userInterfaceComplexityLevel": 1}


def wished(current: Json, **speculation: Any) -> dict[str, Any]:
    speculation.setdefault("settings_key", "speculativeDecoding")
    made = settings.desired_values(config.Speculation(**speculation), current, {})
    return {
        wish.key: wish.edit.value
        for wish in made
        if not jsonedit.same(jsonedit.value_at(current, wish.edit.at), wish.edit.value)
    }


def refused(current: Json | Absent, **speculation: Any) -> str:
    speculation.setdefault("settings_key", "speculativeDecoding")
    own = lm_studio(FILE.parent)
    desired = Desired(FILE.parent, config.Speculation(**speculation), apps=(own,))
    (blocked,) = plan(settings.targets(desired), {FILE: FileSeen(FILE, b"", current)}).blocked
    return blocked.why


def test_the_switch_and_the_colours_are_wanted() -> None:
    assert wished(PLAIN) == {
        "speculativeDecoding": True,
        "chat.visualizeSpeculativeDecoding": True,
    }


def test_switched_off_the_switch_is_the_users_and_the_colours_stay_as_wanted() -> None:
    on: dict[str, Json] = {**PLAIN, "speculativeDecoding": True}
    assert wished(on, enabled=False) == {"chat.visualizeSpeculativeDecoding": True}


def test_by_default_it_is_the_one_that_published_settings_have() -> None:
    published = {"configPresetInclusiveness": {"speculativeDecoding": False}}
    made = settings.desired_values(config.Speculation(visualize=False), published, {})
    assert {wish.key: wish.edit.value for wish in made} == {
        "configPresetInclusiveness.speculativeDecoding": True,
        "chat.visualizeSpeculativeDecoding": False,
    }


def test_the_switch_may_stand_anywhere_or_nowhere() -> None:
    deep = wished(PLAIN, settings_key="configPresetInclusiveness.speculativeDecoding")
    assert deep["configPresetInclusiveness.speculativeDecoding"] is True
    assert "speculativeDecoding" not in wished(PLAIN, settings_key="")


@pytest.mark.parametrize(
    ("found", "asked", "wanted"),
    [(0, 2, 2), (1, 2, 2), (2, 2, None), (3, 2, None), (2.0, 2, None), ("1", 2, 2), (True, 2, 2)],
)
def test_the_ui_level_is_only_ever_raised(found: Json, asked: int, wanted: int | None) -> None:
    document = {"userInterfaceComplexityLevel": found}
    assert wished(document, ui_level=asked).get("userInterfaceComplexityLevel") == wanted


@pytest.mark.parametrize(
    ("found", "asked", "wanted"),
    [(False, 1, True), (None, 2, True), (True, 2, None), (False, 0, None), (False, "keep", None)],
)
@pytest.mark.parametrize("number", [0, 2])
def test_developer_mode_takes_the_place_of_the_level(
    found: Json, asked: Any, wanted: bool | None, number: int
) -> None:
    made = wished({"developerMode": found, "userInterfaceComplexityLevel": number}, ui_level=asked)
    assert made.get("developerMode") is wanted
    assert "userInterfaceComplexityLevel" not in made


def test_a_ui_level_nobody_asked_for_is_kept() -> None:
    assert "userInterfaceComplexityLevel" not in wished({}, ui_level="keep")
    assert wished({}, ui_level=2)["userInterfaceComplexityLevel"] == 2


@pytest.mark.parametrize("wrong", ["yes", 1, 0.5, None])
def test_a_scalar_of_the_wrong_type_is_replaced(wrong: Json) -> None:
    document: Json = {"chat": {"visualizeSpeculativeDecoding": wrong}, "speculativeDecoding": wrong}
    assert wished(document)["chat.visualizeSpeculativeDecoding"] is True


@pytest.mark.parametrize(
    ("document", "where", "found", "expected"),
    [
        ([], "it holds", "a list", "an object"),
        ("text", "it holds", "a string", "an object"),
        (None, "it holds", "null", "an object"),
        ({"chat": []}, "chat is", "a list", "an object"),
        ({"chat": "x"}, "chat is", "a string", "an object"),
        ({"chat": None}, "chat is", "null", "an object"),
        (
            {"chat": {"visualizeSpeculativeDecoding": {}}},
            "chat.visualizeSpeculativeDecoding is",
            "an object",
            "a single value",
        ),
        (
            {"speculativeDecoding": {"draft": "x"}},
            "speculativeDecoding is",
            "an object",
            "a single",
        ),
    ],
)
def test_a_container_where_it_does_not_belong_is_reported_and_left(
    document: Json, where: str, found: str, expected: str
) -> None:
    message = refused(document)
    assert "/home/settings.json" in message
    assert f"{where} {found}" in message
    assert f"LM Studio keeps {expected}" in message


def test_a_message_never_holds_a_value_that_may_be_secret() -> None:
    assert "hf_SECRET" not in refused({"chat": "hf_SECRET"})


def test_a_file_that_is_not_there_is_left_to_the_app() -> None:
    assert "does not exist" in refused(ABSENT)


def test_the_edits_change_three_values_and_not_a_byte_more(home: Path) -> None:
    path = settings.path(home)
    path.write_bytes(path.read_bytes().replace(b'"developerMode": true', b'"developerMode": false'))
    before = path.read_bytes()
    speculation = config.Speculation(ui_level=2)
    after = _edited(before, settings.desired_values(speculation, jsonedit.parse(before), {}))
    expected = homes.settings(home)
    expected["configPresetInclusiveness"]["speculativeDecoding"] = True
    expected["chat"]["visualizeSpeculativeDecoding"] = True
    expected["developerMode"] = True
    assert json.loads(after) == expected
    changed = [
        line
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        for line in {old, new}
        if old != new
    ]
    assert len(changed) == 6
    again = settings.desired_values(speculation, jsonedit.parse(after), {})
    assert _edited(after, again) == after


def _edited(content: bytes, desired_values: tuple[DesiredValue, ...]) -> bytes:
    return jsonedit.edit(content, [wish.edit for wish in desired_values])
