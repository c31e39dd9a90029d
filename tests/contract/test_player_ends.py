"""A player never outlives its trainer, and says why it ended."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mlagents_envs.communicator_objects.command_pb2 import QUIT, RESET
from mlagents_envs.communicator_objects.unity_input_pb2 import UnityInputProto
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.exception import UnityCommunicatorStoppedException, UnityEnvironmentException
from mlagents_envs.rpc_communicator import RpcCommunicator

from mlagents_marl_plugin.player.faults import CRASH_EXIT_CODE
from tests.contract.host import free_port, launcher
from tests.contract.playing import PATIENCE, TIMEOUT, alive, environment, player, run_player, wait_until

TRAINER = """
import sys, time
from mlagents_envs.environment import UnityEnvironment
played = UnityEnvironment(sys.argv[1], base_port=int(sys.argv[2]), log_folder=sys.argv[3])
played.reset()
played.step()
print(played._process.pid, flush=True)
time.sleep(600)
"""

# What mlagents-learn is on Linux: a trainer whose forked worker holds a copy of the trainer's end of a pipe.
FORKING_TRAINER = f"""
import multiprocessing, time
here, there = multiprocessing.Pipe()
def worker():
    {TRAINER.replace("time.sleep(600)", "there.recv()").replace(chr(10), chr(10) + "    ")}
multiprocessing.get_context("fork").Process(target=worker).start()
time.sleep(600)
"""


def start_trainer(script, folder, **kwargs):
    """A trainer in a process of its own and the process id of its player."""
    arguments = [str(launcher(folder, "Tennis")), str(free_port(1)), str(folder)]
    trainer = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, **kwargs
    )
    assert trainer.stdout is not None
    line = next(line for line in trainer.stdout if line.strip().isdigit())
    return trainer, int(line)


def log_of(folder):
    return (folder / "Player-0.log").read_text()


def test_a_killed_trainer_takes_its_player_along(tmp_path):
    trainer, pid = start_trainer(TRAINER, tmp_path)
    assert alive(pid)
    trainer.kill()
    trainer.wait()
    assert wait_until(lambda: not alive(pid))
    assert "Ending: the trainer is gone (UNAVAILABLE" in log_of(tmp_path)


class TestForkedWorker:
    __test__ = sys.platform == "linux"

    def test_a_killed_trainer_whose_worker_lives_on_takes_its_player_along(self, tmp_path):
        trainer, pid = start_trainer(FORKING_TRAINER, tmp_path, start_new_session=True)
        try:
            worker = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            trainer.kill()
            trainer.wait()
            assert wait_until(lambda: not alive(pid))
            assert alive(worker)
            assert f"Ending: the trainer's process {trainer.pid} is gone." in log_of(tmp_path)
            assert "Played 1 steps" in log_of(tmp_path), "the scene is closed, and with it what it started"
        finally:
            os.killpg(trainer.pid, signal.SIGKILL)


def test_nobody_listens():
    port = free_port(1)
    done = run_player("run", "Tennis", "--mlagents-port", str(port), "--wait", "0.2")
    assert done.returncode == 1
    assert f"nobody listens on port {port} (waited 0.2 s); start mlagents-learn first" in done.stderr


def test_nobody_listens_is_written_to_the_log_file(tmp_path):
    run_player(
        "play",
        "Tennis",
        "--mlagents-port",
        str(free_port(1)),
        "--wait",
        "0",
        "-logFile",
        str(tmp_path / "a.log"),
    )
    assert "start mlagents-learn first" in (tmp_path / "a.log").read_text()


def test_something_else_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                caller.sendall(b"220 this is no trainer\\r\\n")
                caller.close()

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        done = run_player("run", "Tennis", "--mlagents-port", str(port))
        server.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 1
    assert f"what listens on port {port} did not answer as an ML-Agents trainer" in done.stderr


class Host:
    """The host's server alone, to send what UnityEnvironment never sends."""

    def __init__(self, folder):
        port = free_port(1)
        self.communicator = RpcCommunicator(0, port, TIMEOUT)
        self.log = folder / "player.log"
        arguments = ["run", "Tennis", "--mlagents-port", str(port), "-logFile", str(self.log)]
        self.player = subprocess.Popen(player(*arguments), stderr=subprocess.PIPE, text=True)

    def send(self, inputs):
        """Answer the player's pending call, without waiting for its next one."""
        message = UnityMessageProto()
        message.header.status = 200
        message.unity_input.CopyFrom(inputs)
        self.communicator.poll_for_timeout()
        self.communicator.unity_to_external.parent_conn.recv()
        self.communicator.unity_to_external.parent_conn.send(message)

    def initialise(self, **settings):
        inputs = UnityInputProto()
        for name, value in {"communication_version": "1.5.0", "num_areas": 1, **settings}.items():
            setattr(inputs.rl_initialization_input, name, value)
        self.send(inputs)

    def command(self, command):
        inputs = UnityInputProto()
        inputs.rl_input.command = command
        self.send(inputs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.communicator.close()
        self.player.communicate(timeout=TIMEOUT)


def test_quit(tmp_path):
    with Host(tmp_path) as host:
        host.initialise()
        host.command(RESET)
        host.command(QUIT)
        assert host.player.wait(TIMEOUT) == 0
    assert "Ending: the trainer sent QUIT." in host.log.read_text()


def test_another_major_version_of_the_protocol_is_refused(tmp_path):
    with Host(tmp_path) as host:
        host.initialise(communication_version="2.0.0")
        assert host.player.wait(TIMEOUT) == 1
    assert "handshake: expected protocol 1.5.0, got 2.0.0; use mlagents 1.1.0" in host.log.read_text()


def test_a_host_that_knows_no_areas_gets_one(tmp_path):
    with Host(tmp_path) as host:
        host.initialise(num_areas=0)
        host.command(RESET)
        reported = host.communicator.unity_to_external.parent_conn.recv().unity_output.rl_output
        assert len(reported.agentInfos["Tennis?team=0"].value) == 2


@pytest.mark.parametrize("once", [False, True])
def test_a_crash_on_demand_is_a_dead_player_to_the_host(tmp_path, once):
    options = ["--fault-after", "3", *(["--fault-once", str(tmp_path / "crashed")] if once else [])]
    with environment(tmp_path, "Tennis", *options, timeout_wait=PATIENCE) as played:
        played.reset()
        process = played._process
        played.step()
        played.step()
        with pytest.raises(UnityEnvironmentException, match=f"return code {CRASH_EXIT_CODE}"):
            played.step()
        assert process.returncode == CRASH_EXIT_CODE
    if once:
        with environment(tmp_path, "Tennis", *options, timeout_wait=PATIENCE) as played:
            played.reset()
            for _ in range(5):
                played.step()


class TestInterrupt:
    """Ctrl-C, where a process can be sent it."""

    __test__ = os.name == "posix"

    def test_stop_of_play_is_a_stop_of_the_editor(self):
        port = free_port(1)
        command = player("play", "Tennis", "--mlagents-port", str(port))
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as playing:
            played = UnityEnvironment(base_port=port, timeout_wait=TIMEOUT)
            played.reset()
            playing.send_signal(signal.SIGINT)
            _, told = playing.communicate(timeout=TIMEOUT)
            with pytest.raises(UnityCommunicatorStoppedException):
                for _ in range(3):
                    played.step()
            played.close()
        assert playing.returncode == 0
        assert "Stopped." in told

    def test_a_launched_player_leaves_ctrl_c_to_its_trainer(self, tmp_path):
        with environment(tmp_path, "Tennis") as played:
            played.reset()
            played._process.send_signal(signal.SIGINT)
            for _ in range(3):
                played.step()
            assert played._process.poll() is None
