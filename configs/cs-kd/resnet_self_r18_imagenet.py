# CS-KD. ResNet-18 on ImageNet, 100 epochs, without a teacher.
_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'
custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
model = dict(
    type='mmkd.Distilled',
    student=_base_.model.type,
    distill=dict(
        methods=dict(
            # The authors' temperature and weight.
            pairs=dict(type='mmkd.CSKD', student='head.fc', tau=4.0, weight=1.0),
        ),
    ),
)
# Half of the images are anchors in each epoch, so that it has as many images as the student's.
train_dataloader = dict(
    batch_sampler=dict(type='mmkd.SameClassPairBatchSampler', anchors_per_epoch='half')
)
default_hooks = dict(distill=dict(type='mmkd.DistillHook'))
