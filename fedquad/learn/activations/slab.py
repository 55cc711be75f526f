"""Pack all that a layer saved in one launch when the layer ends, and unpack it in one when its backward begins.

Until the layer ends the originals are held, so that the peak is the compressed layers and one plain one. Their versions
are compared at the end: one that was changed in place since it was saved is refused in the backward pass, as autograd
does.

Runs hold their slab, the slab holds its runs weakly once it is packed: what a graph kept is gone when the graph is, without
waiting for the garbage collector.
"""

from weakref import ref

import torch
from fedquad_kernels.bits import pack_bits_many, unpack_bits
from fedquad_kernels.int8_block import scales_shape
from fedquad_kernels.int8_slab import BlockSlab, slab_dequantize, slab_quantize

from fedquad.learn.activations.payloads import check_version
from fedquad.learn.activations.policy import as_matrix


class _Late:
    """A run that is still as it was saved until its layer ends."""

    def __init__(self, run: torch.Tensor) -> None:
        self.source: torch.Tensor | None = run
        self.version = run._version
        self.changed: RuntimeError | None = None

    def close(self) -> torch.Tensor:
        """Give the original up, and note if it is no longer what was saved."""
        assert self.source is not None
        source, self.source = self.source, None
        try:
            check_version(source, self.version)
        except RuntimeError as error:
            self.changed = error
        return source

    def original(self) -> torch.Tensor | None:
        """Return the run itself while the layer has not ended, checked."""
        if self.changed is not None:
            raise self.changed
        if self.source is not None:
            check_version(self.source, self.version)
        return self.source


class LateBlock(_Late):
    """A float run in its layer's slab."""

    def __init__(self, slab: "LayerSlab", index: int, run: torch.Tensor) -> None:
        super().__init__(as_matrix(run))
        self.slab, self.index, self.claims = slab, index, 0
        down, across = scales_shape(*as_matrix(run).shape)
        self.kept_bytes = run.numel() + 4 * down * across

    def claim(self) -> None:
        self.claims += 1

    def restore(self) -> torch.Tensor:
        original = self.original()
        return self.slab.take(self) if original is None else original


class LateBits(_Late):
    """A mask, packed with its layer's other masks."""

    def __init__(self, run: torch.Tensor) -> None:
        super().__init__(run)
        self.shape, self.kept_bytes = run.shape, -(-run.numel() // 8)
        self.bits: torch.Tensor | None = None

    def claim(self) -> None:
        pass

    def restore(self) -> torch.Tensor:
        original = self.original()
        if original is not None:
            return original
        assert self.bits is not None
        return unpack_bits(self.bits, self.shape)


class LayerSlab:
    """The runs of one layer's forward pass."""

    def __init__(self) -> None:
        self.blocks: list[LateBlock] = []
        self.masks: list[LateBits] = []
        self.packed: list[ref[LateBlock]] = []
        self.slab: BlockSlab | None = None
        self.ready: dict[int, torch.Tensor] = {}

    def add(self, run: torch.Tensor) -> LateBlock | LateBits:
        """Take a run; it is packed when the layer ends."""
        if run.dtype == torch.bool:
            self.masks.append(LateBits(run))
            return self.masks[-1]
        self.blocks.append(LateBlock(self, len(self.blocks), run))
        return self.blocks[-1]

    def close(self) -> None:
        """Pack everything and let the originals go."""
        if self.blocks:
            self.slab = slab_quantize([block.close() for block in self.blocks])
            self.packed, self.blocks = [ref(block) for block in self.blocks], []
        if self.masks:
            for mask, bits in zip(self.masks, pack_bits_many([mask.close() for mask in self.masks])):
                mask.bits = bits
            self.masks = []

    def take(self, block: LateBlock) -> torch.Tensor:
        """Return a block's run; the first one asked for brings all that are still to be asked for, in one launch.

        A second backward through the same graph finds no claims left and gets its runs one by one.
        """
        assert self.slab is not None
        if block.index not in self.ready:
            others = [other for one in self.packed if (other := one()) is not None]
            open_claims = {other.index for other in others if other.claims > 0 and other.index not in self.ready}
            wanted = sorted({block.index, *open_claims})
            self.ready.update(zip(wanted, slab_dequantize(self.slab, wanted)))
        block.claims -= 1
        return self.ready[block.index] if block.claims > 0 else self.ready.pop(block.index)
