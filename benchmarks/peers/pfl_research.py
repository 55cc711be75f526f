"""The same in pfl-research: two processes under torchrun, which share a round's users and reduce their sums.

torchrun --nproc-per-node 2 pfl_research.py TASK
"""

import os
import sys

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from task import Task, Trainer, say

IS_FIRST = os.environ.get("RANK", "0") == "0"


class Rounds(TrainingProcessCallback):
    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        if IS_FIRST:
            say("round")
        return False, Metrics()


def main() -> None:
    task = Task.read(sys.argv[1])
    trainer = Trainer(task)
    network = trainer.model
    network.loss = lambda ids, mask, labels: (network.train(), trainer.loss(ids, mask, labels))[1]
    network.metrics = lambda *rows: {}
    learning = list(trainer.learning.values())
    model = PyTorchModel(
        model=network,
        local_optimizer_create=lambda _, lr: torch.optim.AdamW(learning, lr=lr, weight_decay=0.0),
        central_optimizer=torch.optim.SGD(learning, lr=1.0),
    )
    each = task.steps * task.batch

    def user(name: int) -> Dataset:
        rows = slice(name * each, (name + 1) * each)
        return Dataset([trainer.ids[rows], trainer.mask[rows], trainer.labels[rows]], user_id=str(name))

    users = FederatedDataset(user, get_user_sampler("minimize_reuse", list(range(task.clients))))
    np.random.seed(0)
    if IS_FIRST:
        say("ready")
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            evaluation_frequency=task.rounds + 1,
            train_cohort_size=task.clients,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=users, val_data=users),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_learning_rate=3e-3, local_num_epochs=1, local_batch_size=task.batch, local_max_grad_norm=1.0
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[Rounds()],
    )


if __name__ == "__main__":
    main()
