# HARD, affine transforms. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = '../kd/resnet-logits_r18-w32_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(type='mmkd.AffineAugmentor'),
            student='head.fc',
            teacher='head.fc',
            tau=4.0,
            prob=0.5,
            # Ours, in the units of the loss; README.md says why.
            thresholds=(1.0, 2.0),
            interval=2,
            optimizer=dict(type='Adam', lr=0.003),
        )
    )
)
