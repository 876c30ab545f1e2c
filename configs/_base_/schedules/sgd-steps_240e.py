# The schedule of the CIFAR distillation literature (mdistiller, RepDistiller): one GPU, batch 64.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.0005)
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=240, val_interval=10)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[150, 180, 210], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=64)
