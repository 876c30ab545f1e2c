"""A module that is trained beside the student by its own optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from mmkd.utils import did_you_mean, refuse

# Interval of a parameter, by name.
Bounds = Mapping[str, tuple[float, float]]


class SideLearner(nn.Module):
    """Hold a module and train it with its own optimizer, in separate steps.

    It is for adversarial or cooperative parts, such as an augmentor or a policy. The module is not
    a child: the student's optimizer has none of its parameters and DDP does not wrap them. As a
    child of a method or mixer the learner moves with its owner, follows its training mode, and
    saves module and optimizer in the owner's state dict, so that runs resume exactly.

    Compute what the student learns from under ``torch.no_grad()``, or it fills the module's
    ``grad`` needlessly; compute the loss of :meth:`step` with gradients.

    Args:
        module: The module.
        optimizer: Config of its optimizer, such as ``dict(type='Adam', lr=1e-3)``; for gradient
            ascent, with ``maximize=True``. None: the module is constant.
        bounds: Minimum and maximum of parameters by name, enforced after every step. Defaults to
            None, no bounds.
        key: Config key of the optimizer for error messages. Defaults to ``'optimizer'``.

    Raises:
        ConfigError: The optimizer cannot be built.
        ValueError: ``bounds`` names a parameter that does not exist.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: Mapping[str, Any] | None,
        bounds: Bounds | None = None,
        key: str = 'optimizer',
    ) -> None:
        super().__init__()
        self._held = (module,)  # in a tuple, so that it is not registered
        self._shared = False
        self.bounds = dict(bounds or {})
        self.optimizer: torch.optim.Optimizer | None = None
        if optimizer is not None:
            what = "must be an optimizer config, as dict(type='Adam', lr=0.001)"
            with refuse(key, what, TypeError, ValueError, KeyError):
                config = dict(optimizer, params=list(module.parameters()))
                self.optimizer = OPTIMIZERS.build(config)
        known = dict(module.named_parameters())
        for name in self.bounds:
            if name not in known:
                raise ValueError(f'no parameter {name!r} to bound{did_you_mean(name, known)}')
        self.clamp()

    @property
    def module(self) -> nn.Module:
        """The trained module."""
        return self._held[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module; the first call synchronizes it with rank 0."""
        self._share()
        return self.module(*args, **kwargs)

    def step(self, loss: Tensor, retain_graph: bool = False) -> None:
        """Take one optimizer step in fp32, with gradients averaged over all ranks.

        All ranks must call it in the same iterations. Only the module changes: the ``grad`` of
        other parameters in the loss is untouched, and DDP is not involved. Parameters that the
        loss does not use get a zero gradient; so do all of them if any gradient is not finite, as
        after an overflow under AMP.

        Args:
            loss: Scalar, computed with gradients.
            retain_graph: Whether the loss's graph is needed again. Defaults to False.
        """
        if self.optimizer is None:
            return
        self._share()
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(
            loss, parameters, retain_graph=retain_graph, allow_unused=True
        )
        pairs = zip(parameters, gradients)
        full = [torch.zeros_like(p) if g is None else g.to(p) for p, g in pairs]
        flat = torch.cat([gradient.flatten() for gradient in full])
        all_reduce(flat, op='mean')
        # Zeroed, not skipped: skipping would need a device sync.
        flat = torch.where(flat.isfinite().all(), flat, 0)
        for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad = gradient.view_as(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.clamp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Clamp every parameter to its bounds."""
        for name, (low, high) in self.bounds.items():
            self.module.get_parameter(name).clamp_(low, high)

    @torch.no_grad()
    def _share(self) -> None:
        """Broadcast the values of rank 0 to every rank, once."""
        if not self._shared:
            self._shared = True
            for value in self.module.state_dict().values():
                broadcast(value)

    def train(self, mode: bool = True) -> SideLearner:
        """Set the mode of the module as well."""
        self.module.train(mode)
        return super().train(mode)

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Move module and optimizer with the owner, without changing their precision."""
        result = super()._apply(fn, *args, **kwargs)
        tensors = self.module.state_dict().values()
        here = next((t.device for t in tensors), torch.device('cpu'))
        optimizer = self.optimizer
        state = None if optimizer is None else optimizer.state_dict()
        self.module.to(fn(torch.empty(0, device=here)).device)
        if optimizer is not None:  # moving may create new parameters; loading moves the state
            optimizer.param_groups[0]['params'] = list(self.module.parameters())
            optimizer.load_state_dict(state)
        return result

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of module and optimizer."""
        optimizer = None if self.optimizer is None else self.optimizer.state_dict()
        return dict(module=dict(self.module.state_dict()), optimizer=optimizer)

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.module.load_state_dict(state['module'])
        if self.optimizer is not None and state['optimizer'] is not None:
            self.optimizer.load_state_dict(state['optimizer'])
