"""What the compressed layers of one model know of each other while compression is open on it."""

from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import ref

import torch
from torch import nn

from fedquad.learn.activations.accounting import Ledger
from fedquad.learn.activations.bias import SharedBias
from fedquad.learn.activations.payloads import Payload
from fedquad.spec import Coverage

Key: TypeAlias = tuple[int, int, int, torch.dtype, int]  # what tells a run of memory from every other
Norms: TypeAlias = dict[Key, tuple[object, ref[Payload], nn.LayerNorm, torch.Size]]


def key_of(run: torch.Tensor) -> Key:
    """Return what tells a run of memory from every other."""
    return run.untyped_storage()._cdata, int(run.storage_offset()), run.numel(), run.dtype, run._version


@dataclass(slots=True, eq=False)
class Shared:
    """What has been kept in this forward pass, what would have been, and what a layer can have from the one before."""

    coverage: Coverage
    kept: Ledger = field(default_factory=Ledger)
    plain: Ledger = field(default_factory=Ledger)
    norms: Norms = field(default_factory=dict)  # outputs of the last layer's LayerNorms
    bias: SharedBias = field(default_factory=SharedBias)

    def begin(self) -> None:
        """Count a new forward pass from zero."""
        self.kept, self.plain, self.norms = Ledger(), Ledger(), {}

    def forget(self) -> None:
        """Hold no tensor any more."""
        self.norms, self.bias = {}, SharedBias()
