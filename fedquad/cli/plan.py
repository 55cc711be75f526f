"""`fedquad plan`: what each device would be given and why. Draws the fleet, prices and selects; trains nothing."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedquad.objective import Objective
    from fedquad.planning.planning import Answer, Question
    from fedquad.prices.cost import CostModel
    from fedquad.spec import CampaignSpec, DataSpec

FIRST_DECIDED = 2  # the first round in which there is something to decide by


def plan(
    source: Annotated[str, typer.Argument(metavar="[PRESET|FILE.yaml]", help="The campaign.")] = "quickstart",
    round: Annotated[int, typer.Option(help="The round; 2 is the first that is decided.", min=1)] = FIRST_DECIDED,
    explain: Annotated[
        str | None, typer.Option(metavar="DEVICE|all", help="Show every candidate and why it lost.", show_default=False)
    ] = None,
    statuses: Annotated[
        str | None,
        typer.Option(help="A fleet of your own: JSON, [{device, memory_bytes, flops}, ...].", show_default=False),
    ] = None,
    gradients: Annotated[
        str | None, typer.Option(help="Gradient norms: JSON, a number per layer; else all 1.", show_default=False)
    ] = None,
    t_avg: Annotated[
        float | None,
        typer.Option("--t-avg", help="Mean seconds of the round before; else forecast.", show_default=False),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option("--acs", help="default, literal, deadline or paced; else the campaign's.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one setting of the campaign.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")] = False,
) -> None:
    """Show what each device would be given in a round, and why; train nothing."""
    from fedquad import discover
    from fedquad.planning import planning
    from flows import edge

    spec = edge.campaign_spec(source, settings=settings or ())
    planned = planning.answer(question(spec, round, rule, statuses, gradients, t_avg))
    shown = rows_of(explain, planned)
    if as_json:
        from fedquad.cli import plan_document

        compared, spreads = planning.compare(planned), planning.spreads(planned, discover.boards())
        print(json.dumps(plan_document.document(planned, compared, spreads, shown)))
        return
    from fedquad.cli import plan_tables, tables

    console = tables.console()
    if explain is None:
        compared, spreads = planning.compare(planned), planning.spreads(planned, discover.boards())
        console.print(plan_tables.plan(planned, compared, spreads, console.width))
    for row in shown:
        console.print(plan_tables.explained(planned, row, console.width))


def question(
    spec: "CampaignSpec",
    round: int,
    rule: str | None,
    statuses: str | None,
    gradients: str | None,
    t_avg: float | None,
) -> "Question":
    """Read what the command line names."""
    import numpy as np

    from fedquad import discover
    from fedquad.errors import SpecError
    from fedquad.planning import described, duration, planning
    from fedquad.store import inputs

    if t_avg is not None and not 0 <= t_avg < float("inf"):
        raise SpecError(f"--t-avg is {t_avg!r}, but a mean of seconds is not negative")
    cost = cost_of(spec)
    norms = np.ones(cost.layers)
    if gradients is not None:
        norms = described.gradients(inputs.read_json(gradients, "--gradients"), cost.layers, gradients)
    fleet = None
    if statuses is not None:
        names, there = described.statuses(inputs.read_json(statuses, "--statuses"), statuses)
    else:
        trace = inputs.trace_of(spec.fleet)
        fleet, names, there = planning.drawn(spec, cost, discover.boards(), trace, round)
    known = duration.examples_of(spec.data.name)
    own = own_examples(spec)
    return planning.Question(
        cost=cost,
        settings=planning.settings_of(spec, rule),
        round=round,
        seed=spec.seeds[0],
        steps=planning.steps_of(spec, known and known[0] if own is None else own if fleet else sum(own), len(there)),
        training=spec.training,
        gradient_norms=norms,
        fleet=fleet,
        names=names,
        statuses=there,
        mean_seconds=t_avg,
    )


def own_examples(spec: "CampaignSpec") -> list[int] | None:
    """How many examples each device has of its own; nothing where they are dealt out, or steps are given."""
    from fedquad.errors import SpecError
    from fedquad.learn import local
    from fedquad.learn.corpus import learned_of

    if spec.data.partition != "local" or spec.training.steps:
        return None
    folders = local.folders(spec.data.source, spec.fleet.boards, spec.fleet.pools)
    if "" in folders:
        raise SpecError(
            "how many examples the devices of fleet.pools have is known when they join; give training.steps"
        )
    data = spec.data
    _, columns, label_column = learned_of(data)
    objective = local.objective_of(data)
    found = [local.describe_local(folder, columns, label_column, objective)["examples"] for folder in folders]
    return [len(local.shares(examples, data.evaluation)["train"]) for examples in found]


def cost_of(spec: "CampaignSpec") -> "CostModel":
    """The campaign's cost model, from the model's configuration file alone."""
    from fedquad.prices.cost import cost_model
    from fedquad.prices.shapes import SHAPES, from_config
    from fedquad.store import inputs

    short = spec.model.name.rpartition("/")[2].removesuffix("-uncased")
    if short in SHAPES:
        shape = SHAPES[short]
    else:
        from fedquad.learn.source import locate

        config = locate(spec.model.name) / "config.json"
        shape = from_config(spec.model.name, inputs.read_json(str(config), "model.name"))
    objective, labels = learned(spec.data)
    return cost_model(shape, spec.model, spec.training, spec.cost, labels, inputs.profile_of(spec.cost), objective.head)


def learned(data: "DataSpec") -> "tuple[Objective, int]":
    """What is learned, and how many classes there are; 2 where no module says it, which a head's few bytes can bear."""
    import importlib
    from importlib.util import find_spec

    from fedquad import discover

    name = f"fedquad.learn.datasets.{data.name.replace('-', '_')}"
    if not data.name.replace("-", "_").isidentifier() or find_spec(name) is None:
        kind = "causal_lm" if data.conversation else data.objective or "classification"
        return discover.objective(kind), 2
    task: Any = importlib.import_module(name).TASK
    objective = discover.objective(task.objective)
    return objective, objective.outputs(task.labels)


def rows_of(explain: str | None, planned: "Answer") -> range | list[int]:
    """The rows that --explain asks for."""
    from fedquad.errors import one_of

    names = [planned.question.names[device] for device in planned.question.there]
    if explain is None:
        return []
    if explain == "all":
        return range(len(names))
    if explain not in names:
        few = [*names[:8], "..."] if len(names) > 8 else names
        raise one_of("device (--explain)", explain, few)
    return [names.index(explain)]
