from mmkd.functional.attention import (
    activation_attention,
    attention_distance,
    channel_attention,
    spatial_attention,
)
from mmkd.functional.boxes import clip_to_visible
from mmkd.functional.channelwise import channel_kl
from mmkd.functional.feature import mimic_loss, standardize
from mmkd.functional.foreground import foreground_masks, pad_boxes, weighted_squares
from mmkd.functional.logits import class_rows, dense_binary_kl, kl_divergence
from mmkd.functional.masked import dice_overlap, masked_distances, token_masks

__all__ = [
    'activation_attention',
    'attention_distance',
    'channel_attention',
    'channel_kl',
    'class_rows',
    'clip_to_visible',
    'dense_binary_kl',
    'dice_overlap',
    'foreground_masks',
    'kl_divergence',
    'masked_distances',
    'mimic_loss',
    'pad_boxes',
    'spatial_attention',
    'standardize',
    'token_masks',
    'weighted_squares',
]
