# PS-KD. ResNet-28x4 -> ResNet-14x4 on CIFAR-100.
_base_ = '../_base_/pairs/resnet_r28x4_r14x4_cifar100.py'
model = dict(
    distill=dict(
        # Ours: patches of 8 pixels, two cells of the last stage (stride 4).
        mixer=dict(type='mmkd.PatchMix', grid=(4, 4), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                # Last stage, standardized, 256 channels on both sides. The weight is ours.
                feature=dict(
                    student='backbone', teacher='backbone', normalize='channel', weight=1.0
                ),
                # mdistiller's T=4. It weighs cross-entropy 0.1 and KD 0.9; here the student keeps
                # its own loss as it is and the KD weight is ours (README.md: how to run theirs).
                logits=dict(
                    student='head.fc',
                    teacher='backbone',
                    tau=4.0,
                    logit_sim='pooled',  # the teacher's own head on its simulated map
                    weight=1.0,
                ),
            )
        ),
    )
)
