"""The mask stage of MasKD: tokens are learned on a frozen teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.functional import dice_diversity
from mmkd.methods.maskd import MaskTokens
from mmkd.models.teacher import Teacher, check_arguments
from mmkd.probe import probe
from mmkd.registry import MODELS
from mmkd.taps import Tap
from mmkd.utils import ConfigError, config_key, integer

KEY = 'model'


@MODELS.register_module()
class MaskLearner(BaseModel):
    """A frozen teacher whose tapped maps are masked by trainable tokens.

    A plain model for a plain config: the Runner trains it on the teacher's own task loss plus the
    overlap (Dice) of the masks, so that the tokens keep what the teacher needs and differ from
    each other. Evaluation is that of the masked teacher. The state dict, and so the checkpoint,
    holds the tokens alone; :class:`~mmkd.methods.maskd.MasKD` reads it.

    Source: Huang et al., "Masked Distillation with Receptive Tokens", ICLR 2023; ``MaskModule`` and
    ``MasKDHook`` of hunto/MasKD@b5af34f (``mmdetection/``).

    Deviations: none from the authors' detectors. Their segmentation script leaves the teacher in
    training mode, with batch statistics and dropout; here it is in eval mode.

    Args:
        teacher: Arguments of :class:`~mmkd.models.teacher.Teacher`, as in a distillation config.
        tap: Module of the teacher whose output is masked: ``neck``, ``decode_head.conv_seg``.
        levels: Which of its maps; the others pass unmasked. Defaults to None, all.
        num_tokens: Masks of each level. Defaults to 6.
        token_weights: Whether a small head weighs the tokens. Defaults to True.
        dice_weight: Weight of the overlap, summed over levels. Defaults to 1.0.
        probe_size: Height and width of the small batch that measures the maps at build time.
            Defaults to None: found out, see :mod:`mmkd.probe`.
        data_preprocessor: Defaults to None, the teacher's own.

    Raises:
        ConfigError: The teacher cannot be loaded, or the tap yields no maps.
    """

    def __init__(
        self,
        teacher: Mapping[str, Any],
        tap: str,
        levels: Sequence[int] | None = None,
        num_tokens: int = 6,
        token_weights: bool = True,
        dice_weight: float = 1.0,
        probe_size: tuple[int, int] | None = None,
        data_preprocessor: Any = None,
    ) -> None:
        frozen = Teacher(**check_arguments(teacher, f'{KEY}.teacher'), key=f'{KEY}.teacher')
        if data_preprocessor is None:
            data_preprocessor = getattr(frozen.model, 'data_preprocessor', None)
        super().__init__(data_preprocessor=data_preprocessor)
        with config_key(KEY):
            integer(1, num_tokens=num_tokens)
        self.teacher = frozen  # no module: out of the state dict, the optimizer and train()
        self.tap, self.dice_weight = tap, dice_weight
        (picked,) = Tap.parse(dict(module=tap), levels, f'{KEY}.tap')
        whole = Tap(module=picked.module)
        frozen.open_taps({whole: f'{KEY}.tap'})
        maps = probe([frozen.model], probe_size, frozen.probe)[1][whole]
        frozen.speed_up()
        self.num_maps = len(maps)
        wanted = range(len(maps)) if picked.levels is None else picked.levels
        if any(not -len(maps) <= level < len(maps) for level in wanted):
            raise ConfigError(
                f'{KEY}.levels',
                f'{tuple(wanted)} is out of range: {tap!r} yields {len(maps)} tensors',
            )
        #: Position of each level among the tokens.
        self.levels = {level % len(maps): index for index, level in enumerate(wanted)}
        if len(self.levels) < len(wanted):
            raise ConfigError(f'{KEY}.levels', f'a level is listed twice in {tuple(wanted)}')
        for level in self.levels:
            if maps[level].ndim != 4:
                raise ConfigError(
                    f'{KEY}.tap', f'{tap!r} yields no map: {tuple(maps[level].shape)}'
                )
        self.mask_tokens = nn.ModuleList(
            MaskTokens(maps[level].shape[1], num_tokens, token_weights) for level in self.levels
        )

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Return what the teacher returns with masked maps, and the overlap with its losses.

        Args:
            inputs: Batch (N, 3, H, W).
            data_samples: N data samples.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.
        """
        self.teacher.model.eval()  # other code may have called train()
        with self.masked() as overlaps:
            output = self.teacher.model(inputs, data_samples, mode=mode)
        if mode == 'loss':
            output = {**output, 'loss_dice': self.dice_weight * torch.stack(overlaps).sum()}
        return output

    @contextmanager
    def masked(self) -> Iterator[list[Tensor]]:
        """Mask the teacher's maps inside the ``with`` block; yields the list of their overlaps."""
        overlaps: list[Tensor] = []
        seen = 0

        def mask(x: Tensor) -> Tensor:
            nonlocal seen
            # A module that is called several times, for levels or windows, counts on.
            index = self.levels.get(seen % self.num_maps)
            seen += 1
            if index is None:
                return x
            with torch.autocast(x.device.type, enabled=False):
                kept, masks = self.mask_tokens[index](x.float())
                overlaps.append(dice_diversity(masks.flatten(2)))
            return kept.to(x.dtype)

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            return mask(output) if isinstance(output, Tensor) else type(output)(map(mask, output))

        handle = self.teacher.model.get_submodule(self.tap).register_forward_hook(hook)
        try:
            yield overlaps
        finally:
            handle.remove()

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Move the teacher with the tokens."""
        result = super()._apply(fn, *args, **kwargs)
        here = next(self.teacher.model.parameters()).device
        self.teacher.to(fn(torch.empty(0, device=here)).device)
        return result
