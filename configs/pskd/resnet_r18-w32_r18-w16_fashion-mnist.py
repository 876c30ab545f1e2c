# PS-KD. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../_base_/pairs/resnet_r18-w32_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        mixer=dict(type='mmkd.PatchMix', patch_size=4, num_images=2, prob=0.5),
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
