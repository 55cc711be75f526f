"""The profile flow: measure what training costs on the machine of the worker that runs it."""

import asyncio
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from pydantic import Field

from fedquad.store import files
from fedquad.store.campaign import home
from flows import admission, edge

Name = Annotated[str, Field(max_length=200)]


@flow(name="profile", flow_run_name="{model} b{batch} s{sequence}", persist_result=False)
async def profile(
    model: Annotated[Name, Field(title="Model")] = "mini",
    batch: Annotated[int, Field(ge=1, le=4096)] = 8,
    sequence: Annotated[int, Field(ge=4, le=8192)] = 32,
    rank: Annotated[int, Field(ge=1, le=1024)] = 8,
    attention: Literal["sdpa", "eager"] = "sdpa",
    coverage: Literal["full", "paper"] = "full",
    precision: Literal["fp32", "tf32", "bf16"] = "fp32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seconds: Annotated[float, Field(ge=1, le=3600)] = 25.0,
) -> dict[str, Any]:
    """Measure seconds and bytes of training over depths and quantized layers; the result is a profile for `cost.profile`.

    Args:
        model: An embedded backbone, a Hub name, or a folder below those set apart for models.
        batch: Examples a step.
        sequence: Tokens an example.
        rank: LoRA rank.
        attention: Attention implementation.
        coverage: What INT8 reaches of a quantized layer: all it saves, or what the paper compressed.
        precision: Arithmetic of training.
        device: Where to measure; auto takes a GPU if there is one.
        seconds: For how long to measure, about.
    """
    asked = {"name": model, "rank": rank, "attention": attention, "coverage": coverage, "precision": precision}
    spec = edge.typed({"model": {**asked, "max_length": sequence}, "training": {"batch": batch}})
    admission.admit(spec)
    from fedquad.learn import profile as learned  # torch: 3 s that whoever only deploys this can do without

    where = None if device == "auto" else device
    found = await asyncio.to_thread(learned.profile, spec.model, spec.training, where, seconds, _silent)
    name = f"{str(found['model']).rstrip('/').rpartition('/')[2]}-{found['device']}-b{batch}-s{sequence}"
    path = home() / "data" / "profiles" / f"{name}.json"  # where a campaign from the form may name it
    files.write_json(path, found)
    await acreate_markdown_artifact(markdown(found, str(path)), key="profile", description=f"Cost constants: {name}")
    return {"path": str(path)}


def _silent(what: str, share: float) -> None:
    """Nobody looks at a bar here."""


def markdown(found: dict[str, Any], path: str) -> str:
    """The constants as a table."""
    rows = [f"| {key} | {value} |" for key, value in found.items() if isinstance(value, str | int | float)]
    return "\n".join([f"`{path}`, for `cost.profile` of a campaign.", "", "| | |", "|---|---|", *rows])
