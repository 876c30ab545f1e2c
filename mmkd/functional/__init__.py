from mmkd.functional.attention import attend_in_pieces, cross_attention, pool_cells
from mmkd.functional.boxes import clip_to_visible
from mmkd.functional.feature import mimic_loss, standardize
from mmkd.functional.logits import class_rows, dense_binary_kl, kl_divergence
from mmkd.functional.masks import (
    activation_masks,
    channel_masked_loss,
    dice_diversity,
    spatial_masked_loss,
)

__all__ = [
    'activation_masks',
    'attend_in_pieces',
    'channel_masked_loss',
    'class_rows',
    'clip_to_visible',
    'cross_attention',
    'dense_binary_kl',
    'dice_diversity',
    'kl_divergence',
    'mimic_loss',
    'pool_cells',
    'spatial_masked_loss',
    'standardize',
]
