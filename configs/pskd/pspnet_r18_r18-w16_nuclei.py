# PS-KD. PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../_base_/pairs/pspnet_r18_r18-w16_nuclei.py'
model = dict(
    distill=dict(
        mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                feature=dict(
                    student='decode_head.bottleneck',
                    teacher='decode_head.bottleneck',
                    normalize='channel',
                    weight=1.0,
                ),
            )
        ),
    )
)
