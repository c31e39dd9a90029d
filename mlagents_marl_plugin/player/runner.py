"""Runs one player: from its options to its exit code."""

import logging
import signal
import sys
import threading
from argparse import Namespace
from pathlib import Path

from mlagents_marl_plugin.player.event_log import EventLog
from mlagents_marl_plugin.player.faults import Faults
from mlagents_marl_plugin.player.messages import MessageError
from mlagents_marl_plugin.player.protocol import (
    MessageTooLarge,
    NobodyListens,
    TrainerConnection,
    TrainerGone,
)
from mlagents_marl_plugin.player.scene import Scene, SceneError, SceneSettings
from mlagents_marl_plugin.player.scenes import SceneEntry
from mlagents_marl_plugin.player.session import ProtocolMismatch, Session
from mlagents_marl_plugin.player.side_channels import SideChannelError, SideChannels
from mlagents_marl_plugin.player.watch import watch_forked_parent

OK, FAILED = 0, 1


def run_player(entry: SceneEntry, options: Namespace, in_editor: bool) -> int:
    """Play ``entry`` until the trainer ends; returns the process's exit code, 0 if the trainer ended it."""
    log = open_log(Path(options.log_file) if options.log_file not in (None, "-") else None, console=in_editor)
    log.info("Scene %s, port %d", entry.name, options.port)
    if not in_editor:
        _leave_interrupts_to_the_trainer()
        watch_forked_parent(log)
    connection = TrainerConnection(options.port)
    event_log = EventLog(options.event_log, options.port) if options.event_log else None

    def make_scene(num_areas: int, seed: int, side_channels: SideChannels) -> Scene:
        return entry.create(SceneSettings(num_areas, seed, side_channels.parameters, options))

    faults = Faults(options.fault, options.fault_after, options.fault_once)
    session = Session(connection, make_scene, log, event_log, faults, options.statistics)

    def say_good_bye() -> None:
        # To mlagents-learn a good-bye is a good end. A launched player that cannot even begin, for its options or
        # too many areas, tells it by its exit code, which is an error there too.
        if in_editor or not session.beginning:
            connection.say_good_bye()

    try:
        if in_editor:
            log.info("Waiting for mlagents-learn (Ctrl-C stops).")
        connection.wait_for_trainer(options.wait)
        log.info("Ending: %s.", session.run())
        return OK
    except KeyboardInterrupt:
        log.info("Stopped.")
        connection.say_good_bye()
        return OK
    except NobodyListens as error:
        log.error("%s", error)
    except TrainerGone as error:
        log.error("what listens on port %d did not answer as an ML-Agents trainer (%s)", options.port, error)
    except (ProtocolMismatch, MessageError, MessageTooLarge, SideChannelError, SceneError) as error:
        log.error("%s", error)
        say_good_bye()
    except (Exception, SystemExit):
        # A trainer throws its players' stderr away; the log is where a person can find the reason.
        log.exception("the scene failed")
        say_good_bye()
    finally:
        connection.close()
        if event_log:
            event_log.close()
    return FAILED


def open_log(path: Path | None, console: bool) -> logging.Logger:
    """The player's log: everything to ``path`` if any; errors, or with ``console`` everything, to stderr."""
    log = logging.getLogger("marl-player")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers.clear()
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("marl-player: %(message)s"))
    shown.setLevel(logging.INFO if console else logging.ERROR)
    log.addHandler(shown)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = logging.FileHandler(path, mode="w", encoding="utf-8")
        written.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(written)
    return log


def _leave_interrupts_to_the_trainer() -> None:
    """On Windows Ctrl-C reaches a launched player too, but the trainer needs it until it has saved."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
