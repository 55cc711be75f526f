"""What one writes without a framework: two processes, each with one peft model and half of the clients; the mean of what came back.

python loop.py TASK
"""

import multiprocessing
import sys
from multiprocessing.connection import Connection

from task import State, Task, Trainer, mean, say

PROCESSES = 2


def work(pipe: Connection, task: Task, clients: range) -> None:
    trainer = Trainer(task)
    pipe.send(trainer.state())
    while (state := pipe.recv()) is not None:
        states, losses = [], []
        for client in clients:
            losses.append(trainer.train(state, client))
            states.append(trainer.state())
        pipe.send((mean(states), sum(losses)))


def main() -> None:
    task = Task.read(sys.argv[1])
    spawn = multiprocessing.get_context("spawn")
    pipes = []
    for at in range(PROCESSES):
        here, there = spawn.Pipe()
        spawn.Process(target=work, args=(there, task, range(at, task.clients, PROCESSES)), daemon=True).start()
        pipes.append(here)
    starts: list[State] = [pipe.recv() for pipe in pipes]
    state = starts[0]
    say("ready")
    for _ in range(task.rounds):
        for pipe in pipes:
            pipe.send(state)
        answers = [pipe.recv() for pipe in pipes]
        state = mean([answer for answer, _ in answers])
        say("round", loss=sum(loss for _, loss in answers) / task.clients)
    for pipe in pipes:
        pipe.send(None)


if __name__ == "__main__":
    main()
