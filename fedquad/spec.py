"""A campaign as the user describes it: one frozen tree of settings, the same in YAML, on the command line and in the Prefect form.

Each field's description shows in all three. Unknown keys are refused at every level (`__pydantic_config__` makes the form and
the edge refuse them too). Presets are YAML files of exactly this shape; what a file leaves out keeps its default:

    model: {name: mini}
    data: {name: mini-nli, train: 4000}
    arms: [{method: fedlora}, {method: "fedlora:oracle"}]
    rounds: 10
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from fedquad.errors import SpecError, quoted, shown

Scalar = bool | int | float | str
Coverage = Literal["full", "paper"]
FORBID = {"extra": "forbid", "allow_inf_nan": False}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")  # of what becomes a folder, a row of a table, a run in a UI
NAMED = "a name is a letter or digit, then at most 63 letters, digits and . _ : - (no slash, no space)"
MOST_DEVICES, MOST_EXAMPLES, MOST_ROUNDS, MOST_ARMS, MOST_SEEDS = 10**7, 10**9, 10**7, 1000, 10_000
MOST_NUMBER = 1e18  # of a method's parameter
MOST_RANK, MOST_BATCH, MOST_TOKENS, MOST_THREADS, MOST_COHORT = 2**16, 2**20, 2**20, 1024, 1024


def about(description: str, default: Any = None, factory: Any = None) -> Any:
    """A dataclass field with its one sentence."""
    if factory is not None:
        return field(default_factory=factory, metadata={"description": description})
    return field(default=default, metadata={"description": description})


def require(holds: bool, key: str, found: object, rule: str) -> None:
    if not holds:
        raise SpecError(f"{shown(key)} is {quoted(found)}, but {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The transformer that is fine-tuned, and its LoRA."""

    __pydantic_config__: ClassVar[Any] = FORBID

    name: str = about("The embedded backbone `mini`, a local folder, or a Hub name.", "mini")
    rank: int = about("LoRA rank r; methods with other ranks scale them from this one.", 8)
    alpha: float = about(
        "LoRA alpha at that rank; other ranks of a campaign train at alpha / sqrt(their rank times this one).", 8.0
    )
    dropout: float = about("LoRA dropout.", 0.1)
    targets: tuple[str, ...] = about("Modules that get LoRA; empty means query and value or their equivalents.", ())
    attention: Literal["eager", "sdpa"] = about(
        "Attention implementation; the paper's memory figures are eager's, and DeBERTa has no other.", "sdpa"
    )
    coverage: Coverage = about(
        "What INT8 reaches of a quantized layer, trained and priced: whatever it saves, or what the paper compressed.",
        "full",
    )
    precision: Literal["fp32", "tf32", "bf16"] = about("Arithmetic of training.", "fp32")
    max_length: int = about("Tokens an example is cut to.", 32)

    def __post_init__(self) -> None:
        require(bool(self.name), "model.name", self.name, "a model has a name")
        require(1 <= self.rank <= MOST_RANK, "model.rank", self.rank, f"a LoRA rank is 1 to {MOST_RANK}")
        require(self.alpha > 0, "model.alpha", self.alpha, "alpha is positive")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "it is a probability below 1")
        require(
            4 <= self.max_length <= MOST_TOKENS, "model.max_length", self.max_length, f"it is 4 to {MOST_TOKENS} tokens"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """The task, how much of it is used, and how it is split over the devices."""

    __pydantic_config__: ClassVar[Any] = FORBID

    name: str = about("The data set, by module name: mini-nli, mnli, ...", "mini-nli")
    objective: str = about(
        "What is learned of it: classification, regression, ...; empty means the data set's own.", ""
    )
    metric: str = about("What it is judged by: accuracy, f1, ...; empty means the data set's first.", "")
    source: str = about("A local folder that holds it; empty means generated, cached or from the Hub.", "")
    train: int | None = about("Training examples over all devices; empty means all there are.", None)
    validation: int | None = about("Validation examples, which choose the best round; empty means all.", None)
    test: int | None = about("Test examples, which tables report; empty means all.", None)
    partition: Literal["", "class_mix", "dirichlet", "iid", "column", "local"] = about(
        "How examples are dealt: equal sizes with a Dirichlet class mix, a Dirichlet per class, uniformly, by a column, or "
        "not at all: local, each device has its own; empty means class_mix where there are classes, and else iid.",
        "",
    )
    alpha: float = about("Dirichlet concentration; smaller is more skewed.", 10.0)
    column: str = about("The column of the natural split, for partition `column`.", "")
    evaluation: Literal["server", "devices"] = about(
        "Who scores, for partition `local`: the server by its own splits, or devices by a tenth of their own examples.",
        "server",
    )
    text_columns: tuple[str, ...] = about("Text columns of a data set without a module of its own.", ())
    label_column: str = about("Label column of a data set without a module of its own.", "")
    prompt_column: str = about("Column of what is asked, for causal_lm.", "")
    answer_column: str = about("Column of the answer to it.", "")
    messages_column: str = about(
        "Column of whole conversations, each a list of messages with a role and a content.", ""
    )

    def __post_init__(self) -> None:
        for key in ("train", "validation", "test"):
            size = getattr(self, key)
            require(
                size is None or 1 <= size <= MOST_EXAMPLES,
                f"data.{key}",
                size,
                f"a split holds at least one example and at most {MOST_EXAMPLES}",
            )
        require(self.alpha > 0, "data.alpha", self.alpha, "a Dirichlet concentration is positive")
        require(
            (self.partition == "column") == bool(self.column),
            "data.column",
            self.column,
            "it goes with partition: column, and only there",
        )
        require(
            self.evaluation == "server" or self.partition == "local",
            "data.evaluation",
            self.evaluation,
            "devices score by examples of their own, with partition: local",
        )
        for key in ("validation", "test") if self.evaluation == "devices" else ():
            require(
                getattr(self, key) is None, f"data.{key}", getattr(self, key), "devices score by all they hold back"
            )
        if self.partition == "local":
            require(self.train is None, "data.train", self.train, "with partition: local all that devices have is used")
            has_columns = (bool(self.text_columns) and bool(self.label_column)) or bool(self.conversation)
            require(
                has_columns,
                "data.partition",
                "local",
                "that needs data.text_columns and data.label_column, or the columns of conversations",
            )
        require(
            bool(self.prompt_column) == bool(self.answer_column),
            "data.answer_column",
            self.answer_column,
            "a prompt and its answer go together",
        )
        require(
            not (self.prompt_column and self.messages_column),
            "data.messages_column",
            self.messages_column,
            "a row is a prompt and an answer, or a conversation",
        )

    @property
    def conversation(self) -> tuple[str, ...]:
        """The columns of what is said, for causal_lm."""
        if self.messages_column:
            return (self.messages_column,)
        return (self.prompt_column, self.answer_column) if self.prompt_column else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """What a device does between two merges."""

    __pydantic_config__: ClassVar[Any] = FORBID

    steps: int | None = about("Local optimizer steps a round; empty means one epoch over the device's examples.", None)
    batch: int = about("Examples a step.", 8)
    learning_rate: float = about("AdamW learning rate of the first round.", 3e-3)
    schedule: Literal["cosine", "constant"] = about(
        "How the rate goes over the rounds; it is constant inside one.", "cosine"
    )
    weight_decay: float = about("AdamW weight decay.", 0.0)
    clip: float = about("Gradient norm is clipped to this; 0 means never.", 1.0)
    update_bound: float = about(
        "An update that moved a layer over so many times as far a step as the others' median is refused; 0 means never.",
        100.0,
    )
    weigh: Literal["", "examples", "tokens"] = about(
        "What a device's update counts by, besides what its method weighs: nothing, its examples, or the tokens of its answers "
        "(causal_lm).",
        "",
    )
    least_steps: float = about(
        "Fewest steps of a device whose method deals steps by time (`:paced`), as a share of those it is asked.", 0.25
    )
    most_steps: float = about("Most steps of such a device, as a multiple of those it is asked.", 8.0)
    prefix: Literal["none", "exact", "stale"] = about(
        "Keep what the frozen lower layers make of an example: never, while they cannot have changed, or for prefix_rounds.",
        "none",
    )
    depth_cap: int | None = about(
        "With a prefix: the greatest depth any method may train; empty means all layers.", None
    )
    prefix_rounds: int = about("Rounds for which a stale prefix is kept before it is computed again.", 5)
    prefix_drift: float = about(
        "A stale prefix is computed again, too, once a probe batch shows it so far off, as a share of its size; 0: never probed.",
        0.0,
    )
    prefix_bytes: int = about("Bytes of kept prefixes a training process holds at most.", 1 << 28)
    prefix_on_disk: bool = about(
        "Keep prefixes in files, where a process that was lost finds them, not in memory.", False
    )
    padding: Literal["max", "longest"] = about(
        "Pad to model.max_length (the paper's protocol) or to the batch's longest; the price is cost.sequence's either way.",
        "longest",
    )
    cohort: int | None = about(
        "The most devices of a simulated fleet that train in one stack, fewer where a batch is large; 1: no stacks; "
        "empty: 8, as far as two or more fit, but 1 with devices' own folders.",
        None,
    )
    threads: int = about("Threads of a training process; results are reproducible to the bit for 1.", 1)

    def __post_init__(self) -> None:
        require(
            self.steps is None or 1 <= self.steps <= MOST_EXAMPLES,
            "training.steps",
            self.steps,
            f"a device trains at least one step and at most {MOST_EXAMPLES}",
        )
        require(
            1 <= self.batch <= MOST_BATCH, "training.batch", self.batch, f"a batch holds 1 to {MOST_BATCH} examples"
        )
        require(self.learning_rate > 0, "training.learning_rate", self.learning_rate, "a learning rate is positive")
        require(self.weight_decay >= 0, "training.weight_decay", self.weight_decay, "it is not negative")
        require(self.clip >= 0, "training.clip", self.clip, "it is not negative")
        require(
            self.cohort is None or 1 <= self.cohort <= MOST_COHORT,
            "training.cohort",
            self.cohort,
            f"it is 1 to {MOST_COHORT}",
        )
        require(1 <= self.threads <= MOST_THREADS, "training.threads", self.threads, f"it is 1 to {MOST_THREADS}")
        require(
            0 < self.least_steps <= 1, "training.least_steps", self.least_steps, "it lies above 0, and at 1 at most"
        )
        require(1 <= self.most_steps <= 1000, "training.most_steps", self.most_steps, "it is 1 to 1000")
        require(self.update_bound >= 0, "training.update_bound", self.update_bound, "it is not negative")
        self._check_prefix()

    def _check_prefix(self) -> None:
        require(
            1 <= self.prefix_rounds <= MOST_ROUNDS, "training.prefix_rounds", self.prefix_rounds, "it is 1 to 10000"
        )
        require(
            self.prefix_drift >= 0 and (not self.prefix_drift or self.prefix == "stale"),
            "training.prefix_drift",
            self.prefix_drift,
            "it is not negative and goes with training.prefix: stale",
        )
        require(self.prefix_bytes >= 0, "training.prefix_bytes", self.prefix_bytes, "it is not negative")
        require(
            self.depth_cap is None or (self.depth_cap >= 1 and self.prefix != "none"),
            "training.depth_cap",
            self.depth_cap,
            "it is at least 1 and goes with a training.prefix",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """The devices, and how their resources change."""

    __pydantic_config__: ClassVar[Any] = FORBID

    boards: Mapping[str, int] = about(
        "How many devices of each board.",
        factory=lambda: {"jetson-agx-xavier": 3, "jetson-xavier-nx": 3, "jetson-tx2": 3},
    )
    modes: Mapping[str, tuple[str, ...]] = about(
        "Power modes that take part, by board; a board left out keeps its usual ones.", factory=dict
    )
    mode_rounds: int = about("Rounds until each device draws another power mode.", 10)
    memory: Literal["depth", "board"] = about(
        "Free memory: the bytes of a LoRA depth drawn per class and round (the paper's way), or the board's own.",
        "depth",
    )
    spread: Literal["boards", "3x", "6x", "20x"] = about(
        "Speeds from the boards' power modes, or drawn per class with this ratio of fastest to slowest.", "boards"
    )
    bandwidth: Literal["none", "3g", "4g", "wifi_testbed", "lan"] = about(
        "Network preset; none means that traffic takes no time.", "none"
    )
    availability: float = about("Probability that a device can be asked in a round.", 1.0)
    dropout: float = about("Probability that a device that was asked never answers.", 0.0)
    jitter: float = about("Standard deviation of the time really taken, relative to the predicted.", 0.0)
    trace: str = about("A FedScale-style trace of capacities and behaviour (JSON or CSV) instead of the draw.", "")
    pools: Mapping[str, str] = about(
        "Prefect work pool of each board; empty means that the fleet is simulated here.", factory=dict
    )
    join_seconds: float = about(
        "How long a campaign waits for the devices of its work pools, or a cluster's first worker, to be there.", 120.0
    )
    status_seconds: float = about("A real device whose last report is older than this is absent.", 60.0)
    exchange: str = about(
        "Where adapters pass between machines: `mlflow`, the tracking server's artifacts, or an fsspec URL.", "mlflow"
    )
    engine: Literal["local", "dask"] = about(
        "Where simulated devices train: processes of this machine, or an existing Dask cluster.", "local"
    )
    engine_address: str = about(
        "The cluster's scheduler, tcp://HOST:8786; empty means what FEDQUAD_ENGINE_ADDRESS says.", ""
    )
    deadline_seconds: float = about("A device of a work pool that has not answered by then counts as lost.", 3600.0)
    suspend_rounds: int = about(
        "Rounds for which a device is left out after two refused answers in a row; 0 means never.", 0
    )

    def __post_init__(self) -> None:
        for board, count in self.boards.items():
            require(count >= 0, f"fleet.boards.{board}", count, "a count is not negative")
        require(
            bool(self.boards) and sum(self.boards.values()) >= 1,
            "fleet.boards",
            dict(self.boards),
            "a fleet has at least one device",
        )
        require(self.size <= MOST_DEVICES, "fleet.boards", self.size, f"a fleet has at most {MOST_DEVICES} devices")
        require(
            1 <= self.mode_rounds <= MOST_ROUNDS, "fleet.mode_rounds", self.mode_rounds, f"it is 1 to {MOST_ROUNDS}"
        )
        require(0 < self.availability <= 1, "fleet.availability", self.availability, "it is a probability above 0")
        require(0 <= self.dropout < 1, "fleet.dropout", self.dropout, "it is a probability below 1")
        require(0 <= self.jitter < 1, "fleet.jitter", self.jitter, "it lies in [0, 1)")
        require(self.join_seconds >= 0, "fleet.join_seconds", self.join_seconds, "it is not negative")
        require(self.status_seconds > 0, "fleet.status_seconds", self.status_seconds, "it is positive")
        require(self.deadline_seconds > 0, "fleet.deadline_seconds", self.deadline_seconds, "it is positive")
        require(
            0 <= self.suspend_rounds <= MOST_ROUNDS,
            "fleet.suspend_rounds",
            self.suspend_rounds,
            f"it is 0 to {MOST_ROUNDS}",
        )
        require(
            self.engine == "dask" or not self.engine_address,
            "fleet.engine_address",
            self.engine_address,
            "it goes with engine: dask, and only there",
        )
        foreign = sorted(set(self.pools) - set(self.boards))
        require(not foreign, "fleet.pools", dict(self.pools), f"fleet.boards has no {', '.join(foreign)}")

    @property
    def size(self) -> int:
        return sum(self.boards.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSpec:
    """Where the constants of time and memory come from."""

    __pydantic_config__: ClassVar[Any] = FORBID

    priced_as: str = about(
        "Charge time, memory and bytes as for this model (roberta-base, roberta-large, ...); empty: the one trained.",
        "",
    )
    batch: int | None = about(
        "Batch size charged; empty means training.batch, or 32 when priced as another model.", None
    )
    sequence: int | None = about(
        "Sequence length charged; empty means model.max_length, or 128 when priced as another model.", None
    )
    quantization: Literal["paper", "roofline", "measured"] = about(
        "Seconds of INT8 activations: the paper's 0.75 c_d a layer, bytes over bandwidth, or the profile's.", "paper"
    )
    memory: Literal["analytic", "paper", "measured"] = about(
        "Bytes of activations: counted, the paper's ratios, or the profile's.", "analytic"
    )
    profile: str = about("A file that `fedquad profile` wrote, for `measured`.", "")

    def __post_init__(self) -> None:
        for key, most in (("batch", MOST_BATCH), ("sequence", MOST_TOKENS)):
            size = getattr(self, key)
            require(size is None or 1 <= size <= most, f"cost.{key}", size, f"it is 1 to {most}")
        wants = "measured" in (self.quantization, self.memory)
        require(
            wants == bool(self.profile),
            "cost.profile",
            self.profile,
            "a profile goes with `measured`, and only with it",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSpec:
    """One method of the comparison."""

    __pydantic_config__: ClassVar[Any] = FORBID

    method: str = about(
        "Method, with its variant after a colon: fedlora, fedlora:oracle, or a file.py of one's own.", "fedlora"
    )
    label: str = about("Name of the arm in tables and folders; empty means the method's.", "")
    params: Mapping[str, Scalar] = about("The method's hyper-parameters.", factory=dict)
    memory_policy: Literal["default", "strict", "flag"] = about(
        "What happens to an assignment that exceeds its device's memory: refused, or run and counted; default is the method's.",
        "default",
    )

    def __post_init__(self) -> None:
        require(bool(self.method), "arms.method", self.method, "an arm has a method")
        require(bool(NAME.fullmatch(self.name)), "arms.label", self.name, NAMED)
        for key, value in self.params.items():
            is_in_range = isinstance(value, str) or abs(value) <= MOST_NUMBER
            require(is_in_range, f"arms.params.{key}", value, f"a number is at most {MOST_NUMBER:g}, either way")

    @property
    def name(self) -> str:
        return self.label or self.method.rsplit("/", 1)[-1].removesuffix(".py")


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignSpec:
    """Methods compared on one model, task and fleet, over seeds."""

    __pydantic_config__: ClassVar[Any] = FORBID

    model: ModelSpec = about("The transformer and its LoRA.", factory=ModelSpec)
    data: DataSpec = about("The task and its split.", factory=DataSpec)
    fleet: FleetSpec = about("The devices.", factory=FleetSpec)
    cost: CostSpec = about("Constants of time and memory.", factory=CostSpec)
    training: TrainingSpec = about("Local training.", factory=TrainingSpec)
    arms: tuple[ArmSpec, ...] = about("The methods compared.", factory=lambda: (ArmSpec(),))
    seeds: tuple[int, ...] = about("Each arm runs once a seed.", (0,))
    rounds: int = about("Rounds an arm runs at most.", 10)
    stop: Literal["rounds", "target"] = about("Run all rounds, or end an arm once it reaches the target.", "rounds")
    target: float | None = about(
        "Score that speed is compared at, by the metric of data.metric; empty means the least of the arms' best.", None
    )
    target_accuracy: float | None = about("The target by its older name, where that metric is accuracy.", None)
    participation: float = about("Share of the available devices that is asked each round.", 1.0)
    quorum: float = about("Share of the asked devices that must answer; a round below it is tried once more.", 0.5)
    keep_every: int = about(
        "Keep the state of every so many rounds, besides the last two and the best; 0 keeps no others.", 0
    )

    def __post_init__(self) -> None:
        require(
            1 <= len(self.arms) <= MOST_ARMS,
            "arms",
            len(self.arms),
            f"a campaign has at least one arm and at most {MOST_ARMS}",
        )
        names = [arm.name for arm in self.arms]
        require(len(set(names)) == len(names), "arms", names, "each arm needs a label of its own")
        require(
            len(self.seeds) >= 1 and len(set(self.seeds)) == len(self.seeds),
            "seeds",
            self.seeds,
            "seeds are distinct, at least one",
        )
        require(len(self.seeds) <= MOST_SEEDS, "seeds", len(self.seeds), f"there are at most {MOST_SEEDS}")
        require(
            all(0 <= seed < 2**63 for seed in self.seeds), "seeds", self.seeds, "a seed is not negative, and below 2^63"
        )
        require(
            1 <= self.rounds <= MOST_ROUNDS,
            "rounds",
            self.rounds,
            f"a campaign has at least one round and at most {MOST_ROUNDS}",
        )
        self._check_places()
        require(0 < self.participation <= 1, "participation", self.participation, "it lies in (0, 1]")
        require(0 < self.quorum <= 1, "quorum", self.quorum, "it lies in (0, 1]")
        require(0 <= self.keep_every <= MOST_ROUNDS, "keep_every", self.keep_every, f"it is 0 to {MOST_ROUNDS}")
        accuracy = self.target_accuracy
        require(accuracy is None or 0 < accuracy <= 1, "target_accuracy", accuracy, "an accuracy lies in (0, 1]")
        require(accuracy is None or self.target is None, "target_accuracy", accuracy, "the target is given once")
        require(
            self.target is None or abs(self.target) <= MOST_NUMBER,
            "target",
            self.target,
            f"it is at most {MOST_NUMBER:g}",
        )
        require(
            self.stop == "rounds" or self.goal is not None, "stop", self.stop, "stopping at the target needs a target"
        )

    def _check_places(self) -> None:
        """Where devices and their data are."""
        are_elsewhere = set(self.fleet.boards) <= set(self.fleet.pools)  # all devices, each with a folder of its own
        require(
            self.data.partition != "local" or bool(self.data.source) or are_elsewhere,
            "data.source",
            self.data.source,
            "with partition: local it is the folder that holds devices/BOARD/NAME, validation and test",
        )
        require(
            not self.fleet.pools or self.data.partition == "local",
            "data.partition",
            self.data.partition,
            "real devices (fleet.pools) have data of their own: it is `local`",
        )
        require(
            self.training.cohort in (None, 1) or not self.fleet.pools,
            "training.cohort",
            self.training.cohort,
            "real devices (fleet.pools) train each alone: it is 1",
        )
        require(
            not self.training.prefix_drift or not self.fleet.pools or self.data.evaluation == "server",
            "training.prefix_drift",
            self.training.prefix_drift,
            "its probe batch is of the server's validation split: data.evaluation is `server`",
        )

    @property
    def goal(self) -> float | None:
        """The target, by either name."""
        return self.target_accuracy if self.target is None else self.target
