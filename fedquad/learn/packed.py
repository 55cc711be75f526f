"""A stack's tokens without their padding, for models whose layers know of a token's place by attention alone.

N devices, P places each in their padded batches, M slots each without padding: a device's tokens stand in the order of their
places, then come places that hold padding, at least one. What is computed in these reaches nobody, and no gradient comes back.
"""

import torch
from torch.nn import functional

MODELS = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
LANES = 16  # attention is as fast at 32 tokens as at 26 on a CPU


class Packing:
    """Which place each slot stands for, in one step of a stack; attention gets `width` tokens of an example, or more."""

    def __init__(self, is_token_NRW: torch.Tensor, dtype: torch.dtype, lanes: int = LANES) -> None:
        self.rows, width = is_token_NRW.shape[1:]
        self.width = -(-width // lanes) * lanes
        token_NRW = functional.pad(is_token_NRW, (0, self.width - width))
        flat = token_NRW.flatten(1)
        self.tokens: list[int] = flat.sum(1).tolist()
        self.slots = max(self.tokens) + 1
        place_NP = torch.argsort(~flat, dim=1, stable=True)
        self.place_NM = place_NP[:, : self.slots]
        self.slot_NP = torch.argsort(place_NP, dim=1).clamp(max=self.slots - 1)  # the last slot never holds a token
        away = torch.zeros(token_NRW.shape, dtype=dtype, device=flat.device)
        self.mask_NRW = away.masked_fill(~token_NRW, torch.finfo(dtype).min)
        self.known: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The places of these devices' slots, and the slots of their places."""
        if (part.start, part.stop) not in self.known:
            before = torch.arange(part.stop - part.start, device=self.place_NM.device)[:, None]
            place = (self.place_NM[part] + before * (self.rows * self.width)).flatten()
            slot = (self.slot_NP[part] + before * self.slots).flatten()
            self.known[part.start, part.stop] = place, slot
        return self.known[part.start, part.stop]

    def pack(self, x_BWH: torch.Tensor) -> torch.Tensor:
        """What all examples have at their places, at the slots; without a gradient."""
        x_BWH = functional.pad(x_BWH, (0, 0, 0, self.width - x_BWH.shape[1]))
        place, _ = self.of(slice(0, len(self.place_NM)))
        return x_BWH.flatten(0, 1).index_select(0, place).view(-1, self.slots, x_BWH.shape[-1])

    def first(self, part: slice) -> torch.Tensor:
        """The slots of each example's first token."""
        return self.of(part)[1][:: self.width]

    def mask(self, part: slice) -> torch.Tensor:
        """What attention adds to its scores of each example."""
        return self.mask_NRW[part].flatten(0, 1)[:, None, None]
