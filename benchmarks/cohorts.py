"""What does a stack give? Client trainings a second of CPU in whole rounds: each device alone, in cohorts, and a hand-written loop.

    python -m benchmarks.cohorts            # about 15 minutes on two cores; writes cohorts.csv
    python -m benchmarks.cohorts --json     # prints [{"setting": ..., "way": ..., "trainings_per_cpu_second": ...}]

A training is 8 steps, LoRA of rank 8 on query and value, dropout 0.1. `mini` has 12 layers of width 64, batch 8 and 32 tokens;
`encoder` 6 of 384, random weights, batch 16 and 48 tokens. `mixed` devices train 3, 6, 9 or 12 layers, in the loop too.

A round is planned, dispatched, merged, scored on 32 examples and committed as in any campaign; counted is the CPU time of the
coordinator and its one training process. The loop holds one peft model: load the global adapter, take the steps, add up what
came of it; nothing is planned, checked or stored. Ways take turns, each with one thread; medians. Two processes on two idle
cores have twice a row's rate.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.rows import arguments, record
from fedquad.learn import tokens
from fedquad.learn.source import BACKBONES, locate
from fedquad.spec import ArmSpec, CampaignSpec, DataSpec, FleetSpec, ModelSpec, TrainingSpec
from fedquad.strategies.fedlora import top_layers
from tasks import prepare
from tasks.round import play
from tasks.session import Arm

STEPS, FEW = 8, 4
EVERY = ("alone", "cohorts", "loop")


@dataclass(frozen=True)
class Setting:
    name: str
    clients: int
    depths: tuple[int, ...]  # in turn
    model: str = "mini"
    batch: int = 8
    tokens: int = 32
    turns: int = 3
    in_loop: int = 10  # clients of the loop's turn
    most: int = 8  # devices of a stack
    ways: tuple[str, ...] = EVERY

    def depth(self, client: int) -> int:
        return self.depths[client % len(self.depths)]


SETTINGS = (
    Setting("mini", 10, (12,), turns=5),
    Setting("mini", 100, (12,), ways=("cohorts", "loop")),
    Setting("mini mixed", 100, (3, 6, 9, 12), in_loop=12, ways=("cohorts", "loop")),
    Setting("encoder", 4, (6,), model="encoder", batch=16, tokens=48, in_loop=2, most=1),
)


def encoder(folder: Path, width: int = 384, layers: int = 6, positions: int = 66) -> Path:
    """A random encoder, of a real one's width unless asked otherwise, that reads with the embedded backbone's tokenizer."""
    from transformers import RobertaConfig, RobertaModel

    heads = max(1, width // 64)
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    config = RobertaConfig(
        vocab_size=190, max_position_embeddings=positions, pad_token_id=1, type_vocab_size=1, num_attention_heads=heads,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(folder)
    for file in (BACKBONES / "mini").glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


def spec_of(setting: Setting, model: str) -> CampaignSpec:
    examples = setting.clients * STEPS * setting.batch
    return CampaignSpec(
        model=ModelSpec(name=model, max_length=setting.tokens),
        data=DataSpec(train=examples, validation=32, test=32, partition="iid"),
        fleet=FleetSpec(boards={"jetson-tx2": setting.clients}),
        training=TrainingSpec(steps=STEPS, batch=setting.batch, padding="max", cohort=setting.most, update_bound=0),
        arms=(ArmSpec(method="fedlora:oracle"),),
        rounds=2 * setting.turns + 2,
    )


class Loop:
    """What one would write without any framework."""

    def __init__(self, setting: Setting, model: str, data: tokens.Encoded) -> None:
        from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
        from transformers import AutoModelForSequenceClassification

        self.setting = setting
        base = AutoModelForSequenceClassification.from_pretrained(
            locate(model), num_labels=3, attn_implementation="sdpa", dtype=torch.float32
        )
        lora = LoraConfig(r=8, lora_alpha=8, lora_dropout=0.1, target_modules=["query", "value"], task_type="SEQ_CLS")
        self.model: Any = get_peft_model(base, lora)
        self.state = {name: value.clone() for name, value in get_peft_model_state_dict(self.model).items()}
        self.learning = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.layers = base.config.num_hidden_layers
        width = setting.tokens
        self.ids = torch.from_numpy(data.input_ids[:, :width].astype(np.int64))
        self.mask = torch.from_numpy(data.attention_mask[:, :width].astype(np.int64))
        self.labels = torch.from_numpy(data.labels)

    def round(self) -> None:
        from peft import get_peft_model_state_dict

        total = {name: torch.zeros_like(value) for name, value in self.state.items()}
        for client in range(self.setting.in_loop):
            self.train(client, client * STEPS * self.setting.batch)
            for name, value in get_peft_model_state_dict(self.model).items():
                total[name] += value
        self.state = {name: value / self.setting.in_loop for name, value in total.items()}

    def train(self, client: int, first: int) -> None:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, self.state)
        self.model.train()
        lowest = self.layers - self.setting.depth(client)
        for name, parameter in self.learning.items():
            number = name.partition("layer.")[2].partition(".")[0]
            parameter.requires_grad_(not number or int(number) >= lowest)
        trained = [parameter for parameter in self.learning.values() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.0)
        order = first + torch.randperm(STEPS * self.setting.batch)
        for rows in order.split(self.setting.batch):
            optimizer.zero_grad()
            logits = self.model(input_ids=self.ids[rows], attention_mask=self.mask[rows]).logits
            functional.cross_entropy(logits, self.labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()


def tree_seconds(process: int) -> float:
    """CPU seconds of a process and of all that it started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(tree_seconds(int(child)) for child in children)


async def measured(setting: Setting, model: str) -> dict[str, list[float]]:
    """Seconds of CPU a training, each way, turn by turn."""
    spec = spec_of(setting, model)
    found: dict[str, list[float]] = {way: [] for way in setting.ways}
    async with prepare.opened(spec, f"{setting.name}-{setting.clients}".replace(" ", "-")) as session:
        arm, count = prepare.open_arm(session, "fedlora:oracle", 0), FEW

        def plan(state: Any, statuses: Any, world: Any, rng: Any) -> Any:
            devices = statuses.participants[:count]
            return tuple(top_layers(world, device, setting.depth(device), state.round + 1) for device in devices)

        arm.strategy = replace(arm.strategy, plan=plan)
        data = tokens.read(Path(session.data["splits"]["train"]["path"]))
        loop = Loop(setting, model, data)
        for turn in range(setting.turns + 1):
            for way in setting.ways:
                if way == "loop":
                    took = of(loop.round) / setting.in_loop
                else:
                    took = await one_round(arm, setting.most if way == "cohorts" else 0) / count
                if turn:  # the first, of a few devices, finds nothing in place
                    found[way].append(took)
            count = setting.clients
    return found


async def one_round(arm: Arm, cohort: int) -> float:
    arm.world = replace(arm.world, cohort=cohort)
    before = tree_seconds(os.getpid())
    await play(arm)
    return tree_seconds(os.getpid()) - before


def of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def rows() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDQUAD_HOME"] = folder
        prepare.cores = lambda threads: 1  # type: ignore[attr-defined]
        for setting in SETTINGS:
            model = "mini" if setting.model == "mini" else str(encoder(Path(folder) / "encoder"))
            seconds = asyncio.run(measured(setting, model))
            for way, each in seconds.items():
                found.append(
                    {
                        "setting": setting.name,
                        "clients": setting.clients,
                        "way": way,
                        "turns": len(each),
                        "trainings_per_cpu_second": round(1 / median(each), 2),
                        "times_the_loop": round(median(a / b for a, b in zip(seconds["loop"], each)), 2),
                    }
                )
    return found


def main() -> None:
    as_json = arguments(__doc__).parse_args().json
    record("cohorts", rows(), as_json=as_json)


if __name__ == "__main__":
    main()
