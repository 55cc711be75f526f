"""One round, planned without training: what each device would be given, its cost, and how other rules compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fedquad.errors import SpecError
from fedquad.fleets import fleet as fleets
from fedquad.fleets.boards import Board
from fedquad.fleets.replay import Replay
from fedquad.fleets.trace import Trace
from fedquad.planning import explain, forecast
from fedquad.planning.forecast import Round
from fedquad.prices.cost import Constants, CostModel, estimate
from fedquad.rounds import acs
from fedquad.rounds.acs import SKIP, Choices, Devices, Settings
from fedquad.rounds.strategy import World
from fedquad.spec import CampaignSpec, FleetSpec, TrainingSpec
from fedquad.strategies.fedlora import top_layers
from fedquad.types import Assignment, CostEstimate, Floats, Ints, Statuses

SPREADS = ("3x", "6x", "20x")
PLAYED_ROUNDS = 20  # of each spread
RULES: Mapping[str, str] = {
    "fedlora": "FedLoRA",
    "literal": "literal",
    "default": "default",
    "deadline": "deadline",
    "paced": "paced",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """What is to be planned: a fleet, drawn or described, its steps, and what is known of the round before."""

    cost: CostModel
    settings: Settings
    round: int
    seed: int
    steps: Ints  # of each device's round
    training: TrainingSpec
    gradient_norms: Floats
    fleet: fleets.Fleet | None  # none: the statuses were described
    names: tuple[str, ...]
    statuses: Statuses
    mean_seconds: float | None  # t_avg; none: forecast

    @property
    def there(self) -> Ints:
        return np.flatnonzero(self.statuses.available)

    @property
    def devices(self) -> Devices:
        """The devices that can be asked, in ACS's terms."""
        return acs.describe(self.cost, self.statuses, self.steps[self.there], self.there)

    @property
    def usual_steps(self) -> int:
        """Of the device in the middle, where they differ."""
        return int(np.median(self.steps))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The plan: a row for each device that can be asked."""

    question: Question
    devices: Devices
    mean_seconds: float
    choices: Choices
    steps: Ints  # of each device


def drawn(
    spec: CampaignSpec, cost: CostModel, boards: Mapping[str, Board], trace: Trace | Replay | None, round: int
) -> tuple[fleets.Fleet, tuple[str, ...], Statuses]:
    """The campaign's fleet, its devices' names and its statuses in a round of the first seed."""
    fleet = fleets.resolve(spec.fleet, boards, trace)
    statuses = fleets.draw(fleet, cost, spec.seeds[0], round)
    return fleet, tuple(str(device) for device in range(len(fleet))), statuses


def settings_of(spec: CampaignSpec, rule: str | None) -> Settings:
    """ACS as the campaign's FedQuad arm has it, or the rule asked for."""
    arm = next((arm for arm in spec.arms if arm.method.partition(":")[0] == "fedquad"), None)
    variant, params = (arm.method.partition(":")[2], arm.params) if arm else ("", {})
    known = {key: value for key, value in params.items() if key not in ("is_quantizing", "merge")}
    return replace(acs.settings(rule or variant, **known), least=spec.training.least_steps)  # type: ignore[arg-type]


def steps_of(spec: CampaignSpec, examples: int | Sequence[int] | None, devices: int) -> Ints:
    """Steps of each device's round; `examples` are dealt out evenly, or are each device's own."""
    if spec.training.steps:
        return np.full(devices, spec.training.steps)
    total = spec.data.train or examples
    if not total:
        raise SpecError(
            f"data.train is empty and how many examples {spec.data.name!r} has is not known; give it, or training.steps"
        )
    each = np.full(devices, total // devices) if isinstance(total, int) else np.asarray(total)
    steps: Ints = np.maximum(1, -(-each // spec.training.batch))
    return steps


def answer(question: Question) -> Answer:
    """Choose for every device; t_avg is forecast from the rounds before where it is not given."""
    devices, mean = question.devices, question.mean_seconds
    if mean is None:
        mean = _forecast(question, devices)
    choices, steps = _choose(question, question.settings, devices, mean)
    return Answer(question=question, devices=devices, mean_seconds=mean, choices=choices, steps=steps)


def _choose(question: Question, rule: Settings | None, devices: Devices, mean_seconds: float) -> tuple[Choices, Ints]:
    """What a rule gives every device, and the steps that it takes."""
    choices = forecast.select(rule, devices, question.cost.constants, question.gradient_norms, mean_seconds)
    steps = question.steps[question.there]
    if rule is None or rule.rule != "paced":
        return choices, steps
    return forecast.in_time(choices, question.cost, question.statuses, question.there, steps, question.training)


def _forecast(question: Question, devices: Devices) -> float:
    if question.round == 1:
        return 0.0
    if question.fleet is None:  # a described fleet stays as it is
        first = acs.choose_unquantized(devices, question.cost.constants, question.cost.layers)
        return forecast.summarize(first, question.cost.layers).mean_seconds
    before = _play(question, question.fleet, question.settings, question.round - 1)
    return before[-1].mean_seconds


def _play(question: Question, fleet: fleets.Fleet, rule: Settings | None, rounds: int) -> tuple[Round, ...]:
    return forecast.forecast(
        fleet,
        question.cost,
        rule,
        seed=question.seed,
        rounds=rounds,
        steps=question.steps,
        gradient_norms=question.gradient_norms,
        training=question.training,
    )


def rule_of(name: str, settings: Settings) -> Settings | None:
    """The settings under another rule; FedLoRA has none."""
    return None if name == "fedlora" else replace(settings, rule=name)  # type: ignore[arg-type]


def compare(planned: Answer) -> dict[str, Round]:
    """This round under every rule."""
    question = planned.question
    chosen = {
        name: _choose(question, rule_of(name, question.settings), planned.devices, planned.mean_seconds)[0]
        for name in RULES
    }
    return {name: forecast.summarize(choices, question.cost.layers) for name, choices in chosen.items()}


def spreads(planned: Answer, boards: Mapping[str, Board]) -> dict[str, dict[str, Round]]:
    """Mean rounds of the same fleet under every rule, its speeds spread wider and wider; none for a described fleet."""
    question = planned.question
    if question.fleet is None or question.fleet.trace is not None:
        return {}
    found = {}
    for spread in SPREADS:
        spec: FleetSpec = replace(question.fleet.spec, spread=spread, modes={})  # type: ignore[arg-type]
        fleet = fleets.resolve(spec, boards)
        found[spread] = {
            name: _mean(_play(question, fleet, rule_of(name, question.settings), PLAYED_ROUNDS)) for name in RULES
        }
    return found


def _mean(rounds: Iterable[Round]) -> Round:
    columns = [asdict(one) for one in rounds]
    return Round(**{key: float(np.mean([column[key] for column in columns])) for key in columns[0]})


def assignment(planned: Answer, row: int) -> Assignment:
    """What the device in a row is told."""
    question, choices = planned.question, planned.choices
    world = World(
        layers=question.cost.layers,
        rank=question.cost.rank,
        cost=question.cost,
        training=TrainingSpec(steps=int(planned.steps[row]) or 1),
        examples=np.ones(len(question.statuses), dtype=np.int64),
        rounds=1,
    )
    depth, quantized = int(choices.depth[row]), int(choices.quantized[row])
    return top_layers(world, int(question.there[row]), depth, 1, quantized)


def estimate_of(planned: Answer, row: int) -> CostEstimate | None:
    """What that would cost; nothing for a device that is left out."""
    if planned.choices.fallback[row] == SKIP:
        return None
    question = planned.question
    one = assignment(planned, row)
    return estimate(one, question.cost, question.statuses[one.device])


def explained(planned: Answer, row: int) -> tuple[explain.Candidate, ...]:
    """Every candidate of the device in a row."""
    question = planned.question
    return explain.explain(
        row,
        planned.devices,
        planned.choices,
        question.cost.constants,
        question.settings,
        question.gradient_norms,
        planned.mean_seconds,
    )


def round_constants(cost: CostModel, steps: int) -> Constants:
    """Eq. 6 for a whole round, so that Eq. 7 gives its seconds as printed; c_a is 0 when it is charged as traffic."""
    k = cost.constants
    return replace(k, c_f=steps * k.c_f, c_d=steps * k.c_d, c_a=steps * k.c_a)
