# PS-KD. DeepLabV3 R101 -> MobileNetV2 on Cityscapes, 512x1024, 80k iterations.
_base_ = '../_base_/pairs/deeplabv3_r101_mobilenet-v2_cityscapes.py'
model = dict(
    distill=dict(
        # Ours: the paper has no dense tasks, and its patch size and probability are not public.
        mixer=dict(type='mmkd.PatchMix', grid=(2, 2), num_images=2, prob=0.5),
        methods=dict(
            pskd=dict(
                type='mmkd.PatchMixSimulationKD',
                # Before the classifier, 512 channels on both sides. The weight is ours.
                feature=dict(
                    student='decode_head.bottleneck',
                    teacher='decode_head.bottleneck',
                    normalize='channel',
                    weight=1.0,
                ),
                # Pixel KD with the temperature and weight of CIRKD's re-implementation.
                logits=dict(
                    student='decode_head.conv_seg',
                    teacher='decode_head.conv_seg',
                    tau=1.0,
                    weight=1.0,
                ),
            )
        ),
    )
)
