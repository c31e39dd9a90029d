"""``marl-evaluate``: plays exported models in a scene and says how well they do.

The files are played as Unity would play them, by onnxruntime and the official client; torch is not imported.
Greedy unless asked otherwise.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
from mlagents_envs.environment import UnityEnvironment

from mlagents_marl_plugin.tools.cast import Cast, is_scored
from mlagents_marl_plugin.tools.episodes import SCORES, Episodes, GroupingError
from mlagents_marl_plugin.tools.evaluation_report import in_json, in_words, report
from mlagents_marl_plugin.tools.model_choice import ModelChoice, ModelChoiceError
from mlagents_marl_plugin.tools.onnx_player import ModelError
from mlagents_marl_plugin.tools.record import RecordError, Recording
from mlagents_marl_plugin.tools.scene_arguments import add_scene_arguments, positive, scene_options
from mlagents_marl_plugin.tools.unity import SceneError, SceneLost, advance, open_scene

_SECONDS_BETWEEN_REPORTS = 10.0
_DECISIONS_WITHOUT_END = 20_000

EXIT_LOST, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def play(
    env: UnityEnvironment, cast: Cast, episodes: Episodes, only: str | None, recording: Recording | None
) -> None:
    """Plays on until enough episodes have ended; ``episodes`` holds what was played so far at any time."""
    reported = time.monotonic()
    steps = 0
    while True:
        state = {name: env.get_steps(name) for name in env.behavior_specs}
        scored = {name: s for name, s in state.items() if is_scored(name, only)}
        episodes.observe(scored)
        if recording is not None:
            for name, (_, ends) in scored.items():
                recording.ended(name, env.behavior_specs[name], ends)
        if episodes.done:
            return
        for name, (decisions, ends) in state.items():
            cast.forget(ends.agent_id.tolist())
            if len(decisions):
                slots, spec = episodes.slots(name, decisions), env.behavior_specs[name]
                actions = cast.act(name, spec, decisions, slots)
                if recording is not None and name in scored:
                    recording.decided(name, spec, decisions, episodes.places(name, decisions), actions)
                env.set_actions(name, actions)
        advance(env)
        steps += 1
        if steps == _DECISIONS_WITHOUT_END and not episodes.episodes:
            _say(
                f"no episode has ended after {steps} decisions; does the scene end any (Max Step)? Ctrl+C "
                "stops"
            )
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS and episodes.episodes:
            reported = time.monotonic()
            mean = sum(episode.score for episode in episodes.episodes) / len(episodes.episodes)
            _say(f"{len(episodes.episodes)}/{episodes.number} episodes, mean score {mean:.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, 1 the scene ended, 2 wrong input, 130 stopped by Ctrl+C."""
    args = parser().parse_args(arguments)
    episodes = Episodes(args.episodes, args.score, args.group_size, args.num_areas)
    try:
        choice = ModelChoice(args.model)
        cast = Cast(choice, args.behavior, not args.stochastic)
        recording = None if args.record is None else Recording(args.record)
    except (ModelChoiceError, RecordError) as error:
        return _fail(str(error), EXIT_USAGE)
    stopped, code = None, 0
    try:
        _run(args, choice, cast, episodes, recording)
    except KeyboardInterrupt:
        stopped, code = "Ctrl+C", EXIT_INTERRUPTED
    except SceneLost as error:
        stopped, code = str(error), EXIT_LOST
    except (SceneError, ModelChoiceError, ModelError, GroupingError, RecordError, _BehaviorError) as error:
        return _fail(str(error), EXIT_USAGE)
    result = report(args, cast, episodes, stopped)
    if stopped is not None:
        _fail(f"stopped after {len(episodes.episodes)} of {args.episodes} episodes: {stopped}", code)
    print(in_words(result))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(in_json(result), encoding="utf-8")
    return code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="marl-evaluate",
        description="Play exported models (.onnx) in a Unity scene and report their scores.",
        epilog="Example: marl-evaluate --env unity_builds/Tennis --model results/tennis_maddpg --num-areas 8",
    )
    p.add_argument(
        "--episodes", type=positive, default=100, metavar="N", help="how many (default %(default)s)"
    )
    p.add_argument(
        "--behavior", metavar="NAME", help="score only this behaviour; others without a model do nothing"
    )
    p.add_argument("--score", choices=list(SCORES), default="max", help="over a group's agents (default max)")
    p.add_argument(
        "--json", type=Path, metavar="FILE", help="write all scores, the models and versions to a file"
    )
    p.add_argument(
        "--record", type=Path, metavar="FOLDER", help="write what was played as demonstrations (.demo files)"
    )
    add_scene_arguments(p, time_scale=20.0)
    return p


class _BehaviorError(ValueError):
    """``--behavior`` names none of the scene's."""


def _run(
    args: argparse.Namespace, choice: ModelChoice, cast: Cast, episodes: Episodes, recording: Recording | None
) -> None:
    onnxruntime.set_seed(args.seed)
    if args.env is None:
        _say(f"waiting {args.timeout_wait} s for the Editor: press Play now")
    env = open_scene(scene_options(args))
    try:
        advance(env, first=True)
        behaviors = list(env.behavior_specs)
        choice.check_names(behaviors)
        if not any(is_scored(behavior, args.behavior) for behavior in behaviors):
            raise _BehaviorError(
                f"--behavior: expected a behaviour of the scene ({', '.join(behaviors)}), got "
                f"{args.behavior}; "
                "correct the name"
            )
        play(env, cast, episodes, args.behavior, recording)
    finally:
        try:
            if recording is not None:
                recording.close()
        finally:
            env.close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str, code: int) -> int:
    _say(f"marl-evaluate: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main())
