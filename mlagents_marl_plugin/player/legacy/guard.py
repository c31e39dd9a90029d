"""Starts a program and makes sure that it ends with the process that asked for it, whatever kills that process.

    python guard.py PROGRAM [ARGUMENTS]

The asking process holds the other end of this one's standard input. When that ends, by ``close`` or because the
process is gone, the program is ended too, and on POSIX everything that it started. When the program ends by
itself, its exit code is passed on. Standard library only: it is run as a file, by a bare interpreter.
"""

import os
import signal
import subprocess
import sys
import threading

_GRACE_SECONDS = 1.0
CANNOT_START = 126


def main(command: list[str]) -> int:
    """Run ``command`` until it or standard input ends; returns its exit code."""
    # Ctrl-C belongs to the trainer, which ends everything in its own order. The program must not inherit this.
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        # Never the pipe on standard input: the program would keep it open.
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{error.strerror or error}: {command[0]}", file=sys.stderr)
        return CANNOT_START
    ending = threading.Event()
    threading.Thread(target=_end_with_input, args=(program, ending), daemon=True).start()
    code = program.wait()
    if ending.is_set() and os.name == "posix":
        # This process leads the group, see BuildProcess; what the program started may not have ended with it.
        os.killpg(0, signal.SIGKILL)
    return 128 - code if code < 0 else code


def _end_with_input(program: "subprocess.Popen[bytes]", ending: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    ending.set()
    program.terminate()
    try:
        program.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
