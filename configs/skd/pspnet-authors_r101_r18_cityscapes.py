# SKD and pixel KD in the authors' form. PSPNet R101 -> R18 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/pspnet-pixel_r101_r18_cityscapes.py'
# Windows of half the map, a constant norm, weight 0.5. The authors sum the pixel term over the
# batch of 8 images, with weight 10: 80 times the mean.
model = dict(
    distill=dict(
        methods=dict(
            logits=dict(weight=80.0),
            skd=dict(
                type='mmkd.SKD',
                student='decode_head.bottleneck',
                teacher='decode_head.bottleneck',
                pool=0.5,
                detach_norm=True,
                weight=0.5,
            ),
        )
    )
)
