"""``marl-doctor``: what is wrong with an installation, in a table, with the one command that mends each.

Exit code 0 if all is well, 1 if something has to be mended.
"""

import argparse
import contextlib
import io
import logging
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence

from mlagents_marl_plugin.tools.doctor_checks import CHECKS, Finding, State

Check = Callable[[], Iterable[Finding]]


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="marl-doctor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than a moment")
    options = parser.parse_args(arguments)
    slow = ("check_handshake", "check_export")
    checks = [check for check in CHECKS if not (options.quick and check.__name__ in slow)]
    findings = examine(checks)
    print(table(findings, shutil.get_terminal_size((100, 24)).columns))
    wrong = sum(finding.state is State.BAD for finding in findings)
    print(f"\n{wrong} to mend." if wrong else "\nAll is well.")
    return 1 if wrong else 0


def examine(checks: Iterable[Check]) -> list[Finding]:
    """All findings. A check that fails itself is one, and the others go on; what libraries print is left out."""
    findings: list[Finding] = []
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        for check in checks:
            silence = io.StringIO()
            with (
                contextlib.redirect_stdout(silence),
                contextlib.redirect_stderr(silence),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                try:
                    findings.extend(check())
                except Exception as error:
                    findings.append(_failed(check, error))
    finally:
        logging.disable(before)
    return findings


def _failed(check: Check, error: Exception) -> Finding:
    what = check.__name__.removeprefix("check_")
    return Finding(what, State.BAD, f"could not be looked at: {type(error).__name__}: {error}", "uv sync")


def table(findings: Sequence[Finding], width: int) -> str:
    """Rows of what, state and finding, with remedies in lines of their own that can be copied."""
    first = max((len(finding.what) for finding in findings), default=0)
    indent = " " * (first + 9)
    lines = []
    for what, state, found, remedy in findings:
        text = textwrap.wrap(found, max(30, width - len(indent))) or [""]
        lines.append(f"{what:<{first}}  {state.value:<5}  {text[0]}")
        lines += [indent + more for more in text[1:]]
        if remedy:
            lines.append(f"{indent}-> {remedy}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
