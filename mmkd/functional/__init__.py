"""Maths that several methods or mixers share, by kind of tensor."""

from mmkd.functional.augment import *
from mmkd.functional.calibration import expected_calibration_error, negative_log_likelihood
from mmkd.functional.detection import *
from mmkd.functional.divergence import softmax_kl
from mmkd.functional.features import *
from mmkd.functional.heterogeneous import adaptive_target_loss, cosine_distance, similarity_error
from mmkd.functional.logits import (
    class_rows,
    dense_binary_kl,
    disagreement,
    dkd_terms,
    kl_divergence,
    nkd_non_target_loss,
    nkd_target_loss,
    pearson_distance,
    unit_std,
)
from mmkd.functional.masks import *
from mmkd.functional.mutual_information import class_sums, conditional_mutual_information
from mmkd.functional.pairs import (
    box_means,
    class_means,
    label_error,
    log_distributions,
    pair_divergence,
)
from mmkd.functional.segmentation import *
from mmkd.functional.self_kd import (
    designed_distribution,
    masked_log_softmax,
    soft_cross_entropy,
    soft_target_labels,
    student_guided_target,
    zipf_labels,
)
from mmkd.functional.widening import widen
