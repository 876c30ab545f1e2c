# HARD, changes of the latent vector of an autoencoder. ResNet w32 -> w16 on 1000 images of
# Fashion-MNIST.
_base_ = '../students/resnet_r18-w16_fashion-mnist.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        probe_size=(28, 28),  # the autoencoder takes no other
        teacher=dict(
            config='mmkd::teachers/resnet_r18-w32_fashion-mnist.py',
            checkpoint='work_dirs/teachers/resnet_r18-w32_fashion-mnist/teacher.pth',
        ),
        mixer=dict(
            type='mmkd.HardAugment',
            augmentor=dict(
                type='mmkd.VAEAugmentor',
                vae=dict(
                    config='mmkd::hard/vae/conv-vae_fashion-mnist.py',
                    checkpoint='work_dirs/vae/conv-vae_fashion-mnist/epoch_5.pth',
                ),
                radius=2.0,
            ),
            student='head.fc',
            teacher='head.fc',
            tau=4.0,
            prob=0.5,
            # Ours, in the units of the loss below; README.md says why.
            thresholds=(1.0, 2.0),
            interval=2,
            optimizer=dict(type='Adam', lr=0.003),
        ),
        methods=dict(
            logits=dict(
                type='mmkd.LogitKD',
                student='head.fc',
                teacher='head.fc',
                tau=4.0,
                weight=1.0,
            ),
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
