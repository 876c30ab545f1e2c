# ResNet-18 on CIFAR-100 at 224 pixels, OFA-KD's recipe of CNN students: SGD with 0.05, weight decay
# 0.002, 300 epochs, cosine.
_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    '../_base_/datasets/cifar100-224px.py',
    'mmpretrain::_base_/schedules/cifar10_bs128.py',
    'mmpretrain::_base_/default_runtime.py',
]
model = dict(head=dict(num_classes=100))
optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=0.002))
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=True, T_max=300)
train_cfg = dict(max_epochs=300)
