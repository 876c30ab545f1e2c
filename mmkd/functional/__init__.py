from mmkd.functional.boxes import clip_to_visible
from mmkd.functional.calibration import expected_calibration_error, negative_log_likelihood
from mmkd.functional.feature import mimic_loss, standardize
from mmkd.functional.logits import class_rows, dense_binary_kl, kl_divergence
from mmkd.functional.self_kd import (
    designed_distribution,
    masked_log_softmax,
    soft_cross_entropy,
    soft_target_labels,
    student_guided_target,
    zipf_labels,
)

__all__ = [
    'class_rows',
    'clip_to_visible',
    'dense_binary_kl',
    'designed_distribution',
    'expected_calibration_error',
    'kl_divergence',
    'masked_log_softmax',
    'mimic_loss',
    'negative_log_likelihood',
    'soft_cross_entropy',
    'soft_target_labels',
    'standardize',
    'student_guided_target',
    'zipf_labels',
]
