"""The loss of a language model's head in chunks: its logits are never there all at once.

150,000 columns of logits for 1,000 tokens are 600 MB in float32, and as much again for their gradient. The head is frozen, so the
gradient of what it reads can be had in the same pass; that alone is kept. N tokens, H hidden, V vocabulary:

    losses_N = head_losses(x_NH, head.weight, head.bias, targets_N)
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from fedquad.prices.heads import CHUNK_ELEMENTS


def chunks(tokens: int, vocabulary: int) -> Iterator[slice]:
    """Rows whose logits are there at the same time."""
    rows = max(1, CHUNK_ELEMENTS // vocabulary)
    for start in range(0, tokens, rows):
        yield slice(start, min(start + rows, tokens))


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_NH: torch.Tensor, weight_VH: torch.Tensor, bias_V: torch.Tensor | None, targets_N: torch.Tensor
    ) -> torch.Tensor:
        losses_N = torch.empty(len(x_NH), dtype=torch.float32, device=x_NH.device)
        gradient_NH = torch.empty_like(x_NH) if x_NH.requires_grad else None
        for rows in chunks(len(x_NH), len(weight_VH)):
            logits_RV, targets_R = functional.linear(x_NH[rows], weight_VH, bias_V).float(), targets_N[rows, None]
            log_total_R1 = logits_RV.logsumexp(1, keepdim=True)
            losses_N[rows] = (log_total_R1 - logits_RV.gather(1, targets_R))[:, 0]
            if gradient_NH is not None:
                share_RV = logits_RV.sub_(log_total_R1).exp_()
                share_RV.scatter_add_(1, targets_R, torch.full_like(log_total_R1, -1.0))
                gradient_NH[rows] = share_RV.to(weight_VH.dtype) @ weight_VH
        ctx.save_for_backward(gradient_NH)
        return losses_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream_N: torch.Tensor) -> Any:
        (gradient_NH,) = ctx.saved_tensors
        return gradient_NH * upstream_N[:, None].to(gradient_NH.dtype), None, None, None


def head_losses(
    x_NH: torch.Tensor, weight_VH: torch.Tensor, bias_V: torch.Tensor | None, targets_N: torch.Tensor
) -> torch.Tensor:
    """Each token's cross-entropy under a frozen head, in float32."""
    losses: torch.Tensor = _Losses.apply(x_NH, weight_VH, bias_V, targets_N)  # type: ignore[no-untyped-call]
    return losses


def likeliest(x_NH: torch.Tensor, weight_VH: torch.Tensor, bias_V: torch.Tensor | None) -> torch.Tensor:
    """The token that the head thinks comes next, after each."""
    each = [
        functional.linear(x_NH[rows], weight_VH, bias_V).float().argmax(1) for rows in chunks(len(x_NH), len(weight_VH))
    ]
    return torch.cat(each) if each else torch.empty(0, dtype=torch.long, device=x_NH.device)
