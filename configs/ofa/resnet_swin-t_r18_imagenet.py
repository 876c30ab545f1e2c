# OFA-KD, transformer to CNN. Swin-T -> ResNet-18 on ImageNet, 100 epochs.
_base_ = './resnet_deit-t_r18_imagenet.py'
# The windows of a Swin need maps of training size when the model is built.
model = dict(
    distill=dict(
        teacher=dict(config='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'),
        methods=dict(ofa=dict(teacher='head.fc')),
    )
)
