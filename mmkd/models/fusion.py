"""Folding BatchNorm into convolutions, where the tapped tensors stay the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmcv.cnn.bricks.wrappers import Conv2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmkd.models.speed import largest_error
from mmkd.taps import Tap
from mmkd.utils import log_warning

# Subclasses may compute something else of their weights, such as standardized ones.
CONVS = (nn.Conv2d, Conv2d)
# Folding only rounds differently; a larger relative error means that it was not a pair after all.
ROUNDING = 1e-4
Features = Mapping[Tap, list[Tensor]]


def conv_bn_pairs(model: nn.Module, run: Callable[[], Any]) -> list[tuple[str, str]]:
    """Find the BatchNorms whose input is the output of one convolution, in a forward pass.

    The order of modules does not determine it: heads share convolutions between levels with
    BatchNorms of their own, and some blocks normalize first.

    Args:
        model: A model in evaluation mode.
        run: Runs it once.

    Returns:
        Paths of convolution and BatchNorm, for pairs of which every call of the one is followed by
        a call of the other.
    """
    names = {module: name for name, module in model.named_modules()}
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor too, so that no id is used twice
    readers: dict[nn.Module, list[nn.Module]] = {}  # of every convolution's outputs, by call
    sources: dict[nn.Module, list[nn.Module | None]] = {}  # of every BatchNorm's inputs

    def after_conv(module: nn.Module, args: Any, output: Tensor) -> None:
        made[id(output)] = module, output
        readers.setdefault(module, []).append(module)

    def before_bn(module: nn.Module, args: Any) -> None:
        conv = made.get(id(args[0]), (None, None))[0]
        sources.setdefault(module, []).append(conv)

    handles = []
    for module in names:
        if type(module) in CONVS:
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(before_bn))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    pairs = []
    for bn, convs in sources.items():
        conv = convs[0]
        if conv is None or bn.running_mean is None or any(other is not conv for other in convs):
            continue
        elsewhere = any(conv in found for other, found in sources.items() if other is not bn)
        if not elsewhere and len(readers[conv]) == len(convs):
            pairs.append((names[conv], names[bn]))
    return pairs


def untapped(pairs: Iterable[tuple[str, str]], taps: Iterable[Tap]) -> list[tuple[str, str]]:
    """Leave out the pairs with a tap between convolution and BatchNorm."""
    outputs, inputs = (
        {tap.module for tap in taps if tap.source == source} for source in ('output', 'input')
    )
    return [(conv, bn) for conv, bn in pairs if conv not in outputs and bn not in inputs]


def fuse(model: nn.Module, pairs: Iterable[tuple[str, str]]) -> Callable[[], None]:
    """Fold BatchNorms into their convolutions, in place; identities take their places.

    Args:
        model: A model in evaluation mode.
        pairs: What :func:`conv_bn_pairs` found.

    Returns:
        A function that restores the original modules.
    """
    replaced = []
    for names in pairs:
        conv, bn = (model.get_submodule(name) for name in names)
        merged = fuse_conv_bn_eval(conv, bn).requires_grad_(False).eval()
        for name, old, new in zip(names, (conv, bn), (merged, nn.Identity().eval())):
            replaced.append((name, old))
            put(model, name, new)

    def undo() -> None:
        for name, old in replaced:
            put(model, name, old)

    return undo


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a module."""
    parent, _, child = name.rpartition('.')
    model.get_submodule(parent)._modules[child] = module


def fuse_exactly(
    model: nn.Module,
    pairs: list[tuple[str, str]],
    expected: Features,
    run: Callable[[], Features],
    key: str,
) -> list[tuple[str, str]]:
    """Fold pairs of convolution and BatchNorm, unless that changes what is tapped.

    Args:
        model: A model in evaluation mode.
        pairs: What :func:`conv_bn_pairs` found.
        expected: The tapped tensors before.
        run: Returns the tapped tensors.
        key: Config key of the model, for the warning.

    Returns:
        The pairs that are folded: all or none.
    """
    undo = fuse(model, pairs)
    found = run()
    error = max((largest_error(expected[tap], found[tap]) for tap in expected), default=0.0)
    if error <= ROUNDING:
        return pairs
    undo()
    log_warning(
        f'{key}.fuse_conv_bn: folding BatchNorm into the convolutions changes the tapped tensors '
        f'(relative error {error:.1g}), so nothing is folded; set it to False'
    )
    return []
