"""Receptive tokens: what a frozen teacher looks at, learned before distillation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmkd.functional import token_masks
from mmkd.utils import ConfigError
from mmkd.utils.loading import read_checkpoint

PREFIX = 'mask_tokens.'  # of the entries in the mask stage's checkpoint


class MaskTokens(nn.Module):
    """The tokens of one level, each a mask over the map, and their weights.

    Source: Huang et al., "Masked Distillation with Receptive Tokens", ICLR 2023; the layers of the
    weights are those of the authors' code.

    Args:
        channels: Channels C of the map.
        num_tokens: Number M of tokens.
        token_weights: Whether the tokens are weighted by what the map holds; without, all count
            the same.
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
        """Return the masks (N, M, H, W) of a map (N, C, H, W)."""
        return token_masks(x, self.tokens)

    def weights(self, x: Tensor) -> Tensor | None:
        """Return the weights (N, M) of the tokens, which sum to one; None without weights."""
        return None if self.score is None else self.score(x).flatten(1).softmax(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the masks leave of a map, and the masks.

        Args:
            x: Map (N, C, H, W).

        Returns:
            ``Σ_t π_t m_t ⊙ F`` (N, C, H, W), all π = 1 without weights, and the masks
            (N, M, H, W).
        """
        masks, weights = self.masks(x), self.weights(x)
        weighted = masks if weights is None else masks * weights[:, :, None, None]
        return x * weighted.sum(1, keepdim=True), masks


def load_tokens(path: str, channels: list[int], key: str) -> nn.ModuleList:
    """Build the tokens of all levels from the checkpoint of a mask stage, frozen.

    Args:
        path: The checkpoint; it says how many tokens there are and whether they have weights.
        channels: Channels of the teacher's maps.
        key: Config key for error messages.

    Raises:
        ConfigError: The file is missing, holds no tokens, or those of other maps.
    """
    try:
        content = read_checkpoint(path, key)
    except FileNotFoundError as error:
        raise ConfigError(
            key,
            f'{path!r} does not exist; the mask stage writes it: train the config of '
            'configs/maskd/masks/ that belongs to this teacher first',
        ) from error
    state: Any = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    if not state:
        raise ConfigError(key, f'{path!r} holds no tokens; it is no checkpoint of a mask stage')
    found = [state[f'{level}.tokens'] for level in range(len(state)) if f'{level}.tokens' in state]
    if [tokens.shape[1] for tokens in found] != channels:
        raise ConfigError(
            key,
            f'{path!r} holds tokens for maps of {[t.shape[1] for t in found]} channels and the '
            f'teacher yields {channels}; learn them on the same taps and levels',
        )
    modules = nn.ModuleList(
        MaskTokens(c, len(tokens), f'{level}.score.0.weight' in state)
        for level, (c, tokens) in enumerate(zip(channels, found))
    )
    modules.load_state_dict(state)
    return modules.requires_grad_(False)
