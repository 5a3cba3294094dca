"""What the user set in LM Studio to draft for a main, apart from specd's own values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from specd.files.pointer import ABSENT
from specd.lmstudio import model_defaults
from specd.lmstudio.home import App
from specd.lmstudio.model import Model
from specd.lmstudio.model_defaults import DraftDefaults
from specd.reconcile.journal import Journal
from specd.reconcile.observe import FileSeen, read_file

UNSEEN: Mapping[Path, FileSeen] = {}


def drafting(
    main: Model, apps: Iterable[App], journal: Journal, seen: Mapping[Path, FileSeen] = UNSEEN
) -> DraftDefaults:
    """The user's values in the first app that drafts for the main.

    Files that are not in ``seen`` are read.
    """
    found: list[DraftDefaults] = []
    for app in apps:
        path = model_defaults.file_in(app, main)
        file = seen.get(path) or read_file(path)
        document = ABSENT if file.marked else file.document  # LM Studio ignores such a file
        before = journal.before_standing(path, document)
        found.append(replace(model_defaults.read(document, before), app=app.name))
    first = next((each for each in found if each.drafts), (*found, DraftDefaults())[0])
    also = "".join(
        f"; {each.app} drafts with {each.drafts_with}"
        for each in found
        if each.drafts and each.drafts_with != first.drafts_with
    )
    return replace(first, also=also)
