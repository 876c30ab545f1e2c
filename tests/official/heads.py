"""Detection heads: LD, CrossKD, BCKD, KD-DETR."""

from __future__ import annotations

from official.cases import waiting

waiting('mmkd has no BCKD yet', 'bckd_*')
waiting('mmkd has no KD-DETR yet', 'kddetr_*')

waiting('to be written', 'ld_main', 'ld_valuable', 'ld_cls', 'ld_total', 'ld_without_positives')
waiting(
    'to be written',
    'ld_region_three_boxes',
    'ld_region_one_large_box',
    'ld_region_small_boxes',
    'ld_region_padded_image',
)
waiting(
    'to be written',
    'crosskd_retina_shipped',
    'crosskd_retina_as_written',
    'crosskd_retina_start0',
    'crosskd_gfl_shipped',
    'crosskd_gfl_as_written',
    'crosskd_atss_shipped',
    'crosskd_fcos_shipped',
)
