"""The inbox: whatever arrived is taken together, and one waiting thread is woken at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from specd.agent.inbox import Inbox


def test_a_burst_is_taken_as_one_batch_without_repeats():
    inbox = Inbox()
    for _ in range(3):
        inbox.changed(Path("/a"))
    inbox.changed(Path("/b"))
    batch = inbox.take(0)
    assert batch.paths == {Path("/a"), Path("/b")}
    assert not batch.stop
    assert inbox.take(0).paths == frozenset()


def test_a_lone_change_wakes_a_waiting_loop_at_once():
    inbox = Inbox()
    waiting = threading.Thread(target=lambda: inbox.take(600), daemon=True)
    waiting.start()
    inbox.changed(Path("/a"))
    waiting.join(60)
    assert not waiting.is_alive()


def test_tasks_keep_their_order():
    inbox = Inbox()
    done: list[int] = []
    for number in range(5):
        inbox.do(lambda n=number: done.append(n))
    for task in inbox.take(0).tasks:
        task()
    assert done == [0, 1, 2, 3, 4]


def test_what_a_question_returns_or_raises_reaches_the_asker():
    inbox = Inbox()
    answer = inbox.ask(lambda: 42)
    failing = inbox.ask(lambda: 1 // 0)
    for task in inbox.take(0).tasks:
        task()
    assert answer.result(0) == 42
    with pytest.raises(ZeroDivisionError):
        failing.result(0)


def test_waiting_ends_with_its_time():
    assert Inbox().take(0.01).paths == frozenset()
