"""Which file ``--model`` means for which agent, and what is said when it means none."""

from pathlib import Path

import pytest

from mlagents_marl_plugin.tools.model_choice import ModelChoice, ModelChoiceError


def files(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"model")
    return paths


def test_one_file_plays_everybody(tmp_path: Path) -> None:
    (model,) = files(tmp_path, "Tennis.onnx")
    choice = ModelChoice([str(model)])
    assert {choice.path(b, slot) for b in ("Tennis?team=0", "Other?team=1") for slot in (0, 1)} == {model}
    assert not choice.has_own("Tennis?team=0")


def test_a_run_folder_gives_each_behaviour_its_file(tmp_path: Path) -> None:
    tennis, soccer = files(tmp_path, "Tennis.onnx", "Soccer.onnx")
    choice = ModelChoice([str(tmp_path)])
    assert choice.path("Tennis?team=1", 1) == tennis
    assert choice.path("Soccer?team=0", 0) == soccer
    assert [choice.has_own(name) for name in ("Soccer?team=0", "Golf?team=0")] == [True, False]
    with pytest.raises(
        ModelChoiceError, match=r"expected Golf\.onnx in it, found none; there are .*Soccer\.onnx"
    ):
        choice.path("Golf?team=0", 0)


@pytest.mark.parametrize("argument", ["", "Tennis.onnx"], ids=["folder", "file"])
def test_actors_trained_apart_are_found_beside_slot_0(tmp_path: Path, argument: str) -> None:
    first, second = files(tmp_path, "Tennis.onnx", "Tennis-slot1.onnx")
    choice = ModelChoice([str(tmp_path / argument)])
    assert [choice.path("Tennis?team=0", slot) for slot in (0, 1)] == [first, second]
    with pytest.raises(
        ModelChoiceError, match=r"expected Tennis-slot2\.onnx beside it for slot 2, found only Tennis-slot1"
    ):
        choice.path("Tennis?team=0", 2)


def test_the_most_specific_name_counts(tmp_path: Path) -> None:
    anyone, name, team, slot = files(tmp_path, "any.onnx", "lr=0.1/name.onnx", "team.onnx", "slot.onnx")
    choice = ModelChoice(
        [str(anyone), f"Tennis={name}", f"Tennis?team=1={team}", f"Tennis?team=1-slot1={slot}"]
    )
    assert choice.path("Soccer?team=0", 0) == anyone
    assert choice.path("Tennis?team=0", 0) == name
    assert choice.path("Tennis?team=1", 0) == team
    assert choice.path("Tennis?team=1", 1) == slot
    assert [choice.has_own(name) for name in ("Tennis?team=0", "Soccer?team=0")] == [True, False]


def test_paths_may_hold_an_equals_sign(tmp_path: Path) -> None:
    (model,) = files(tmp_path, "lr=0.1/Tennis.onnx")
    assert ModelChoice([str(model)]).path("Tennis?team=0", 0) == model


def test_a_wrong_path_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelChoiceError, match=r"there is no \.onnx file in .*; a run writes results/RUN"):
        ModelChoice([str(tmp_path / "none" / "Tennis.onnx")])
    files(tmp_path, "Tennis.onnx")
    with pytest.raises(ModelChoiceError, match=r"found nothing at .*Tenis\.onnx; there are .*Tennis\.onnx"):
        ModelChoice([str(tmp_path / "Tenis.onnx")])
    with pytest.raises(ModelChoiceError, match=r"expected a file after NAME=, got the folder"):
        ModelChoice([f"Tennis={tmp_path}"])


def test_contradictions_are_refused(tmp_path: Path) -> None:
    a, b = files(tmp_path, "a.onnx", "b.onnx")
    with pytest.raises(ModelChoiceError, match="expected one path without a name, got .*a.onnx and .*b.onnx"):
        ModelChoice([str(a), str(b)])
    with pytest.raises(ModelChoiceError, match="expected one path for Tennis, got several"):
        ModelChoice([f"Tennis={a}", f"Tennis={b}"])


def test_names_are_held_against_the_scene(tmp_path: Path) -> None:
    (model,) = files(tmp_path, "a.onnx")
    choice = ModelChoice([f"Tenis={model}"])
    with pytest.raises(
        ModelChoiceError, match=r"expected a behaviour of the scene \(Tennis\?team=0\), got Tenis"
    ):
        choice.check_names(["Tennis?team=0"])
    with pytest.raises(
        ModelChoiceError, match=r"expected a model for Tennis\?team=0 slot 0 .*--model Tennis=path"
    ):
        choice.path("Tennis?team=0", 0)
    assert not choice.has_own("Tennis?team=0")
    for name in ("Tennis", "Tennis?team=0", "Tennis-slot1"):
        ModelChoice([f"{name}={model}"]).check_names(["Tennis?team=0"])


def test_files_of_slots_are_known_before_anybody_plays(tmp_path: Path) -> None:
    apart, _, together = files(tmp_path, "Tennis.onnx", "Tennis-slot1.onnx", "Golf.onnx")
    for given in (tmp_path, apart):
        assert ModelChoice([str(given)]).has_slots("Tennis?team=0")
    assert not ModelChoice([str(tmp_path)]).has_slots("Golf?team=0")
    assert ModelChoice([f"Golf-slot1={together}"]).has_slots("Golf?team=0")
    assert not ModelChoice([str(tmp_path), f"Tennis={apart}"]).has_slots("Tennis?team=0"), "one file for all"
