from mmkd.functional.boxes import clip_to_visible
from mmkd.functional.feature import mimic_loss, standardize
from mmkd.functional.logits import class_rows, dense_binary_kl, kl_divergence

__all__ = [
    'class_rows',
    'clip_to_visible',
    'dense_binary_kl',
    'kl_divergence',
    'mimic_loss',
    'standardize',
]
