from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench.use import accepted_per_round, rounds_of
from specd.lmstudio.conversations import TokenRun


@given(st.lists(st.integers(0, 5), min_size=1), st.integers(1, 5))
def test_rounds_are_told_from_who_wrote_which_tokens(taken: list[int], cut: int) -> None:
    runs: list[TokenRun] = []
    for accepted in taken:
        for from_draft, tokens in ((True, accepted), (False, 1)):
            if tokens and runs and runs[-1].from_draft == from_draft:
                runs[-1] = TokenRun(from_draft, runs[-1].tokens + tokens)
            elif tokens:
                runs.append(TokenRun(from_draft, tokens))
    rounds = rounds_of(runs)
    if not any(taken):
        assert rounds == ()
        return
    assert rounds == tuple(taken.count(n) for n in range(max(taken) + 1))
    expected = sum(min(n, cut) for n in taken) / len(taken)
    found = accepted_per_round(rounds, cut)
    assert found is None if cut > max(taken) else found == pytest.approx(expected)


def test_a_run_longer_than_any_round_is_no_pattern() -> None:
    assert rounds_of([TokenRun(True, 200), TokenRun(False, 1)]) == ()
