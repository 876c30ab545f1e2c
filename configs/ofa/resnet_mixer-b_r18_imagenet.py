# OFA-KD, MLP to CNN. Mixer-B/16 -> ResNet-18 on ImageNet, 100 epochs.
_base_ = './resnet_deit-t_r18_imagenet.py'
model = dict(
    distill=dict(
        teacher=dict(config='mmpretrain::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py'),
        methods=dict(ofa=dict(teacher='head.fc')),
    )
)
