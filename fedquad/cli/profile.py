"""`fedquad profile`: measure this machine's cost constants for a model, and write them down for the planner."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def profile(
    model: Annotated[str, typer.Option(help="An embedded backbone, a local folder or a Hub name.")] = "mini",
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; cuda where there is one if left out.", show_default=False)
    ] = None,
    batch: Annotated[int, typer.Option(help="Examples a step.", min=1)] = 8,
    seq: Annotated[int, typer.Option(help="Tokens an example.", min=4)] = 32,
    rank: Annotated[int, typer.Option(help="LoRA rank.", min=1)] = 8,
    attention: Annotated[str, typer.Option(help="eager or sdpa.")] = "sdpa",
    coverage: Annotated[
        str, typer.Option(help="What INT8 reaches: full, or what the paper compressed: paper.")
    ] = "full",
    precision: Annotated[str, typer.Option(help="fp32, tf32 or bf16.")] = "fp32",
    threads: Annotated[int, typer.Option(help="Threads of a CPU; campaigns train with one.", min=1)] = 1,
    budget: Annotated[float, typer.Option(help="Seconds to measure for, about.", min=1.0)] = 25.0,
    out: Annotated[
        Path | None, typer.Option(help="The profile; its figures lie beside it.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout, numbers unrounded.")] = False,
) -> None:
    """Measure what training costs on this machine: seconds and bytes over depths and quantized layers.

    Writes a profile that `cost.profile` takes, and draws the paper's Figures 1(b), 2, 3 and 4 for this machine.
    """
    from fedquad.cli import profile_display
    from fedquad.store.files import write_json
    from flows.edge import typed

    spec = typed(
        {
            "model": {
                "name": model,
                "rank": rank,
                "attention": attention,
                "coverage": coverage,
                "precision": precision,
                "max_length": seq,
            },
            "training": {"batch": batch, "threads": threads},
        }
    )
    with profile_display.progress() as tell:
        from fedquad.learn import profile as learned

        found = learned.profile(spec.model, spec.training, device, budget, tell)
    path = out or default_path(found)
    write_json(path, found)
    picture = path.with_suffix(".png")
    from fedquad.report import profile_figures

    profile_figures.save(found, picture)
    if as_json:
        print(json.dumps({**found, "path": str(path), "picture": str(picture)}))
        return
    from fedquad.cli import tables

    tables.console().print(profile_display.summary(found, path, picture))


def default_path(found: Any) -> Path:
    """Where a profile goes unless told: runs/profiles/MODEL-DEVICE-bBATCH-sSEQ.json."""
    from fedquad.store.campaign import home

    name = str(found["model"]).rstrip("/").rpartition("/")[2]
    return home() / "profiles" / f"{name}-{found['device']}-b{found['batch']}-s{found['sequence']}.json"
