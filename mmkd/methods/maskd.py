"""MasKD: masked distillation with receptive tokens, learned on the frozen teacher beforehand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import masked_loss, rescaled
from mmkd.methods.adapters import ADAPTERS
from mmkd.methods.base import Maps
from mmkd.methods.maps import MapMethod
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, ensure, integer, non_negative, one_of, progress
from mmkd.utils.loading import read_checkpoint
from mmkd.view import View

PREFIX = 'mask_tokens.'  # of the entries in the mask stage's checkpoint


class MaskTokens(nn.Module):
    """The tokens of one level, each a mask over the map, and their weights.

    The layers of the weights are those of the authors' code.

    Args:
        channels: Channels C of the map.
        num_tokens: Number M of tokens.
        token_weights: Whether the tokens are weighted depending on the map; without, all count the
            same.
    """

    def __init__(self, channels: int, num_tokens: int, token_weights: bool) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(num_tokens, channels) * 0.01)
        self.score: nn.Module | None = None
        if token_weights:
            self.score = nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, num_tokens, 1),
            )
            for conv in (self.score[0], self.score[2]):
                nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
                nn.init.zeros_(conv.bias)

    def masks(self, x: Tensor) -> Tensor:
        """Return the masks ``m_t = σ(w_t · F)``, (N, M, H, W), of a map (N, C, H, W)."""
        return torch.einsum('mc,nchw->nmhw', self.tokens, x).sigmoid()

    def weights(self, x: Tensor) -> Tensor | None:
        """Return the weights (N, M) of the tokens, which sum to one; None without weights."""
        return None if self.score is None else self.score(x).flatten(1).softmax(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the masked map (N, C, H, W) and the masks (N, M, H, W) of a map (N, C, H, W).

        The masked map is ``Σ_t π_t m_t ⊙ F``, with all π = 1 without weights.
        """
        masks, weights = self.masks(x), self.weights(x)
        weighted = masks if weights is None else masks * weights[:, :, None, None]
        return x * weighted.sum(1, keepdim=True), masks


def load_tokens(path: str, channels: list[int], key: str) -> nn.ModuleList:
    """Build the tokens of all levels from the checkpoint of a mask stage, frozen.

    Args:
        path: The checkpoint; it determines how many tokens there are and whether they have weights.
        channels: Channels of the teacher's maps.
        key: Config key for error messages.

    Raises:
        ConfigError: The file is missing, or holds no tokens, or those of other maps.
    """
    try:
        content = read_checkpoint(path, key)
    except FileNotFoundError as error:
        raise ConfigError(
            key,
            f'{path!r} does not exist; the mask stage writes it: first train the config of '
            'configs/maskd/masks/ that belongs to this teacher',
        ) from error
    state: Any = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    found = [state[f'{level}.tokens'] for level in range(len(state)) if f'{level}.tokens' in state]
    widths = [tokens.shape[1] for tokens in found]
    ensure(
        widths == channels,
        key,
        f'{path!r} holds tokens for maps of {widths} channels and the teacher yields {channels}; '
        'use a checkpoint of the mask stage (configs/maskd/masks/) with the same taps and levels',
    )
    modules = nn.ModuleList(
        MaskTokens(c, len(tokens), f'{level}.score.0.weight' in state)
        for level, (c, tokens) in enumerate(zip(channels, found))
    )
    modules.load_state_dict(state)
    return modules.requires_grad_(False)


@MODELS.register_module()
class MasKD(MapMethod):
    """Imitate the teacher's maps under masks of learned, frozen tokens.

    ``L = Σ_l Σ_t π_t mean_c [ Σ_p m_t² (φ(F_s) - F_t)² / Σ_p m_t ]``, mean over N, with
    ``m_t = σ(w_t · F_t)``, and ``m_t = σ(w_t · F_t) σ(w_t · φ(F_s))`` from iteration
    ``custom_mask_warmup`` on. The tokens ``w`` and their weights ``π`` come from the mask stage
    (:class:`~mmkd.models.mask_learner.MaskLearner`), a separate training run. Tokens learned
    without weights count the same, ``π = 1/M``.

    Source: Huang et al., "Masked Distillation with Receptive Tokens", ICLR 2023, and ``MasKDLoss``
    of hunto/MasKD@b5af34f (``mmrazor/mmrazor/models/losses``, ``segmentation/losses``).

    Args:
        student: Tap of L maps (N, C_student, H, W).
        teacher: Tap of L maps (N, C_teacher, H, W): the tap and levels of the mask stage.
        tokens: Checkpoint of the mask stage.
        custom_mask_warmup: Iteration from which the student's masks count as well, without
            gradient; None for never (the form for segmentation). Defaults to None.
        adapter: See :class:`~mmkd.methods.feature_mimic.FeatureMimic`. The authors' detectors have
            ``'conv'``. Defaults to ``'auto'``.
        eps: Added to a mask's sum: 1e-5 in the authors' segmenters. Defaults to 0.0, of their
            detectors.
        **kwargs: ``normalize`` and others, see :class:`~mmkd.methods.maps.MapMethod`. The tokens
            were learned on raw maps: their masks and weights read the raw teacher, and the
            normalized student on the teacher's scale.

    Deviations: none in the loss. The authors' detectors also imitate the raw box regression with an
    L1 loss, which mmkd has not. Their segmenters' loss on the auxiliary head is a second ``MasKD``
    with the same tokens.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tokens: str,
        custom_mask_warmup: int | None = None,
        adapter: str = 'auto',
        eps: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tokens = tokens
        self.adapter = one_of(ADAPTERS, adapter=adapter)
        self.eps = non_negative(eps=eps)
        self.custom_mask_warmup = integer(0, optional=True, custom_mask_warmup=custom_mask_warmup)

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the adapters and load the tokens."""
        self.adapters = self.build_adapters(student, teacher, self.adapter)
        self.mask_tokens = load_tokens(self.tokens, [t.shape[1] for t in teacher], 'tokens')

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``maskd``, the sum over the levels."""
        pairs = self.compared(student, teacher, view)
        levels = []
        found = self.soft_masks(pairs, teacher)
        for tokens, raw, (s, t), masks in zip(self.mask_tokens, teacher, pairs, found):
            energy = (t - s).square().mean(1).flatten(1)  # (N, H·W)
            distances = masked_loss(energy, masks.flatten(2), eps=self.eps)  # (N, M)
            with torch.no_grad():
                weights = tokens.weights(raw)
            level = distances.mean(1) if weights is None else (distances * weights).sum(1)
            levels.append(level.mean())
        return dict(maskd=torch.stack(levels).sum())

    def masks(self, student: Maps, teacher: Maps, view: View) -> list[Tensor]:
        """Return the masks (N, M, H, W) of every level."""
        return self.soft_masks(self.compared(student, teacher, view), teacher)

    @torch.no_grad()
    def soft_masks(self, pairs: list[tuple[Tensor, Tensor]], teacher: Maps) -> list[Tensor]:
        """Return the masks of every level, the student's included after its warm-up.

        Args:
            pairs: What :meth:`compared` returns.
            teacher: The teacher's raw maps.
        """
        masks = [tokens.masks(t) for tokens, t in zip(self.mask_tokens, teacher)]
        if self.custom_mask_warmup is None or progress()[0] < self.custom_mask_warmup:
            return masks
        own = (rescaled(s, t, self.normalize) for (s, _), t in zip(pairs, teacher))
        return [m * tokens.masks(s) for m, tokens, s in zip(masks, self.mask_tokens, own)]
