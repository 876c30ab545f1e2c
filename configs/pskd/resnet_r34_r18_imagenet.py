# PS-KD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
model = dict(
    distill=dict(
        # Ours: patches of 32 pixels, the stride of the last stage, so that every teacher cell is
        # one patch.
        mixer=dict(type='mmkd.PatchMix', grid=(7, 7), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                # Last stage, standardized, 512 channels on both sides. The weight is ours.
                feature=dict(
                    student='backbone', teacher='backbone', normalize='channel', weight=1.0
                ),
                # mmrazor's ResNet-34 -> 18 recipe: T=1, KD weight 3, cross-entropy weight 1.
                logits=dict(
                    student='head.fc',
                    teacher='backbone',
                    tau=1.0,
                    logit_sim='pooled',  # the teacher's own head on its simulated map
                    weight=3.0,
                ),
            )
        ),
    )
)
