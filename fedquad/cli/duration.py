"""What a campaign will take here: said before it starts, listed beside the presets, learned from what campaigns took."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedquad.spec import CampaignSpec
    from fedquad.store.campaign import CampaignFolder

START_SECONDS = 20.0  # until the first training, on two cores
AT_ONCE = 2  # arms that share the machine, whose rounds' seconds are counted by each


def expected(spec: "CampaignSpec", rates: Mapping[str, Mapping[str, Any]], done: int = 0) -> dict[str, Any] | None:
    """Wall seconds that a campaign will take here, and what that is taken from; none where nothing is known."""
    from fedquad.errors import FedquadError
    from fedquad.planning import duration
    from fedquad.store import speed

    rate = rates.get(spec.model.name) or rates.get(speed.ANY)
    if rate is None:
        return None
    try:
        seconds = duration.seconds(spec, _own_cost(spec), rate["flops_per_second"], done)
    except FedquadError:  # of a model that is not here
        return None
    return None if seconds is None else {"seconds": START_SECONDS + seconds, "source": rate["source"]}


def learn(folder: "CampaignFolder", spec: "CampaignSpec") -> None:
    """Remember how fast this machine was in a campaign; one of real devices says nothing of it."""
    from fedquad.planning import duration
    from fedquad.store import speed

    facts = [one for rounds in folder.facts().values() for one in rounds]
    walls = math.fsum(one["wall_round_seconds"] for one in facts)
    flops = duration.round_flops(spec, _own_cost(spec))
    if flops and walls > 0 and not spec.fleet.pools:
        at_once = min(AT_ONCE, len(spec.arms) * len(spec.seeds))
        speed.note(spec.model.name, len(facts) * flops * at_once / walls, f"campaign {folder.name}")


def measured() -> Mapping[str, Mapping[str, Any]]:
    """What is known of this machine; measured, in a few seconds, where nothing is."""
    from fedquad.store import speed

    known = speed.rates()
    if speed.ANY in known:
        return known
    from fedquad.learn import pool
    from fedquad.learn import speed as steps
    from fedquad.spec import CampaignSpec, TrainingSpec

    cores = pool.cores(1)
    speed.note(speed.ANY, float(steps.product_flops() * cores), "a product of matrices")
    if "mini" not in known:
        spec = CampaignSpec(training=TrainingSpec(batch=8))
        cost = _own_cost(spec)
        flops = cost.constants.c_f + cost.layers * cost.constants.c_d
        seconds = steps.step_seconds(spec.model, spec.training.batch)
        speed.note("mini", float(cores * flops / seconds), "a few timed steps")
    return speed.rates()


def words(found: Mapping[str, Any] | None) -> str:
    """About how long, in one unit; hours of less than three days."""
    if found is None:
        return "-"
    seconds = found["seconds"]
    for unit, size, most in (("s", 1, 100), ("min", 60, 100 * 60), ("h", 3600, 72 * 3600), ("days", 86400, math.inf)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError("the last unit has no end")


def _own_cost(spec: "CampaignSpec") -> Any:
    """The cost model of what is trained, at the batch it is trained with, whatever the fleet is priced as."""
    from fedquad.cli.plan import cost_of
    from fedquad.spec import CostSpec

    return cost_of(replace(spec, cost=CostSpec()))
