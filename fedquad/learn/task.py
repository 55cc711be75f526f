"""The task a campaign's data names: a module of `fedquad/learn/datasets`, or any set by naming its columns.

find_task(DataSpec(name="mnli"))
find_task(DataSpec(name="my-reviews", source="/data/reviews", text_columns=("text",), label_column="stars"))
"""

import importlib
import pkgutil

from fedquad.errors import SpecError
from fedquad.learn import datasets
from fedquad.learn.corpus import labelled_elsewhere, named_columns
from fedquad.learn.tables import TextTask
from fedquad.spec import DataSpec


def task_names() -> tuple[str, ...]:
    """Tasks that have a module: mini-nli is datasets/mini_nli.py."""
    return tuple(sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(datasets.__path__)))


def find_task(data: DataSpec) -> TextTask:
    """Return the task, or make it from the columns the spec names."""
    if data.partition == "local":
        return labelled_elsewhere(data, ())
    if (data.text_columns and data.label_column) or data.conversation:
        return named_columns(data)
    if data.name not in task_names():
        raise SpecError(
            f"data.name is {data.name!r}, but there are: {', '.join(task_names())}; any other set needs "
            "data.text_columns and data.label_column, or, for conversations, data.prompt_column and data.answer_column or "
            "data.messages_column"
        )
    module = importlib.import_module(f"fedquad.learn.datasets.{data.name.replace('-', '_')}")
    task: TextTask = module.TASK
    if data.objective not in ("", task.objective):
        raise SpecError(
            f"data.objective is {data.objective!r}, but {data.name} is a task of {task.objective}; leave it empty, or name "
            "the columns that are to be learned from"
        )
    return task
