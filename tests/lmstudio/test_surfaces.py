from __future__ import annotations

from pathlib import Path

from specd import config
from specd.files import jsonedit
from specd.files.pointer import ABSENT, Absent, Json
from specd.lmstudio.home import lm_studio
from specd.lmstudio.models import index
from specd.lmstudio.surface import Desired, DesiredDraft
from specd.lmstudio.surfaces import SURFACES
from tests.lmstudio import homes


def content(path: Path) -> Json | Absent:
    return jsonedit.parse(path.read_bytes()) if path.exists() else ABSENT


def test_every_surface_says_what_it_wants_under_its_own_name(home: Path) -> None:
    installed = {model.identifier: model for model in index(home / "models").models}
    pair = DesiredDraft(installed[homes.SEED_MAIN], installed[homes.SEED_DRAFT], 4, why="it drafts")
    wanted = Desired(home, config.Speculation(), (pair,), (lm_studio(home),))
    targets = [(surface, target) for surface in SURFACES for target in surface.targets(wanted)]
    assert len({surface.NAME for surface in SURFACES}) == len(SURFACES)
    assert {target.path for _, target in targets} == {
        home / "settings.json",
        homes.defaults_path(home, homes.SEED_MAIN),
    }
    for surface, target in targets:
        assert target.surface == surface.NAME
        desired_values = target.desired_values(content(target.path), {})
        assert desired_values
        assert all(wish.why for wish in desired_values)


def test_what_was_applied_is_not_wished_for_differently(home: Path) -> None:
    installed = {model.identifier: model for model in index(home / "models").models}
    drafts = tuple(
        DesiredDraft(installed[main], draft, 3)
        for main, draft in (
            (homes.SEED_MAIN, installed[homes.SEED_DRAFT]),
            (homes.SEED_OTHERS[1], installed[homes.SEED_DRAFT]),
            (homes.SEED_OTHERS[0], None),
        )
    )
    wanted = Desired(home, config.Speculation(ui_level=2), drafts, (lm_studio(home),))
    for _ in range(2):
        before = {path: path.read_bytes() for path in home.rglob("*.json")}
        for surface in SURFACES:
            for target in surface.targets(wanted):
                desired_values = target.desired_values(content(target.path), {})
                edits = [wish.edit for wish in desired_values]
                if target.path.exists():
                    target.path.write_bytes(jsonedit.edit(target.path.read_bytes(), edits))
                elif any(edit.value is not ABSENT for edit in edits):
                    target.path.parent.mkdir(parents=True, exist_ok=True)
                    kept = [edit for edit in edits if edit.value is not ABSENT]
                    target.path.write_bytes(jsonedit.fresh(kept))
    assert {path: path.read_bytes() for path in home.rglob("*.json")} == before
    assert not homes.defaults_path(home, homes.SEED_OTHERS[0]).exists()
