"""Opens a Unity scene (a build, our player, the Editor) for a tool, and says plainly what went wrong."""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlagents_envs.env_utils import validate_environment_path
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.exception import (
    UnityCommunicatorStoppedException,
    UnityEnvironmentException,
    UnityTimeOutException,
    UnityWorkerInUseException,
)
from mlagents_envs.side_channel.engine_configuration_channel import EngineConfigurationChannel
from mlagents_envs.side_channel.side_channel import SideChannel

# What mlagents_envs deletes wherever it stands in a path.
_MANGLED = (".app", ".exe", ".x86_64", ".x86")
_FASTER_THAN_LIFE = 1.0
HIGHEST_PORT = 65_535


class SceneError(RuntimeError):
    """The scene cannot be opened as asked for."""


class SceneLost(RuntimeError):
    """The scene ended or stopped answering."""


@dataclass(frozen=True)
class SceneOptions:
    """How to open a scene; the fields are ``mlagents-learn``'s options of the same names."""

    env: str | None = None  # None waits for the Editor
    seed: int = 0
    num_areas: int = 1
    base_port: int | None = None
    time_scale: float = 20.0
    no_graphics: bool = False
    timeout_wait: int = 60
    env_args: Sequence[str] = ()

    @property
    def port(self) -> int:
        """Where we listen."""
        if self.base_port is not None:
            return self.base_port
        return UnityEnvironment.BASE_ENVIRONMENT_PORT if self.env else UnityEnvironment.DEFAULT_EDITOR_PORT


def open_scene(options: SceneOptions, side_channels: Sequence[SideChannel] = ()) -> UnityEnvironment:
    """Starts the build, or waits for the Editor, and configures its engine as training does.

    Raises:
        SceneError: no such build, or the port is in use.
        SceneLost: nobody connected, or the scene ended at once.
    """
    if options.env is not None:
        check_build(options.env)
    if not _is_free(options.port):
        raise SceneError(_port_in_use(options.port))
    # The launchers of our player start it with this interpreter.
    os.environ.setdefault("MARL_PLAYER_PYTHON", sys.executable)
    engine = EngineConfigurationChannel()
    faster = options.time_scale > _FASTER_THAN_LIFE
    engine.set_configuration_parameters(
        time_scale=options.time_scale,
        target_frame_rate=-1,
        # A fixed frame length lets the scene run ahead of the clock, as in training; at 1 somebody watches.
        capture_frame_rate=60 if faster else 0,
    )
    try:
        return UnityEnvironment(
            file_name=options.env,
            base_port=options.port,
            seed=options.seed,
            no_graphics=options.no_graphics,
            timeout_wait=options.timeout_wait,
            additional_args=list(options.env_args),
            side_channels=[engine, *side_channels],
            num_areas=options.num_areas,
        )
    except UnityWorkerInUseException as error:
        raise SceneError(_port_in_use(options.port)) from error
    except UnityTimeOutException as error:
        raise SceneLost(_nobody_came(options)) from error
    except UnityEnvironmentException as error:
        raise SceneLost(f"--env {options.env}: the scene ended before it connected ({error})") from error


def check_build(env: str) -> None:
    """Raises `SceneError` unless mlagents will find a build at this path."""
    if _is_build(env):
        return
    stem = env.strip()
    for ending in _MANGLED:
        stem = stem.removesuffix(ending)
    mangled = _mangled(stem)
    if mangled != stem:
        part = next(ending for ending in _MANGLED if ending in stem)
        raise SceneError(
            f"--env {env}: expected a path without {part} inside, got one; mlagents deletes it and looks for "
            f"{mangled}: {_way_round(stem)}"
        )
    beside = sorted({p.name for p in Path(stem).parent.glob("*") if p.suffix in _MANGLED})
    there = f"that folder has {', '.join(beside)}" if beside else f"there is no build in {Path(stem).parent}"
    raise SceneError(
        f"--env {env}: expected {_build_name(stem)}, found none; {there}. 'marl-player install' writes the "
        "player's scenes "
        "to unity_builds; without --env the Editor is awaited"
    )


def _is_build(env: str) -> bool:
    try:
        return validate_environment_path(env) is not None
    except UnityEnvironmentException:
        return False


def _mangled(path: str) -> str:
    for ending in _MANGLED:
        path = path.replace(ending, "")
    return path


def _way_round(stem: str) -> str:
    """What to do about a path that mlagents mangles."""
    try:
        relative = os.path.relpath(stem)
    except ValueError:  # on another drive of Windows
        relative = stem
    if _mangled(relative) == relative and _is_build(relative):
        return f"give it from here, --env {relative}"
    return "move the build to a folder of another name"


def advance(env: UnityEnvironment, first: bool = False) -> None:
    """Steps the scene, or resets it at ``first``; its behaviours are known only then.

    Raises:
        SceneLost: it ended, was stopped, or does not answer.
    """
    try:
        env.reset() if first else env.step()
    except UnityCommunicatorStoppedException as error:
        raise SceneLost("the scene was stopped") from error
    except UnityTimeOutException as error:
        raise SceneLost("the scene does not answer any more") from error
    except UnityEnvironmentException as error:
        raise SceneLost(f"the scene ended ({error})") from error


def _is_free(port: int) -> bool:
    """The host's own test, done here since it leaves a traceback at exit when it fails in the host."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if sys.platform == "linux":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError:
            return False
    return True


def _port_in_use(port: int) -> str:
    other = port + 100 if port + 100 <= HIGHEST_PORT else port - 100
    return (
        f"--base-port: expected a free port, got {port}, which another program uses (a running "
        f"mlagents-learn or marl-evaluate?); wait for it, or choose another: --base-port {other}"
    )


def _build_name(stem: str) -> str:
    if sys.platform == "win32":
        return f"{stem}.exe"
    return f"{stem}.app" if sys.platform == "darwin" else f"{stem}.x86_64"


def _nobody_came(options: SceneOptions) -> str:
    if options.env is None:
        return (
            f"no Editor connected to port {options.port} within {options.timeout_wait} s; press Play while "
            "this waits (the "
            "agents' Behavior Type must be Default), give it longer with --timeout-wait 300, or name a build "
            "with --env"
        )
    return (
        f"--env {options.env}: the scene started but did not connect to port {options.port} within "
        f"{options.timeout_wait} "
        "s; does it wait for a click, or need --no-graphics on a machine without a screen? --timeout-wait "
        "gives it longer"
    )
