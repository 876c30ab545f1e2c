from mmkd.functional.boxes import clip_to_visible, giou_loss, log_iou_loss, valuable_region
from mmkd.functional.feature import mimic_loss, standardize
from mmkd.functional.heads import distribution_kl, prior_rows, quality_focal_kd
from mmkd.functional.labels import one_hot_pixels, resize_labels
from mmkd.functional.logits import class_rows, dense_binary_kl, kl_divergence
from mmkd.functional.prototypes import class_similarity, region_means, variation_loss
from mmkd.functional.queues import enqueue, pick_pixels, random_embeddings
from mmkd.functional.relations import cross_image_loss, memory_loss, pairwise_loss

__all__ = [
    'class_rows',
    'class_similarity',
    'clip_to_visible',
    'cross_image_loss',
    'dense_binary_kl',
    'distribution_kl',
    'enqueue',
    'giou_loss',
    'kl_divergence',
    'log_iou_loss',
    'memory_loss',
    'mimic_loss',
    'one_hot_pixels',
    'pairwise_loss',
    'pick_pixels',
    'prior_rows',
    'quality_focal_kd',
    'random_embeddings',
    'region_means',
    'resize_labels',
    'standardize',
    'valuable_region',
    'variation_loss',
]
