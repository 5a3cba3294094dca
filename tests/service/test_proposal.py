"""Which pairs a first specd.toml proposes."""

from __future__ import annotations

from dataclasses import replace

from specd.config import Pair
from specd.reconcile.desired import DesiredPair
from specd.service import proposal
from tests.reconcile.pairs import MAIN, OTHER, SMALL


def test_a_main_that_the_user_set_a_draft_for_comes_first() -> None:
    many = [replace(MAIN, key=f"m{n}", identifier=f"a/m{n}", repo=f"m{n}") for n in range(20)]
    models = [*many, SMALL]
    assert SMALL.key not in [each.main for each in proposal.candidates(models, ()).pair]
    assert proposal.candidates(models, ("m3",), [SMALL]).pair[:2] == (
        Pair(main=SMALL.key),
        Pair(main="m3"),
    )


def test_it_is_proposed_beside_what_is_loaded() -> None:
    def pair(main: str, state: str) -> DesiredPair:
        return DesiredPair(Pair(main=main), state, "", main=replace(MAIN, key=main), draft=OTHER)  # type: ignore[arg-type]

    found = [pair("a", "wanted"), pair("b", "adopted"), pair("c", "wanted"), pair("d", "refused")]
    assert [each.configured.main for each in proposal.propose(found, {"c", "d"})] == ["b", "c"]
    assert [each.configured.main for each in proposal.propose(found[:1], ())] == ["a"]
