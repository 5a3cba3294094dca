"""Whether a draft ran: which witness is believed, and what is made of silence."""

from __future__ import annotations

from dataclasses import replace

from specd.bench.use import DraftRequests, Figures, Observed, Probe, use_of
from specd.config import Pair
from specd.lmstudio.answers import Instance, ServedModel
from specd.lmstudio.model import OWN_HEADS
from specd.lmstudio.model_defaults import DraftDefaults
from specd.reconcile import real_use
from specd.reconcile.desired import DesiredPair
from specd.reconcile.facts import DraftsSeen, ServerSeen

from .pairs import MAIN, OTHER, SMALL, model, verdict

INSTALLED = (MAIN, SMALL, OTHER)
PAIR = DesiredPair(
    Pair(main="qwen3-8b"), "wanted", "proven", main=MAIN, draft=SMALL, verdict=verdict()
)
OWN = replace(PAIR, draft=None, mtp=True)


def asked(last: float, *, ran: int = 4, answers: int = 5, main: str = MAIN.key) -> DraftRequests:
    return DraftRequests(main, SMALL.key, answers, ran, ran * 10, ran * 8, last)


def probed(at: float, drafted: int = 7) -> Probe:
    return Probe(MAIN.key, SMALL.key, at, 2, drafted, drafted, None if drafted else "dropped")


def proof(
    chats: DraftRequests | None = None,
    log: DraftRequests | None = None,
    probe: Probe | None = None,
    pairs: tuple[DesiredPair, ...] = (PAIR,),
) -> DraftsSeen | None:
    seen = Observed(asked=(chats,) if chats else ())
    known = real_use.uses(pairs, INSTALLED, seen, (probe,) if probe else (), (log,) if log else ())
    return next(iter(real_use.drafts_seen(pairs, known, INSTALLED, None, None)), None)


def test_nobody_saw_anything() -> None:
    assert proof() is None


def test_the_servers_log_is_a_witness() -> None:
    found = proof(log=asked(5.0))
    assert found == DraftsSeen(
        MAIN.key,
        SMALL.key,
        40,
        32,
        "4 of the last 5 answers with draft counts in LM Studio's server log",
    )


def test_answers_without_counts_after_those_with_them_are_told_of() -> None:
    for bare, said in ((2, False), (40, True)):
        found = proof(log=replace(asked(5.0), bare=bare))
        assert found is not None
        assert ("none of the 40 answers after them has any" in found.where) is said
        assert found.silent is said
    bionic = proof(log=replace(asked(5.0), app="Bionic"))
    assert bionic is not None
    assert bionic.where.endswith("in Bionic's server log")


def test_the_latest_witness_is_believed() -> None:
    chats, log = asked(1.0, ran=0), asked(2.0)
    for probe, where in ((probed(3.0), "the last probe"), (probed(1.5), "server log")):
        found = proof(chats, log, probe)
        assert found is not None
        assert where in found.where
    found = proof(asked(9.0), log)
    assert found is not None
    assert found.where == "4 of your last 5 answers"


def test_a_later_probe_without_draft_tokens_outweighs_an_older_log() -> None:
    found = proof(log=asked(2.0), probe=probed(3.0, drafted=0))
    assert found is not None
    assert found.finding == "dropped"


def test_a_few_silent_answers_in_the_log_prove_nothing_and_more_do() -> None:
    assert proof(log=asked(1.0, ran=0, answers=2)) is None
    found = proof(log=asked(1.0, ran=0, answers=3))
    assert found is not None
    assert found.finding is not None
    assert (
        "none of the last 3 answers with draft counts in LM Studio's server log has draft tokens"
        in found.finding
    )


def test_several_requests_at_once_are_no_cause_where_the_cache_is_quantized() -> None:
    instance = Instance(MAIN.key, parallel=4)
    server = ServerSeen("u", None, (ServedModel(MAIN.key, loaded_instances=(instance,)),))
    quantized = replace(PAIR, users=DraftDefaults(quantized_cache=True))
    for pair, named in ((PAIR, True), (quantized, False)):
        known = real_use.uses((pair,), INSTALLED, Observed(), (), (asked(1.0, ran=0),))
        (found,) = real_use.drafts_seen((pair,), known, INSTALLED, server, None)
        assert ("for 4 requests at once" in (found.finding or "")) == named
        (found,) = real_use.drafts_seen((pair,), known, INSTALLED, None, None)
        assert ("several requests at once" in (found.finding or "")) == named


def test_where_the_log_names_no_main_the_draft_tells_which_pair_if_it_serves_one() -> None:
    unnamed = asked(1.0, main="")
    assert proof(log=unnamed) is not None
    other = model("Qwen3-14B-4bit")
    both = (PAIR, replace(PAIR, main=other))
    assert proof(log=unnamed, pairs=both) is None


def test_where_the_log_names_no_draft_the_mains_configured_one_is_meant() -> None:
    unnamed = replace(asked(1.0), draft="")
    found = proof(log=unnamed)
    assert found is not None
    assert (found.main, found.draft, found.accepted) == (MAIN.key, SMALL.key, 32)
    heads = proof(log=unnamed, pairs=(OWN,))
    assert heads is not None
    assert (heads.draft, heads.drafted) == (OWN_HEADS, 40)


def test_own_heads_are_seen_in_conversations_and_are_no_baseline() -> None:
    figures = [Figures(None, 100, 10, 100 / tps, None, None, None) for tps in (20, 41)]
    plain, heads = use_of(MAIN.key, None, None, figures[:1]), use_of(
        MAIN.key, OWN_HEADS, None, figures[1:]
    )  # fmt: skip
    known = real_use.uses((OWN,), INSTALLED, Observed(uses=(plain, heads)), ())
    used = known[OWN.name].in_use
    assert (used.tps, used.baseline_tps) == (41, 20)


def test_what_was_logged_of_another_main_is_no_proof() -> None:
    assert proof(log=asked(1.0, main=OTHER.key)) is None
