"""The shape of what was read: types by key, so that a document from anywhere is refused in a line before anything relies on it.

    typed({"round": 3, "names": ["a"]}, {"round": int, "names": [str]}, "x.json")

A shape is a type (float takes whole numbers, int takes no bool), a tuple of alternatives, [shape] for a list of it, {str: shape} for
a mapping of any names to it, or a mapping whose keys must be there; further keys are left alone.
"""

from typing import Any

from fedquad.errors import StoreError

NUMBER: Any = (float, None)  # a figure that may be unknown


def typed(value: Any, shape: Any, where: object) -> Any:
    """Return the value, or refuse it by the path to what is wrong."""
    if fault := _fault(value, shape, ""):
        raise StoreError(f"{where} is not as it was written: {fault}")
    return value


def _fault(value: Any, shape: Any, path: str) -> str:
    if isinstance(shape, tuple):
        faults = [_fault(value, one, path) for one in shape]
        return "" if "" in faults else faults[0]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _wrong(value, "a list", path)
        return next((fault for at, item in enumerate(value) if (fault := _fault(item, shape[0], f"{path}[{at}]"))), "")
    if isinstance(shape, dict):
        return _fault_of_mapping(value, shape, path)
    if shape is None:
        return "" if value is None else _wrong(value, "nothing", path)
    wanted = (int, float) if shape is float else shape
    is_right = isinstance(value, wanted) and (shape is bool or not isinstance(value, bool))
    return "" if is_right else _wrong(value, shape.__name__, path)


def _fault_of_mapping(value: Any, shape: dict[Any, Any], path: str) -> str:
    if not isinstance(value, dict):
        return _wrong(value, "a mapping", path)
    for key, inner in (dict.fromkeys(value, shape[str]) if str in shape else shape).items():
        name = f"{path}.{key}" if path else key
        if key not in value:
            return f"{name} is missing"
        if fault := _fault(value[key], inner, name):
            return fault
    return ""


def _wrong(value: Any, wanted: str, path: str) -> str:
    return f"{path or 'it'} is {type(value).__name__}, but {wanted} is needed"
