"""How much memory there is, as each operating system says it."""

import ctypes
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from mlagents_marl_plugin.core.memory import buffer_memory, memory_bytes

CPU = torch.device("cpu")


def test_this_machine_says_a_plausible_number() -> None:
    found = memory_bytes(CPU)
    assert found is not None and 10**8 < found < 10**15


def test_an_unknown_device_says_nothing() -> None:
    assert memory_bytes(torch.device("meta")) is None


def test_a_gpu_says_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert memory_bytes(torch.device("cuda", 0)) == 123


def test_windows_is_asked_through_its_own_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(status: object) -> int:
        found = ctypes.cast(status, ctypes.POINTER(ctypes.c_uint64))  # type: ignore[arg-type]
        assert ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] == 64  # type: ignore[arg-type]
        found[1] = 17_000_000_000  # behind two 32-bit numbers
        return 1

    windows = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=answer))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", windows, raising=False)
    assert memory_bytes(CPU) == 17_000_000_000


def test_a_system_that_does_not_say_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", refuse, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert memory_bytes(CPU) is None


def test_other_errors_while_allocating_are_not_mistaken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="driver"), buffer_memory("Replay", 1, 1, CPU):
        raise RuntimeError("driver too old")
