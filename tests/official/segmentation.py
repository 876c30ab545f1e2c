"""Methods for segmenters: pixel KD, SKD, IFVD, CIRKD, Af-DCD."""

from __future__ import annotations

from official.cases import waiting

waiting('mmkd has no Af-DCD yet', 'afdcd_*')

waiting('to be written', 'pixelkd_cirkd_tau1', 'pixelkd_cirkd_tau4')
waiting('to be written', 'pixelkd_skd_authors')
waiting('to be written', 'pixelkd_ifvd_authors')
waiting('to be written', 'skd_cirkd_even', 'skd_cirkd_odd')
waiting('to be written', 'skd_authors_half_map', 'skd_authors_odd', 'skd_authors_scale_third')
waiting('to be written', 'ifvd_cirkd', 'ifvd_authors_uneven_labels', 'ifvd_cirkd_mostly_ignored')
waiting('to be written', 'cirkd_batch', 'cirkd_batch_one_image')
waiting('to be written', 'cirkd_memory', 'cirkd_memory_ignored_image', 'cirkd_region_queue_update')
