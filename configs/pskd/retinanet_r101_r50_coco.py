# PS-KD. RetinaNet R101 -> R50 on COCO, both trained for 24 epochs.
_base_ = '../_base_/pairs/retinanet_r101_r50_coco.py'
model = dict(
    distill=dict(
        inherit=('neck', 'bbox_head'),
        # Ours: the paper has no dense tasks, and its patch size and probability are not public.
        mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                # Standardized maps, one weight for all detectors (origins: metafile.yml).
                feature=dict(
                    student='neck',
                    teacher='neck',
                    levels=(0, 1, 2, 3, 4),
                    normalize='channel',
                    weight=6.0,
                ),
            )
        ),
    )
)
