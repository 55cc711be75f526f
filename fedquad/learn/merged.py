"""An adapter and its base as one model that anything loads: the LoRA's products added to the weights, the head put in place."""

from collections.abc import Sequence
from pathlib import Path

from fedquad.errors import DeviceError
from fedquad.learn.model import quiet
from fedquad.learn.practice import practice_of
from fedquad.learn.source import locate


def write(adapter: Path, base: str, objective: str, labels: Sequence[str], folder: Path) -> None:
    """Merge a PEFT folder into its base model and save both, with the tokenizer and the labels' names, as safetensors."""
    import transformers
    from peft import PeftModel

    there = locate(base)
    practice = practice_of(objective)
    settings = dict(practice.settings(len(labels)))
    if settings.get("num_labels") == len(labels):
        names = dict(enumerate(labels))
        settings = {"id2label": names, "label2id": {name: at for at, name in names.items()}}
    try:
        with quiet():
            model = getattr(transformers, practice.auto).from_pretrained(
                there,
                **settings,
                use_safetensors=any(there.glob("*.safetensors")),
                weights_only=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
            )
            PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(folder)
            transformers.AutoTokenizer.from_pretrained(
                there, local_files_only=True, trust_remote_code=False
            ).save_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise DeviceError(f"{adapter} cannot be merged into {base!r}: {' '.join(str(error).split())}") from error
