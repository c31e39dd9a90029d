"""What ``marl-doctor`` looks at, one function per question. Nothing is imported before it is asked for."""

import contextlib
import importlib
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

PACKAGE = "mlagents_marl_plugin"
EDITOR_PORT = 5004
BUILD_PORT = 5005
HANDSHAKE_SECONDS = 30
CUDA_TORCH = (
    "take the command of pytorch.org's selector with uv pip install --reinstall-package torch torch==2.8.0 in place of "
    "pip3 install torch, then run with uv run --no-sync"
)
# Of these the versions are checked: ours and what the host cannot do without.
DISTRIBUTIONS = (PACKAGE, "mlagents", "mlagents-envs")
LIBRARIES = ("numpy", "torch", "onnx", "onnxruntime", "google.protobuf", "grpc", "pkg_resources", "mlagents")


class State(Enum):
    """How something is."""

    GOOD = "ok"
    NOTE = "note"  # works, but look at it
    BAD = "WRONG"


class Finding(NamedTuple):
    """One row of the table."""

    what: str
    state: State
    found: str
    remedy: str = ""  # the one command that mends it


def good(what: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(what, State.GOOD, found)


def bad(what: str, found: str, remedy: str) -> Finding:
    """Has to be mended."""
    return Finding(what, State.BAD, found, remedy)


def check_python() -> Iterable[Finding]:
    """The host reads its plugins in a way that Python 3.12 does not know, and asks for 3.10 itself."""
    found = platform.python_version()
    if sys.version_info[:2] == (3, 10):
        yield good("Python", found)
    else:
        yield bad("Python", f"{found}, expected 3.10", "uv sync --python 3.10")


def check_versions() -> Iterable[Finding]:
    """Every requirement of ours and of the host against what is installed."""
    from packaging.requirements import Requirement

    fitting: dict[str, str] = {}
    told = set()
    for owner in DISTRIBUTIONS:
        try:
            required = [Requirement(text) for text in metadata.requires(owner) or ()]
        except metadata.PackageNotFoundError:
            yield bad(owner, "not installed", f"pip install {owner}")
            continue
        for requirement in required:
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            specifier = requirement.specifier
            finding = _compare(requirement.name, str(specifier), specifier.contains)
            if finding.state is State.GOOD:
                fitting[finding.what.lower()] = finding.found
            elif finding not in told:  # several may ask for the same
                told.add(finding)
                yield finding
    yield good("versions", ", ".join(f"{name} {fitting[name]}" for name in sorted(fitting)))


def _compare(name: str, range_: str, allows: Callable[..., bool]) -> Finding:
    wanted = f'pip install "{name}{range_}"'
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return bad(name, f"not installed, expected {range_ or 'any version'}", wanted)
    # There the newest that the host allows has no wheel: docs/adr/0002.
    apple = name == "grpcio" and sys.platform == "darwin" and platform.machine() == "arm64"
    if allows(found.split("+")[0], prereleases=True) or apple:
        return good(name, found)
    return bad(name, f"{found}, expected {range_}", wanted)


def check_imports() -> Iterable[Finding]:
    """Whether libraries that are installed can be loaded, too."""
    broken = []
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except Exception as error:
            broken.append(name)
            remedy = f"pip install --force-reinstall {_distribution(name)}"
            yield bad(f"import {name}", _short(error), remedy)
    if not broken:
        yield good("imports", ", ".join(LIBRARIES))


def _distribution(module: str) -> str:
    known = {"google.protobuf": '"protobuf<3.21"', "grpc": "grpcio", "pkg_resources": '"setuptools<81"'}
    return known.get(module, module)


def check_gpu() -> Iterable[Finding]:
    """Whether torch uses the GPU that the machine has."""
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield good("GPU", f"{names} (CUDA {torch.version.cuda}); --torch-device cuda trains on it")
    elif torch.backends.mps.is_available():
        yield good("GPU", "Apple's (MPS); --torch-device mps trains on it")
    elif shutil.which("nvidia-smi") is None:
        yield good("GPU", "none seen, training runs on the processor")
    else:
        reason = (
            "this torch is built without CUDA" if torch.version.cuda is None else "its driver does not answer"
        )
        remedy = CUDA_TORCH
        if torch.version.cuda is not None:
            remedy = "nvidia-smi"
        yield Finding("GPU", State.NOTE, f"an NVIDIA driver is installed, but {reason}", remedy)


def check_plugins() -> Iterable[Finding]:
    """The host swallows what goes wrong while it loads trainers; here it is told."""
    found = False
    for entry in metadata.entry_points(group="mlagents.trainer_type"):
        ours = entry.value.startswith(f"{PACKAGE}.")
        found |= ours
        try:
            types, _ = entry.load()()
        except Exception as error:
            owner = getattr(entry, "dist", None)
            name = entry.name if owner is None else owner.metadata["Name"]
            remedy = f"pip install --force-reinstall --no-deps {name}"
            yield bad(f"plugin {entry.name}", f"cannot be loaded: {_short(error)}", remedy)
            continue
        missing = _missing_types(types) if ours else []
        if missing:
            yield bad(f"plugin {entry.name}", f"without {', '.join(missing)}", "mlagents-learn --help")
        else:
            yield good(f"plugin {entry.name}", f"{len(types)} trainer types")
    if not found:
        yield bad("plugin", f"{PACKAGE} is not registered with ML-Agents", "pip install -e .")


def _missing_types(types: dict) -> list[str]:
    from mlagents_marl_plugin.algorithms import ALGORITHMS

    return sorted(ALGORITHMS.keys() - types.keys())


def check_path() -> Iterable[Finding]:
    """Parts of a path that the host deletes."""
    from mlagents_marl_plugin.player.launchers import mangled_part

    folder = Path.cwd()
    part = mangled_part(folder)
    if part is None:
        yield good("path", str(folder))
    else:
        found = (
            f"{folder}: ML-Agents deletes {part} from --env, and does not find a build here by its full path"
        )
        yield Finding("path", State.NOTE, found, "give --env a relative path, such as unity_builds/Tennis")


def check_handshake() -> Iterable[Finding]:
    """A player of ours is started, connects, and answers a step."""
    from mlagents_envs.environment import UnityEnvironment

    from mlagents_marl_plugin.player.launchers import install

    # The player may hold its working directory for a moment after it was told to end; Windows then keeps the folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _working_in(folder):
        install(Path(folder), scenes=["Counter"])
        logs = Path(folder) / "logs"
        logs.mkdir()
        env = None
        try:
            env = UnityEnvironment(
                "Counter",  # relative: the full path may hold what the host deletes
                base_port=_free_port(),
                timeout_wait=HANDSHAKE_SECONDS,
                no_graphics=True,
                log_folder=str(logs),
            )
            env.reset()
            env.step()
            yield good("player", "connects and plays")
        except Exception as error:
            said = "".join(path.read_text(errors="replace")[-500:] for path in logs.glob("*.log"))
            found = f"does not connect: {_short(error)} {said}".strip()
            yield bad("player", found, "marl-player run Counter --mlagents-port 5005")
        finally:
            if env is not None:
                env.close()


@contextlib.contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def check_export() -> Iterable[Finding]:
    """A small model is written, run with onnxruntime and compared with torch."""
    import torch

    from mlagents_marl_plugin.adapter.export import FlatObservations, export_actor
    from mlagents_marl_plugin.core.types import ActionLayout

    actor = FlatObservations(torch.nn.Linear(3, 4, device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "Model.onnx"
        try:
            export_actor(actor, ActionLayout(2, (2,)), [(3,)], path)
            yield good("export", f"{path.stat().st_size} bytes, answers as torch does")
        except Exception as error:
            yield bad("export", _short(error), 'pip install "torch<2.9" "onnx==1.15.0" "onnxruntime<1.20"')


def check_ports() -> Iterable[Finding]:
    """The ports that the host listens on, and who else could reach them."""
    for port, which in ((EDITOR_PORT, "the Editor"), (BUILD_PORT, "builds")):
        if _is_free(port):
            yield good(f"port {port}", f"free, for {which}")
        else:
            other = f"mlagents-learn --base-port {port + 100}"
            if port == EDITOR_PORT:  # mlagents-learn takes no other one for the Editor
                other = f"end the program that listens on {port}; the Editor knows no other port"
            yield Finding(f"port {port}", State.NOTE, f"in use by another program, meant for {which}", other)
    found = "while it trains, mlagents-learn listens on all network interfaces without a password"
    yield Finding("network", State.NOTE, found, _firewall())


def _firewall() -> str:
    ports = f"{EDITOR_PORT}-{BUILD_PORT + 95}"
    if sys.platform == "win32":
        rule = 'netsh advfirewall firewall add rule name="ML-Agents" dir=in action=block protocol=TCP'
        return f"{rule} localport={ports}"
    if sys.platform == "darwin":
        return "sudo /usr/libexec/ApplicationFirewall/socketfilterfw --setglobalstate on"
    return f"sudo ufw deny {ports.replace('-', ':')}/tcp"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


CHECKS: tuple[Callable[[], Iterable[Finding]], ...] = (
    check_python,
    check_versions,
    check_imports,
    check_gpu,
    check_plugins,
    check_path,
    check_export,
    check_handshake,
    check_ports,
)
