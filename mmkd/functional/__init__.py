from mmkd.functional.activation import (
    activation_attention,
    attention_distance,
    channel_attention,
    spatial_attention,
)
from mmkd.functional.attention import attend_in_pieces, cross_attention, pool_cells
from mmkd.functional.augment import OPERATIONS, augment, relaxed_bernoulli, relaxed_choice
from mmkd.functional.boxes import clip_to_visible, giou_loss, log_iou_loss, valuable_region
from mmkd.functional.calibration import expected_calibration_error, negative_log_likelihood
from mmkd.functional.centers import (
    box_area,
    center_cells,
    center_focal_loss,
    center_heatmap,
    center_regression,
    gaussian_radius,
    peak_boxes,
)
from mmkd.functional.channelwise import channel_kl
from mmkd.functional.divergence import softmax_kl
from mmkd.functional.feature import mimic_loss, resize_to, standardize
from mmkd.functional.foreground import foreground_masks, pad_boxes, weighted_squares
from mmkd.functional.heads import distribution_kl, prior_rows, quality_focal_kd
from mmkd.functional.heterogeneous import (
    adaptive_target_loss,
    cosine_distance,
    similarity_error,
)
from mmkd.functional.labels import one_hot_pixels, resize_labels
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
from mmkd.functional.masks import (
    activation_masks,
    area_balance,
    channel_masked_loss,
    dice_diversity,
    spatial_masked_loss,
    token_masks,
)
from mmkd.functional.mutual_information import class_sums, conditional_mutual_information
from mmkd.functional.pairs import (
    box_means,
    class_means,
    label_error,
    log_distributions,
    pair_divergence,
)
from mmkd.functional.prototypes import class_similarity, region_means, variation_loss
from mmkd.functional.queues import enqueue, pick_pixels, random_embeddings
from mmkd.functional.relations import cross_image_loss, memory_loss, pairwise_loss
from mmkd.functional.self_kd import (
    designed_distribution,
    masked_log_softmax,
    soft_cross_entropy,
    soft_target_labels,
    student_guided_target,
    zipf_labels,
)
from mmkd.functional.warp import gumbel_choice
from mmkd.functional.widening import widen

__all__ = [
    'OPERATIONS',
    'activation_attention',
    'activation_masks',
    'adaptive_target_loss',
    'area_balance',
    'attend_in_pieces',
    'attention_distance',
    'augment',
    'box_area',
    'box_means',
    'center_cells',
    'center_focal_loss',
    'center_heatmap',
    'center_regression',
    'channel_attention',
    'channel_kl',
    'channel_masked_loss',
    'class_means',
    'class_rows',
    'class_similarity',
    'class_sums',
    'clip_to_visible',
    'conditional_mutual_information',
    'cosine_distance',
    'cross_attention',
    'cross_image_loss',
    'dense_binary_kl',
    'designed_distribution',
    'dice_diversity',
    'disagreement',
    'distribution_kl',
    'dkd_terms',
    'enqueue',
    'expected_calibration_error',
    'foreground_masks',
    'gaussian_radius',
    'giou_loss',
    'gumbel_choice',
    'kl_divergence',
    'label_error',
    'log_distributions',
    'log_iou_loss',
    'masked_log_softmax',
    'memory_loss',
    'mimic_loss',
    'negative_log_likelihood',
    'nkd_non_target_loss',
    'nkd_target_loss',
    'one_hot_pixels',
    'pad_boxes',
    'pair_divergence',
    'pairwise_loss',
    'peak_boxes',
    'pearson_distance',
    'pick_pixels',
    'pool_cells',
    'prior_rows',
    'quality_focal_kd',
    'random_embeddings',
    'region_means',
    'relaxed_bernoulli',
    'relaxed_choice',
    'resize_labels',
    'resize_to',
    'similarity_error',
    'soft_cross_entropy',
    'soft_target_labels',
    'softmax_kl',
    'spatial_attention',
    'spatial_masked_loss',
    'standardize',
    'student_guided_target',
    'token_masks',
    'unit_std',
    'valuable_region',
    'variation_loss',
    'weighted_squares',
    'widen',
    'zipf_labels',
]
