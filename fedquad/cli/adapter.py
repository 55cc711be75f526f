"""`fedquad adapter export` and `promote`: what an arm has learned, as a folder that PEFT or transformers load, or under a name in MLflow."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedquad.cli.campaign_evidence import Json, Named, named

if TYPE_CHECKING:
    from fedquad.store.arm import ArmFolder
    from fedquad.store.campaign import CampaignFolder

app = typer.Typer(no_args_is_help=True, help="Take adapters out of campaigns.")


@app.callback()
def adapter() -> None:
    """Take adapters out of campaigns."""


@app.command()
def export(
    name: Named,
    method: Annotated[str, typer.Option("--method", help="The arm, by its label.", show_default=False)],
    seed: Annotated[
        int | None,
        typer.Option(help="Its seed; the one that was best on the validation split if left out.", show_default=False),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="The new folder; ./NAME-METHOD.adapter or .model if left out.",
            show_default=False,
        ),
    ] = "",
    merge: Annotated[
        bool, typer.Option("--merge", help="The whole model with the adapter merged in, which needs no PEFT.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy an arm's best adapter out of its campaign, with a card that says how it was trained, how it scored and how it is used."""
    with named(name) as folder:
        arm = _chosen(folder, method, seed)
        target = Path(to or f"{folder.name}-{method.replace(':', '-')}.{'model' if merge else 'adapter'}")
        document = _write(folder, arm, target, merge)
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        print(document["folder"])


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="The campaign's name.", show_default=False)],
    method: Annotated[str, typer.Option("--method", help="The arm, by its label.", show_default=False)],
    seed: Annotated[
        int | None,
        typer.Option(help="Its seed; the one that was best on the validation split if left out.", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--as", help="The registered model; of the backbone and the task if left out.", show_default=False
        ),
    ] = "",
    alias: Annotated[str, typer.Option(help="What points at this version from now on.")] = "champion",
    as_json: Json = False,
) -> None:
    """Give an arm's best adapter a name in MLflow's registry: a version of a model, and an alias that points at it."""
    from dataclasses import asdict

    from fedquad.store import campaign as store
    from tasks import promote as registry

    folder = store.existing(name)
    found = registry.promote(folder, _chosen(folder, method, seed), model or registry.default_name(folder), alias)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print(f"{found.uri} is version {found.version}: {found.artifacts}")


def _chosen(folder: "CampaignFolder", label: str, seed: int | None) -> "ArmFolder":
    """The arm of that label, on the seed that is asked for or was best."""
    from fedquad.errors import StoreError, one_of

    arms = {
        (about["label"], about["seed"]): arm
        for arm in folder.arms()
        if (about := arm.description()) and arm.last_number()
    }
    mine = {key: arm for key, arm in arms.items() if key[0] == label and seed in (None, key[1])}
    if not mine:
        known = [f"{name} (seed {number})" for name, number in arms]
        raise one_of("arm with a finished round", label if seed is None else f"{label} (seed {seed})", known)
    arm = max(mine.values(), key=lambda one: one.progress().merit)
    from fedquad.store import exports

    if not exports.is_of(arm.path / "best", arm.progress().best_digest):
        raise StoreError(
            f"{arm.path / 'best'} is not what arm {arm.name} learned; `campaign resume {folder.name}` makes it again"
        )
    return arm


def _write(folder: "CampaignFolder", arm: "ArmFolder", target: Path, merge: bool) -> dict[str, Any]:
    """Write the folder beside its place, then rename it there: half of one is never seen."""
    from fedquad.errors import StoreError
    from fedquad.learn import merged, peft_folder
    from fedquad.learn.source import embedded
    from fedquad.learn.task import find_task
    from fedquad.report import card
    from flows import edge

    spec, task = folder.stored_spec(), find_task(edge.typed(folder.stored_spec()).data)
    labels = tuple(map(str, arm.description().get("labels", task.labels)))  # of the devices, where the set has none
    facts = arm.facts(arm.progress().best_round)
    summary = next(one for one in folder.summarise()["arms"] if f"{one['label']}-s{one['seed']}" == arm.name)
    base = spec["model"]["name"]
    subject = card.Subject(
        campaign=folder.name, spec=spec, arm=summary, facts=facts, metric=arm.metric(), objective=task.objective, labels=labels, columns=task.columns,
        is_embedded=base in embedded(), is_merged=merge,
    )  # fmt: skip
    if os.path.lexists(target):
        raise StoreError(f"{target} exists; give another folder with --to")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as room:
            made = Path(room) / "made"
            made.mkdir()
            if merge:
                merged.write(arm.path / "best", base, task.objective, labels, made)
            else:
                for name in (peft_folder.CONFIG, peft_folder.WEIGHTS):
                    shutil.copyfile(arm.path / "best" / name, made / name)
            (made / "README.md").write_text(card.card(subject), encoding="utf-8")
            made.rename(target)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror or error}; make room, or give another folder with --to"
        ) from error
    return {
        "folder": str(target),
        "label": summary["label"],
        "seed": summary["seed"],
        "round": facts["round"],
        "score": facts["score"],
        **{name: facts[name] for name in arm.description().get("metrics", ["accuracy"])},
        "merged": merge,
    }
