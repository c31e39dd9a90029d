"""The scenes that the player can show, by the name that a launcher carries.

Each scene's module is imported only when that scene is asked for. It has three functions:
``add_options(parser, arguments)`` declares its command-line options, which may depend on what the command line
holds, ``options_from(namespace)`` raises ValueError if their values are out of range, ``create(settings)``
makes the scene.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from mlagents_marl_plugin.player.scene import Scene, SceneSettings


@dataclass(frozen=True)
class SceneEntry:
    """One scene of the list."""

    name: str
    summary: str
    module: str

    def add_options(self, parser: ArgumentParser, arguments: Sequence[str]) -> None:
        declare = cast(
            Callable[[ArgumentParser, Sequence[str]], None], import_module(self.module).add_options
        )
        declare(parser, arguments)

    def check_options(self, arguments: Namespace) -> None:
        cast(Callable[[Namespace], object], import_module(self.module).options_from)(arguments)

    def create(self, settings: SceneSettings) -> Scene:
        return cast(Callable[[SceneSettings], Scene], import_module(self.module).create)(settings)


SCENES = {
    entry.name: entry
    for entry in (
        SceneEntry(
            "Tennis",
            "two rackets keep a ball over the net (Udacity rules); 24 observations, 2 continuous actions",
            "mlagents_marl_plugin.player.scenes.tennis_scene",
        ),
        SceneEntry(
            "TennisVersus",
            "two rackets play for points; 27 observations, 3 continuous actions, two teams",
            "mlagents_marl_plugin.player.scenes.versus_scene",
        ),
        SceneEntry(
            "Vmas",
            "Dispersion and all other scenarios of VMAS, by --scenario; needs the package vmas",
            "mlagents_marl_plugin.player.scenes.vmas_scene",
        ),
        SceneEntry(
            "Parallel",
            "any PettingZoo ParallelEnv, by --parallel-env module:factory",
            "mlagents_marl_plugin.player.scenes.parallel_scene",
        ),
        SceneEntry(
            "Battle",
            "two armies of up to 81 soldiers (MAgent2), by --opponent; needs the package magent2",
            "mlagents_marl_plugin.player.scenes.battle_scene",
        ),
        SceneEntry(
            "UdacityTennis",
            "Udacity's Tennis, or another build of ML-Agents 0.4, by --build",
            "mlagents_marl_plugin.player.legacy.udacity_scene",
        ),
        SceneEntry(
            "Recall",
            "a cue is shown at first and asked for at last; for agents that remember",
            "mlagents_marl_plugin.player.scenes.recall",
        ),
        SceneEntry(
            "Counter",
            "agents that see who they are and count their steps; for tests of trainers",
            "mlagents_marl_plugin.player.scenes.counter",
        ),
        SceneEntry(
            "Signs",
            "what to do stands in a picture, in a list or in a goal; for tests of trainers",
            "mlagents_marl_plugin.player.scenes.signs",
        ),
    )
}


def find_scene(name: str) -> SceneEntry | None:
    """The scene called ``name``, in whatever case it is written."""
    return next((entry for key, entry in SCENES.items() if key.lower() == name.lower()), None)
