"""A network that is grown from another one, around the other one's own weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mmkd.functional import widen


class Growth(nn.Module):
    """What is added to one layer: rows for added outputs and columns for added inputs.

    The columns start at 0, so that added channels are without influence at first; the rows as
    mmpretrain initialises a ResNet, so that what they compute is new.

    Args:
        layer: Convolution, BatchNorm or linear layer.
        ratio: How many times as wide the layer becomes.
        inputs: Whether inputs are added.
        outputs: Whether outputs are added.
    """

    def __init__(self, layer: nn.Module, ratio: int, inputs: bool, outputs: bool) -> None:
        super().__init__()
        weight = layer.weight
        more = ratio - 1
        if inputs:
            self.columns = nn.Parameter(
                torch.zeros(weight.shape[0], more * weight.shape[1], *weight.shape[2:])
            )
        if outputs:
            shape = list(weight.shape)
            shape[0] *= more
            if inputs:
                shape[1] *= ratio
            rows = torch.ones(shape)
            if weight.ndim > 1:
                nn.init.kaiming_normal_(rows, mode='fan_out', nonlinearity='relu')
            self.rows = nn.Parameter(rows)
            if layer.bias is not None:
                self.bias = nn.Parameter(torch.zeros(shape[0]))

    def widened(self, layer: nn.Module) -> dict[str, Tensor]:
        """Return the parameters of the layer, widened, by name."""
        parts = {k: v.to(layer.weight) for k, v in self._parameters.items() if v is not None}
        wide = dict(weight=widen(layer.weight, parts.get('rows'), parts.get('columns')))
        if layer.bias is not None:
            wide['bias'] = widen(layer.bias, parts.get('bias'))
        return wide


class WideTwin(nn.Module):
    """A network ``ratio`` times as wide as a given one, which is a part of it.

    The first channels of every layer are those of the given network, with its very parameters; the
    other ones belong to this module. In the beginning both compute the same. BatchNorm always uses
    the statistics of its own batch: the wide network is trained and never evaluated.

    Args:
        model: Network of plain convolutions, BatchNorm and one linear classifier, whose channels
            are only ever added and never mixed in another way, such as a ResNet. It is not kept.
        ratio: How many times as wide. Defaults to 2.

    Raises:
        ValueError: It is another kind of network.
    """

    def __init__(self, model: nn.Module, ratio: int = 2) -> None:
        super().__init__()
        # Its parameters are those of the other network and of the growths: it is called with them.
        twin = revert_sync_batchnorm(copy.deepcopy(model)).train()
        for module in twin.modules():
            if isinstance(module, _BatchNorm):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
            if hasattr(module, 'with_cp'):  # would recompute after the parameters are gone
                module.with_cp = False
        layers = {n: m for n, m in twin.named_modules() if any(True for _ in own_parameters(m))}
        for name, layer in layers.items():
            plain = isinstance(layer, (nn.Conv2d, _BatchNorm, nn.Linear))
            if not plain or getattr(layer, 'groups', 1) != 1:
                groups = ' with groups' if plain else ''
                raise ValueError(f'{name!r} is a {type(layer).__name__}{groups}')
        first = next((n for n, m in layers.items() if isinstance(m, nn.Conv2d)), '')
        linear = [n for n, m in layers.items() if isinstance(m, nn.Linear)]
        if not first or len(linear) != 1:
            raise ValueError('it has not just convolutions and one linear classifier')
        self.growths = nn.ModuleDict()
        for name, layer in layers.items():
            inputs = not isinstance(layer, _BatchNorm) and name != first
            growth = Growth(layer, ratio, inputs, outputs=name != linear[0])
            self.growths[name.replace('.', '-')] = growth
        #: No child module: it is in no state dict and no optimizer.
        self.twin = [twin.to('meta')]

    def forward(self, model: nn.Module, inputs: Tensor, data_samples: Any, mode: str) -> Any:
        """Run the wide network.

        Args:
            model: The network from which it was grown.
            inputs: Batch (N, 3, H, W).
            data_samples: N data samples.
            mode: ``'loss'`` or ``'tensor'``.

        Returns:
            What the given network returns in this mode.
        """
        wide = {}
        for name, growth in self.growths.items():
            path = name.replace('-', '.')
            for kind, value in growth.widened(model.get_submodule(path)).items():
                wide[f'{path}.{kind}'] = value
        return self._call(wide, inputs, data_samples, mode)

    def narrow(self, model: nn.Module, inputs: Tensor, data_samples: Any, mode: str) -> Any:
        """Run the network without what was added; arguments and result as in :meth:`forward`."""
        own = {name: p for name, p in model.named_parameters() if 'distiller.' not in name}
        return self._call(own, inputs, data_samples, mode)

    def _call(self, parameters: dict[str, Tensor], *args: Any) -> Any:
        inputs, data_samples, mode = args
        return functional_call(self.twin[0], parameters, (inputs, data_samples), dict(mode=mode))


def own_parameters(module: nn.Module) -> Any:
    """Yield the parameters of a module itself, not of its children."""
    return module.parameters(recurse=False)
