# Student-guided KD from an earlier run of the student. ResNet w16 on 1000 images of Fashion-MNIST.
_base_ = '../students/resnet-droppath_r18-w16_fashion-mnist.py'
# The authors' values and start from random weights; drop-path is ours.
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        inherit=(),  # the student starts from random weights, as in the authors' code
        teacher=dict(
            config='mmkd::teachers/resnet-droppath_r18-w16_fashion-mnist.py',
            checkpoint='work_dirs/teachers/resnet-droppath_r18-w16_fashion-mnist/teacher.pth',
        ),
        methods=dict(
            past=dict(
                type='mmkd.StochasticSelfKD',
                student=dict(module='head.fc', source='input'),
                teacher=dict(module='head.fc', source='input'),
                passes=30,
                scale=5.0,
                percentile=90.0,
                weight=1.0,
            )
        ),
    ),
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
