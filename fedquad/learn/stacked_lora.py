"""A linear layer with LoRA in a stack: one product for all devices' rows, and each device's own low-rank ones.

N devices, M rows of each (its examples' tokens), H in, O out, R rank, the greatest of theirs: rows beyond a device's own are zero and stay so.
"""

from typing import Any

import torch
from torch.nn import functional


class StackedLora(torch.autograd.Function):
    """x W' + b for all rows at once, and scale (keep x) A' B' for each device's own; B is kept transposed.

    Products with R columns are taken as R rows: 9 microseconds against 23 for 256 x 64 by 8, one core.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        linear: Any,
        a_NRH: torch.Tensor,
        b_NRO: torch.Tensor,
        keep: Any,
        scale_N11: torch.Tensor,
    ) -> torch.Tensor:
        y = functional.linear(x, linear.weight, linear.bias)
        x_NMH = x.reshape(len(a_NRH), -1, x.shape[-1])
        kept_NMH = x_NMH if keep is None else x_NMH * keep.view_as(x_NMH)
        z_NRM = torch.bmm(a_NRH, kept_NMH.transpose(1, 2)).mul_(scale_N11)
        y.view(len(a_NRH), -1, y.shape[-1]).baddbmm_(z_NRM.transpose(1, 2), b_NRO)
        ctx.save_for_backward(kept_NMH, z_NRM, a_NRH, b_NRO, keep, scale_N11)
        ctx.weight = linear.weight
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        kept_NMH, z_NRM, a_NRH, b_NRO, keep, scale_N11 = ctx.saved_tensors
        dy_NMO = dy.reshape(len(a_NRH), -1, dy.shape[-1])
        dz_NRM = torch.bmm(b_NRO, dy_NMO.transpose(1, 2)).mul_(scale_N11)
        da, db, dx = None, None, None
        if ctx.needs_input_grad[2]:
            da = torch.bmm(dz_NRM, kept_NMH)
            db = torch.bmm(z_NRM, dy_NMO)
        if ctx.needs_input_grad[0]:
            dx = dy @ ctx.weight
            dx_NMH = dx.view_as(kept_NMH)
            if keep is None:
                dx_NMH.baddbmm_(dz_NRM.transpose(1, 2), a_NRH)
            else:
                dx_NMH.addcmul_(keep.view_as(dx_NMH), torch.bmm(dz_NRM.transpose(1, 2), a_NRH))
        return dx, None, da, db, None, None
