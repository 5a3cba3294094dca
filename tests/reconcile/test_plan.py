"""The plan: the smallest edit from what is to what is wanted, worked out without a disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from specd import config
from specd.files import jsonedit
from specd.files.pointer import ABSENT
from specd.lmstudio.home import lm_studio
from specd.lmstudio.surface import Desired, DesiredDraft
from specd.lmstudio.surfaces import SURFACES
from specd.reconcile.observe import FileSeen
from specd.reconcile.plan import Plan, plan, unified_diff

from .pairs import MAIN, SMALL

HOME = Path("/home/anna/.lmstudio")
SETTINGS = HOME / "settings.json"
DEFAULTS = (
    HOME
    / ".internal"
    / "user-concrete-model-default-config"
    / "mlx-community"
    / "Qwen3-8B-4bit.json"
)
WANTED = Desired(HOME, config.Speculation(), (DesiredDraft(MAIN, SMALL, 5),), (lm_studio(HOME),))


def seen(path: Path, content: bytes | None) -> FileSeen:
    if content is None:
        return FileSeen(path, None, ABSENT)
    try:
        return FileSeen(path, content, jsonedit.parse(content))
    except jsonedit.NotUnderstood as error:
        return FileSeen(path, content, ABSENT, f"{path}: {error}", unsettled=True)


def made(
    settings: bytes | None, defaults: bytes | None = None, wanted: Desired = WANTED, **more: Any
) -> Plan:
    targets = [target for surface in SURFACES for target in surface.targets(wanted)]
    files = {SETTINGS: seen(SETTINGS, settings), DEFAULTS: seen(DEFAULTS, defaults)}
    return plan(targets, files, **more)


def after(planned: Plan, path: Path) -> Any:
    return next(json.loads(edit.after) for edit in planned.edits if edit.path == path)


def test_a_length_in_the_configuration_arrives_in_the_models_own_file():
    fields = after(made(b"{}"), DEFAULTS)["operation"]["fields"]
    assert {each["key"].rpartition(".")[2]: each["value"] for each in fields} == {
        "draftModel": SMALL.identifier,
        "numDraftTokensExact": 5,
    }


def test_a_file_that_holds_everything_is_left_alone():
    first = made(b"{}")
    contents = {edit.path: edit.after for edit in first.edits}
    assert made(contents[SETTINGS], contents[DEFAULTS]) == Plan()


def test_every_change_says_what_was_there_and_why_it_changes():
    (change,) = (
        each
        for edit in made(b'{"chat": {"visualizeSpeculativeDecoding": false}}').edits
        for each in edit.changes
        if each.key == "chat.visualizeSpeculativeDecoding"
    )
    assert (change.old, change.new) == (False, True)
    assert "visualize" in change.why


def test_a_broken_file_blocks_itself_alone():
    planned = made(b'{"chat": ', None)
    assert [each.path for each in planned.blocked] == [SETTINGS]
    assert planned.blocked[0].unsettled
    assert [edit.path for edit in planned.edits] == [DEFAULTS]


def test_a_list_where_the_app_keeps_an_object_is_not_understood_and_not_written():
    planned = made(b'{"chat": []}')
    assert SETTINGS in [each.path for each in planned.blocked]
    assert SETTINGS not in [edit.path for edit in planned.edits]
    assert "chat" in planned.blocked[0].why


def test_what_the_user_took_back_is_named_and_left_alone():
    held = frozenset({(SETTINGS, "chat.visualizeSpeculativeDecoding")})
    planned = made(b"{}", held=held)
    assert [change.key for _, change in planned.held] == ["chat.visualizeSpeculativeDecoding"]
    assert "chat" not in after(planned, SETTINGS)
    assert after(planned, SETTINGS)["configPresetInclusiveness"]["speculativeDecoding"] is True


def test_a_file_of_defaults_with_a_byte_order_mark_is_named_as_ignored():
    planned = made(b"{}", b"\xef\xbb\xbf{}")
    (blocked,) = planned.blocked
    assert blocked.path == DEFAULTS
    assert "LM Studio ignores" in blocked.why
    assert DEFAULTS not in [each.path for each in planned.edits]


def test_a_settings_file_the_app_has_not_made_yet_is_not_made_by_specd():
    planned = made(None)
    assert SETTINGS not in [edit.path for edit in planned.edits]
    assert SETTINGS in [each.path for each in planned.blocked]


def test_a_diff_shows_the_one_line_that_changes():
    content = b'{\n  "a": 1,\n  "speculativeDecoding": false\n}\n'
    quiet = Desired(
        HOME,
        config.Speculation(visualize=False, settings_key="speculativeDecoding"),
        apps=(lm_studio(HOME),),
    )
    (edit,) = plan(
        [t for s in SURFACES for t in s.targets(quiet)],
        {
            SETTINGS: seen(
                SETTINGS,
                content[:-3] + b',\n  "chat": {"visualizeSpeculativeDecoding": false}\n}\n',
            )
        },
    ).edits
    changed = [
        line
        for line in unified_diff(edit).splitlines()
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert changed == ['-  "speculativeDecoding": false,', '+  "speculativeDecoding": true,']


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
app_files = st.dictionaries(
    st.sampled_from(["chat", "configPresetInclusiveness", "x", "language", "ünicode"]),
    documents
    | st.fixed_dictionaries({"visualizeSpeculativeDecoding": scalars, "fontSize": scalars})
    | st.fixed_dictionaries({"speculativeDecoding": scalars}),
    max_size=5,
)


@given(app_files, st.sampled_from([None, 2, "\t"]))
def test_applying_a_plan_leaves_nothing_to_plan_and_nothing_foreign_changed(document, indent):
    content = json.dumps(document, indent=indent, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    planned = made(content)
    edits = [edit for edit in planned.edits if edit.path == SETTINGS]
    if not edits:
        assert SETTINGS in [each.path for each in planned.blocked] or (
            document["configPresetInclusiveness"]["speculativeDecoding"] is True
            and document["chat"]["visualizeSpeculativeDecoding"] is True
        )
        return
    (edit,) = edits
    again = made(edit.after)
    assert SETTINGS not in [each.path for each in again.edits]
    result = json.loads(edit.after)
    foreign = {
        key: value
        for key, value in document.items()
        if key not in ("chat", "configPresetInclusiveness")
    }
    assert {key: result[key] for key in foreign} == foreign
    if isinstance(document.get("chat"), dict):
        kept = {k: v for k, v in document["chat"].items() if k != "visualizeSpeculativeDecoding"}
        assert {key: result["chat"][key] for key in kept} == kept
