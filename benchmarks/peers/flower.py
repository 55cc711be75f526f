"""The same in Flower's simulation: a Ray actor on each core, which keeps its model.

python flower.py TASK
"""

import builtins
import sys

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from task import Task, Trainer, say

TASK = Task.read(sys.argv[1])
client, server = ClientApp(), ServerApp()


def trainer() -> Trainer:
    """This process's model, loaded once: the app is unpickled anew for each message, the process stays."""
    if not hasattr(builtins, "_trainer"):
        builtins._trainer = Trainer(TASK)  # type: ignore[attr-defined]
    found: Trainer = builtins._trainer  # type: ignore[attr-defined]
    return found


@client.train()
def train(message: Message, context: Context) -> Message:
    mine = trainer()
    loss = mine.train(message.content["arrays"].to_torch_state_dict(), int(context.node_config["partition-id"]))
    metrics = MetricRecord({"loss": loss, "num-examples": TASK.steps * TASK.batch})
    return Message(content=RecordDict({"arrays": ArrayRecord(mine.state()), "metrics": metrics}), reply_to=message)


@server.main()
def serve(grid: Grid, context: Context) -> None:
    def note(round: int, arrays: ArrayRecord) -> MetricRecord:
        say("round" if round else "ready")
        return MetricRecord({"round": float(round)})

    every = TASK.clients
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=every, min_train_nodes=every)
    start = ArrayRecord(Trainer(TASK).state())
    strategy.start(grid=grid, initial_arrays=start, num_rounds=TASK.rounds, evaluate_fn=note)


if __name__ == "__main__":
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=TASK.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
