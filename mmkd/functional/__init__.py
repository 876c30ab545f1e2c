from mmkd.functional.boxes import clip_to_visible
from mmkd.functional.feature import mimic_loss, standardize
from mmkd.functional.logits import class_rows, dense_binary_kl, kl_divergence
from mmkd.functional.pairs import (
    box_means,
    class_means,
    label_error,
    log_distributions,
    pair_divergence,
)

__all__ = [
    'box_means',
    'class_means',
    'class_rows',
    'clip_to_visible',
    'dense_binary_kl',
    'kl_divergence',
    'label_error',
    'log_distributions',
    'mimic_loss',
    'pair_divergence',
    'standardize',
]
