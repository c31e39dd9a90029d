"""How much memory a device has, so that too large a buffer is refused before the machine starts to swap."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total_physical", ctypes.c_uint64),
        ("available_physical", ctypes.c_uint64),
        ("total_page_file", ctypes.c_uint64),
        ("available_page_file", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended_virtual", ctypes.c_uint64),
    ]


@contextmanager
def buffer_memory(where: str, capacity: int, bytes_per_step: int, device: torch.device) -> Iterator[None]:
    """Allocate a buffer of ``capacity`` steps within this context.

    Raises:
        MemoryError: if the device cannot hold it, before or while allocating; says what would fit.
    """
    total = memory_bytes(device)
    there = "too few bytes" if total is None else f"{total} bytes in all"
    remedy = "lower buffer_size" if total is None else f"try buffer_size: {total * 4 // 5 // bytes_per_step}"
    refusal = MemoryError(
        f"{where}: expected a buffer_size that fits on {device}, got {capacity} steps of "
        f"{bytes_per_step} bytes each and {there}; {remedy}"
    )
    if total is not None and capacity * bytes_per_step > total:
        raise refusal
    try:
        yield
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise refusal from error


def memory_bytes(device: torch.device) -> int | None:
    """Bytes that a device could give: free memory of a CUDA GPU, all memory of the machine for the CPU.

    The machine's whole memory is the bound, not what is free now: page caches count as used and would be
    given up.

    Returns:
        Bytes, or None where the system does not say.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    if sys.platform == "win32":
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        found = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total_physical) if found else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
