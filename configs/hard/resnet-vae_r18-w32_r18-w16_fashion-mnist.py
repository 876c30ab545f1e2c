# HARD in the latent space of an autoencoder. ResNet w32 -> w16 on 1000 images of Fashion-MNIST.
_base_ = './resnet-affine_r18-w32_r18-w16_fashion-mnist.py'
model = dict(
    distill=dict(
        probe_size=(28, 28),  # the only size that the autoencoder takes
        mixer=dict(
            augmentor=dict(
                type='mmkd.VAEAugmentor',
                vae=dict(
                    config='mmkd::hard/vae/conv-vae_fashion-mnist.py',
                    checkpoint='work_dirs/vae/conv-vae_fashion-mnist/epoch_5.pth',
                ),
                radius=2.0,
            )
        ),
    )
)
