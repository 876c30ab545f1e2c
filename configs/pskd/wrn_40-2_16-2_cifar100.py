# PS-KD. WRN-40-2 -> WRN-16-2 on CIFAR-100.
_base_ = '../_base_/pairs/wrn_40-2_16-2_cifar100.py'
model = dict(
    distill=dict(
        # Ours: patches of 8 pixels, two cells of the last stage (stride 4).
        mixer=dict(type='mmkd.PatchMix', grid=(4, 4), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                feature=dict(
                    student='backbone', teacher='backbone', normalize='channel', weight=1.0
                ),
                # The teacher's own neck and head on the simulated map.
                logits=dict(
                    student='head.fc', teacher='backbone', logit_sim='pooled', tau=4.0, weight=1.0
                ),
            )
        ),
    )
)
