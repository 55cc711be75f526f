"""Where a model's files are: an embedded backbone, a local folder, the Hub's cache, or, last, the Hub itself.

Everything after this reads a folder, so that there is one place that goes to the network, and one message when it
cannot:

    locate("mini")                  -> fedquad/learn/mini/backbones/mini
    locate("./my-roberta")          -> that folder
    locate("FacebookAI/roberta-base") -> its snapshot in the Hub's cache, downloaded first if it is not there
"""

import warnings
from pathlib import Path

from fedquad.errors import DeviceError

BACKBONES = Path(__file__).parent / "mini" / "backbones"
SAFE = ("*.safetensors", "*.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
TEXT = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration, tokenizer, chat template


def embedded() -> tuple[str, ...]:
    """Names of the backbones that come with the package."""
    return tuple(sorted(folder.parent.name for folder in BACKBONES.glob("*/config.json")))


def locate(name: str) -> Path:
    """Return the folder of a model's configuration, tokenizer and weights."""
    if name in embedded():
        return BACKBONES / name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise DeviceError(f"model {name!r}: there is no such folder on this machine")
    return _checked(_snapshot(name), name)


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file() or not has_weights(folder):
        raise DeviceError(
            f"model {name!r}: {folder} needs a config.json and weights (*.safetensors); `save_pretrained` writes both"
        )
    if not any(folder.glob("*.safetensors")):
        warnings.warn(
            f"model {name!r} has no safetensors, so its pickled weights are read with weights_only; convert them once "
            "with save_pretrained",
            stacklevel=3,
        )
    return folder


def has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def _snapshot(name: str) -> Path:
    """Prefer what is cached: a fleet that was offline yesterday must not need the network today."""
    from huggingface_hub import list_repo_files, snapshot_download

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
        if has_weights(folder) and (folder / "config.json").is_file():
            return folder
    except Exception as error:  # the library's own hierarchy changes between versions; what counts is: not in the cache
        cached: Exception | None = error
    else:
        cached = None
    if problem := hub_problem():
        raise absent(name, problem) from cached
    try:
        is_safe = any(file.endswith(".safetensors") for file in list_repo_files(name))
        return Path(snapshot_download(name, allow_patterns=[*TEXT, *(SAFE if is_safe else PICKLED)]))
    except Exception as error:
        raise absent(name, type(error).__name__) from error


def hub_problem() -> str:
    """Say why the Hub cannot be used; empty if it can. Asked first, since its own client retries for half a minute."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:  # whatever its HTTP client of the day raises
        return f"no network, {type(error).__name__}"
    return ""


def absent(name: str, reason: str) -> DeviceError:
    names = ", ".join(repr(own) for own in embedded()) or "none in this installation"
    return DeviceError(
        f"model {name!r} is neither a local folder nor in the Hub's cache, and the Hub cannot be used ({reason}); put "
        f"its folder on this machine and name that, or run `hf download {name}` where there is a network (embedded "
        f"models need none: {names})"
    )
