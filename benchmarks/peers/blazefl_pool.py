"""The same in BlazeFL: a pool of two processes, forked for each round from one that holds the model; tensors in shared memory.

python blazefl_pool.py TASK       # of BlazeFL's environment, whose Python is 3.12 or newer
"""

import sys
from pathlib import Path
from typing import Any

import torch.multiprocessing
from blazefl.core import BaseServerHandler, IPCMode, ProcessPoolClientTrainer, process_tensors_in_object
from task import State, Task, Trainer, mean, say

PROCESSES = 2
TRAINER: Trainer  # of this process before it forks, and so of those that train


class Server(BaseServerHandler[State, State]):
    """Averages what came back, once all of a round is there."""

    def __init__(self, state: State, task: Task) -> None:
        self.state, self.task, self.round = state, task, 0
        self.came: list[State] = []

    def downlink_package(self) -> State:
        return self.state

    def sample_clients(self) -> list[int]:
        return list(range(self.task.clients))

    def if_stop(self) -> bool:
        return self.round >= self.task.rounds

    def load(self, payload: State) -> bool:
        self.came.append(payload)
        if len(self.came) < self.task.clients:
            return False
        self.global_update(self.came)
        return True

    def global_update(self, buffer: list[State]) -> None:
        self.state, self.came, self.round = mean(buffer), [], self.round + 1


class Clients(ProcessPoolClientTrainer[State, State, int]):
    """A round's clients, each trained by whichever process is free."""

    def __init__(self, state: State) -> None:
        self.num_parallels, self.device, self.device_count = PROCESSES, "cpu", 0
        self.share_dir, self.ipc_mode = Path(), IPCMode.SHARED_MEMORY
        self.stop_event = torch.multiprocessing.Manager().Event()
        self.cache, self.shape = [], state

    def get_client_config(self, cid: int) -> int:
        return cid

    def prepare_uplink_package_buffer(self) -> State:
        return {name: torch.empty_like(value) for name, value in self.shape.items()}

    @staticmethod
    def worker(config: int, payload: State, device: str, stop_event: Any, *, shm_buffer: State) -> State:  # type: ignore[override]
        TRAINER.train(payload, config)
        for name, value in TRAINER.state().items():
            shm_buffer[name].copy_(value)
        return process_tensors_in_object(shm_buffer, mode="replace")

    def uplink_package(self) -> list[State]:
        came, self.cache = self.cache, []
        return came


def main() -> None:
    global TRAINER
    task = Task.read(sys.argv[1])
    TRAINER = Trainer(task)
    server, clients = Server(TRAINER.state(), task), Clients(TRAINER.state())
    say("ready")
    while not server.if_stop():
        clients.local_process(server.downlink_package(), server.sample_clients())
        for package in clients.uplink_package():
            server.load(package)
        say("round")


if __name__ == "__main__":
    main()
