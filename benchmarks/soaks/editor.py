"""Play and Stop in the Editor, again and again, in one training; then Ctrl+C, and the model must be there. Linux."""

import tempfile
import time
from pathlib import Path

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.editor import Editor
from tests.contract.host import interrupt, read_until

END_SECONDS = 120


def soak(count: int) -> bool:
    """Press Play and Stop so many times; True if training went on at each Play and was saved."""
    steps: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        editor = Editor(Path(name))
        with editor.learn() as learning:
            try:
                for number in range(count):
                    begun = time.monotonic()
                    steps.append(editor.play(learning))
                    code = editor.stop()
                    print(
                        f"{number + 1}: step {steps[-1]}, {time.monotonic() - begun:.1f} s, Stop: {code}",
                        flush=True,
                    )
                editor.printed += read_until(learning, editor.listening)
                interrupt(learning)
                learning.communicate(timeout=END_SECONDS)
            except AssertionError as error:
                print(error)
            finally:
                learning.kill()
        model = Path(name) / "results/run/Tennis.onnx"
        saved = model.is_file() and OnnxPolicy(model).continuous_size == 2
    went_on = sum(after > before for before, after in zip([0, *steps], steps, strict=False))
    print(
        f"| Play and Stop in one training, then Ctrl+C | {count} | {went_on}, {'saved' if saved else 'not saved'} |"
    )
    return went_on == count and saved and learning.returncode == 0
