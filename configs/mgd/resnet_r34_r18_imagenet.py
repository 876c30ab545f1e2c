# MGD. ResNet-34 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = '../_base_/pairs/resnet_r34_r18_imagenet.py'
model = dict(
    distill=dict(
        methods=dict(
            mgd=dict(
                type='mmkd.MGD',
                student='backbone',
                teacher='backbone',
                levels=(-1,),
                mask='channel',
                mask_ratio=0.15,
                weight=7e-5,
            )
        )
    )
)
