# PS-KD. RetinaNet R18 -> quarter-width R18 on VOC-5.
_base_ = '../_base_/pairs/retinanet_r18_r18-w16_voc5.py'
# The values of the BCCD config, not tuned for this set.
model = dict(
    distill=dict(
        mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                feature=dict(
                    student='neck',
                    teacher='neck',
                    levels=(0, 1, 2, 3, 4),
                    normalize='channel',
                    weight=1.0,
                ),
            )
        ),
    )
)
