"""One pass: what differs is written once, what cannot be is tried again, what fights is waited for."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from specd import config
from specd.files import swap
from specd.lmstudio import keys, model_defaults
from specd.lmstudio import settings as surface
from specd.lmstudio.home import bionic, lm_studio
from specd.reconcile.apply import PASSING, Applied
from specd.reconcile.contention import Patience
from specd.reconcile.desired import DesiredPair
from specd.reconcile.journal import FILE, Journal
from specd.reconcile.plan import Plan
from specd.reconcile.reconciler import RETRY_S, DesiredState, Reconciler
from specd.reconcile.restore import restore

from .pairs import MAIN, OTHER, SMALL

DRIFTED = '{"chat": {"visualizeSpeculativeDecoding": false}, "token": "secret"}'


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    (made / "settings.json").write_text(DRIFTED)
    return made


@pytest.fixture
def reconciler(tmp_path: Path, home: Path, clock: Clock) -> Reconciler:
    made = Reconciler(Journal(tmp_path / "journal"), by="test", clock=clock)
    made.set_desired(DesiredState(home, config.Speculation(), ()))
    return made


def test_the_first_pass_writes_and_the_second_has_nothing_to_do(reconciler: Reconciler, home: Path):
    (applied,) = reconciler.run(None).applied
    assert applied.journal_id == 1
    content = (home / "settings.json").read_bytes()
    assert json.loads(content)["chat"]["visualizeSpeculativeDecoding"] is True
    again = reconciler.run(None)
    assert again.applied == ()
    assert (home / "settings.json").read_bytes() == content


def test_a_pass_named_one_file_looks_at_no_other(reconciler: Reconciler, home: Path):
    reconciler.run(None)
    (home / "settings.json").write_text(DRIFTED)
    assert reconciler.run({home / "other.json"}).applied == ()
    assert len(reconciler.run({home / "settings.json"}).applied) == 1


def test_planning_writes_nothing(reconciler: Reconciler, home: Path):
    assert reconciler.plan().edits
    assert (home / "settings.json").read_text() == DRIFTED


def test_with_no_home_there_is_nothing_to_do(reconciler: Reconciler):
    reconciler.set_desired(None)
    assert reconciler.run(None).applied == ()
    assert reconciler.plan() == Plan()
    assert reconciler.apps == ()


def test_a_half_written_file_is_looked_at_again_soon(reconciler: Reconciler, home: Path):
    (home / "settings.json").write_text('{"chat": ')
    done = reconciler.run(None)
    assert done.again_in is not None
    assert list(reconciler.blocked) == [surface.path(home)]
    (home / "settings.json").write_text(DRIFTED)
    assert reconciler.run({home / "settings.json"}).applied
    assert not reconciler.blocked


def test_a_write_that_failed_is_tried_again_ever_more_slowly_until_it_succeeds(
    reconciler: Reconciler, home: Path, clock: Clock, monkeypatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    waits = []
    with monkeypatch.context() as fault:
        fault.setattr("specd.files.swap.os.write", full)
        for _ in range(3):
            done = reconciler.run(None)
            assert "space" in str(done.applied[0].problem)
            waits.append(done.again_in)
            clock.now += 100
    assert waits == pytest.approx([RETRY_S, 2 * RETRY_S, 4 * RETRY_S])
    assert (home / "settings.json").read_text() == DRIFTED
    assert reconciler.failed
    assert reconciler.run(set()).applied[0].problem is None
    assert not reconciler.failed
    assert not list(home.glob(".*"))


def test_a_lock_of_another_specd_is_a_failure_only_if_it_is_held_on(
    reconciler: Reconciler, home: Path, clock: Clock, tmp_path: Path
):
    reconciler.journal.lock_s = 0.0
    settings = home / "settings.json"
    with (tmp_path / "journal" / FILE).open("rb") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        said = []
        for _ in range(PASSING + 1):
            reconciler.run(None)
            said.append(reconciler.failed[settings].lasts)
            clock.now += 100
    assert said == [*[False] * PASSING, True]
    assert reconciler.run(set()).applied[0].problem is None
    assert not reconciler.failed


def test_a_file_that_is_undone_for_ever_is_left_alone_for_a_while_and_others_are_not_held_up(
    reconciler: Reconciler, home: Path, clock: Clock
):
    settings = home / "settings.json"
    writes = 0
    for _ in range(3_000):
        settings.write_text(DRIFTED)
        writes += len(reconciler.run({settings}).applied)
        clock.now += 0.01
        if reconciler.patience[settings].backing_off:
            break
    assert reconciler.patience[settings].backing_off
    settings.write_text(DRIFTED)
    assert reconciler.run({settings}).applied == ()
    assert settings in reconciler.pending
    assert reconciler.run({settings}, force=True).applied, "a person who asks need not wait"
    assert writes < 3_000


def test_what_the_user_took_back_stays_so_until_it_is_released(reconciler: Reconciler, home: Path):
    held = {(home / "settings.json", "chat.visualizeSpeculativeDecoding")}
    reconciler.journal.hand_over(held=held)
    reconciler.run(None)
    document = json.loads((home / "settings.json").read_bytes())
    assert document["chat"]["visualizeSpeculativeDecoding"] is False
    assert document["configPresetInclusiveness"]["speculativeDecoding"] is True
    reconciler.journal.hand_over(released=True)
    reconciler.run(None)
    document = json.loads((home / "settings.json").read_bytes())
    assert document["chat"]["visualizeSpeculativeDecoding"] is True


def test_what_the_user_takes_back_ends_a_fight_over_the_file(
    reconciler: Reconciler, home: Path, clock: Clock
):
    settings = home / "settings.json"
    while not reconciler.patience.get(settings, Patience()).contended:
        settings.write_text(DRIFTED)
        reconciler.run({settings})
        clock.now += 0.01
    undone = restore(reconciler.journal, None)
    assert undone.restored
    reconciler.run({settings})
    assert not reconciler.patience.get(settings, Patience()).contended
    assert reconciler.pending == ()


def test_a_draft_that_slows_down_is_taken_out_with_its_reason_in_the_journal(
    reconciler: Reconciler, home: Path
):
    def want(pair: DesiredPair) -> tuple[Applied, ...]:
        reconciler.set_desired(DesiredState(home, config.Speculation(), (pair,)))
        return reconciler.run(None).applied

    pair = DesiredPair(config.Pair(main=MAIN.key), "wanted", "", MAIN, SMALL, 4)
    want(pair)
    path = model_defaults.config_path(home, MAIN)
    assert model_defaults.read(json.loads(path.read_bytes())).draft_model == SMALL.identifier
    why = "taken out: the best draft was measured 0.80×"
    (applied,) = want(replace(pair, state="withdrawn", why=why))
    assert applied.journal_id is not None
    assert {why in change.why for change in applied.edit.changes} == {True}
    assert not path.exists()


@pytest.mark.parametrize("draft", ["auto", "qwen3-0.6b"])
@pytest.mark.parametrize("moment", ["before the pass looks", "before it writes"])
def test_a_draft_picked_in_lm_studio_at_the_last_moment_is_not_put_back(
    reconciler: Reconciler, home: Path, monkeypatch: pytest.MonkeyPatch, draft: str, moment: str
):
    path = model_defaults.config_path(home, MAIN)
    pair = DesiredPair(config.Pair(main=MAIN.key, draft=draft), "wanted", "", MAIN, SMALL)
    reconciler.set_desired(DesiredState(home, config.Speculation(), (pair,)))
    reconciler.run(None)
    specds = path.read_bytes()
    picked = specds.replace(SMALL.identifier.encode(), OTHER.identifier.encode())
    path.write_bytes(picked)
    if moment == "before the pass looks":
        done = reconciler.run({path})
        assert done.overtaken is (draft == "auto")
        assert path.read_bytes() == (picked if draft == "auto" else specds)
        # A choice that is not adopted stops one pass and not every one.
        assert not reconciler.run(None, force=True).overtaken
        assert path.read_bytes() == specds
        return
    path.write_bytes(specds.replace(b"0.6B", b"0.7B") if draft != "auto" else b"{}")
    began = swap.update

    def overtaken(*args: Any, **kwargs: Any) -> swap.Written | None:
        path.write_bytes(picked)
        return began(*args, **kwargs)

    monkeypatch.setattr(swap, "update", overtaken)
    (applied,) = reconciler.run({path}).applied
    assert (applied.journal_id, applied.problem, applied.conflict) == (None, None, True)
    assert path.read_bytes() == picked
    assert reconciler.pending == (path,)
    monkeypatch.undo()
    assert reconciler.run({path}, force=True).overtaken is (draft == "auto")


def test_a_file_with_a_byte_order_mark_is_ignored_by_the_app_that_reads_it(
    reconciler: Reconciler, home: Path
):
    apps = (lm_studio(home), bionic(home))
    pair = DesiredPair(config.Pair(main=MAIN.key, draft="small"), "wanted", "", MAIN, SMALL)
    reconciler.set_desired(DesiredState(home, config.Speculation(), (pair,), apps))
    for app in apps:
        path = model_defaults.file_in(app, MAIN)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\xef\xbb\xbf{}")
    reconciler.run(None)
    for app in apps:
        blocked = reconciler.blocked[model_defaults.file_in(app, MAIN)]
        assert f"and {app.name} ignores such a file" in blocked.why


@pytest.mark.parametrize("before", [None, 4, 1])
def test_with_the_draft_goes_what_was_set_for_its_sake(
    reconciler: Reconciler, home: Path, before: int | None
):
    path = model_defaults.config_path(home, MAIN)
    fields = [] if before is None else [{"key": keys.PARALLEL_SESSIONS, "value": before}]
    document = {"preset": "", "operation": {"fields": []}, "load": {"fields": fields}}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))

    def want(state: Literal["wanted", "withdrawn"]) -> int | None:
        pair = DesiredPair(config.Pair(main=MAIN.key), state, "", MAIN, SMALL, 4)
        reconciler.set_desired(DesiredState(home, config.Speculation(), (pair,)))
        assert reconciler.run(None).applied
        fields = json.loads(path.read_bytes())["load"]["fields"]
        return next(
            (each["value"] for each in fields if each["key"] == keys.PARALLEL_SESSIONS), None
        )

    assert want("wanted") == 1
    assert want("withdrawn") == before
    assert json.loads(path.read_bytes()) == document
    # Whoever sets it now means it.
    path.write_text(
        json.dumps({**document, "load": {"fields": [{"key": keys.PARALLEL_SESSIONS, "value": 1}]}})
    )
    assert not reconciler.run(None).applied


def test_a_gguf_main_with_prediction_heads_is_told_to_draft_with_them(
    reconciler: Reconciler, home: Path
):
    main = replace(MAIN, format="gguf", identifier="a/b-GGUF/b.gguf", mtp_heads=1)
    pair = DesiredPair(config.Pair(main=main.key), "wanted", "", main, None, 3, mtp=True)
    reconciler.set_desired(DesiredState(home, config.Speculation(), (pair,)))
    reconciler.run(None)
    held = model_defaults.read(json.loads(model_defaults.config_path(home, main).read_bytes()))
    assert (held.mtp, held.draft_model, held.draft_tokens) == (True, None, 3)


def test_the_settings_of_an_app_that_is_left_out_go_back(reconciler: Reconciler, home: Path):
    apps = (lm_studio(home), bionic(home))
    before: dict[Path, bytes] = {}
    for app in apps:
        app.settings.parent.mkdir(parents=True, exist_ok=True)
        app.settings.write_text('{"chat": {"visualizeSpeculativeDecoding": false}}')
        before[app.settings] = app.settings.read_bytes()
    for kept in (apps, apps[:1], apps[1:]):
        reconciler.set_desired(DesiredState(home, config.Speculation(), (), kept))
        reconciler.run(None)
        for app in apps:
            assert (app.settings.read_bytes() == before[app.settings]) == (app not in kept)


def test_what_no_pair_asks_for_any_more_goes_back(reconciler: Reconciler, home: Path):
    path = model_defaults.config_path(home, MAIN)
    pair = DesiredPair(config.Pair(main=MAIN.key), "wanted", "", MAIN, SMALL, 4)
    reconciler.set_desired(DesiredState(home, config.Speculation(), (pair,)))
    reconciler.run(None)
    assert path.exists()
    # One whose main is not there may be on a disk that is away: then everything stays.
    away = DesiredPair(config.Pair(main=MAIN.key), "missing", "its disk is away")
    reconciler.set_desired(DesiredState(home, config.Speculation(), (away,)))
    reconciler.run(None)
    assert path.exists()
    reconciler.set_desired(DesiredState(home, config.Speculation(), ()))
    reconciler.run(None)
    assert not path.exists()
