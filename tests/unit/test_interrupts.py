"""Ctrl+C that comes again while a run is being saved."""

import signal
import threading
from collections.abc import Iterator

import pytest

from mlagents_marl_plugin.adapter import interrupts


@pytest.fixture(autouse=True)
def as_python_starts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_presses_close_together_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    interrupts.count_once()
    interrupts.count_once()
    with pytest.raises(KeyboardInterrupt):
        press()
    now[0] += 4.9
    press()
    now[0] += 0.1
    with pytest.raises(KeyboardInterrupt):
        press()


def test_a_program_with_a_handler_of_its_own_keeps_it() -> None:
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    interrupts.count_once()
    press()
    press()
    assert heard == [1, 1]


def test_nothing_interrupts_the_last_save() -> None:
    with interrupts.held_back():
        press()
    with pytest.raises(KeyboardInterrupt):
        press()


def test_an_error_while_saving_is_not_hidden_and_ctrl_c_works_again() -> None:
    with pytest.raises(OSError, match="full"), interrupts.held_back():
        raise OSError("full")
    with pytest.raises(KeyboardInterrupt):
        press()


def test_another_thread_changes_nothing() -> None:
    seen = []

    def work() -> None:
        interrupts.count_once()
        with interrupts.held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
