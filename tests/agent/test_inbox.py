"""The inbox: whatever arrived is taken together, and one waiting thread is woken at once."""

from __future__ import annotations

import threading

import pytest

from specd.agent.inbox import Inbox


def test_a_lone_task_wakes_a_waiting_loop_at_once():
    inbox = Inbox()
    waiting = threading.Thread(target=lambda: inbox.take(600), daemon=True)
    waiting.start()
    inbox.do(lambda: None)
    waiting.join(60)
    assert not waiting.is_alive()


def test_a_burst_is_taken_together_and_in_its_order():
    inbox = Inbox()
    done: list[int] = []
    for number in range(5):
        inbox.do(lambda n=number: done.append(n))
    for task in inbox.take(0):
        task()
    assert done == [0, 1, 2, 3, 4]
    assert inbox.take(0) == []


def test_what_a_question_returns_or_raises_reaches_the_asker():
    inbox = Inbox()
    answer = inbox.ask(lambda: 42)
    failing = inbox.ask(lambda: 1 // 0)
    for task in inbox.take(0):
        task()
    assert answer.result(0) == 42
    with pytest.raises(ZeroDivisionError):
        failing.result(0)


def test_waiting_ends_with_its_time():
    assert Inbox().take(0.01) == []
