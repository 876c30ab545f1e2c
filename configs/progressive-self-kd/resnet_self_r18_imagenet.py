# Progressive self-distillation. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = '../_base_/pairs/resnet_self_r18_imagenet.py'
# α_T of the authors' command line. All probabilities of all images would take 5.1 GB.
model = dict(
    distill=dict(
        methods=dict(
            past=dict(
                type='mmkd.ProgressiveSelfKD',
                student='head.fc',
                num_samples=1281167,
                alpha=0.8,
                top_k=20,
            )
        )
    )
)
