"""mlagents-learn that cannot start says why in its last line."""

from pathlib import Path

from tests.contract.host import learn, write_config


def test_a_wrong_value_while_an_optional_dependency_is_broken(tmp_path: Path) -> None:
    """Our trainer types are there, or the host would know no ``tau`` to complain about."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "onnxruntime.py").write_text("raise OSError('a library is missing')")
    config = write_config(tmp_path, "Counter", "maddpg", {"group_size": 2, "tau": 5})
    printed = learn(tmp_path, str(config), expect=1, environment={"PYTHONPATH": str(broken)})
    assert "This plugin will not be used" not in printed
    assert "hyperparameters.tau: expected 0 < tau <= 1, got 5" in printed.splitlines()[-1]
