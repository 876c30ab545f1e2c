# The student without its own loss, for a hint stage of 40 epochs, a sixth of the whole schedule.
_base_ = './resnet_r14x4_cifar100.py'
model = dict(head=dict(loss=dict(loss_weight=0.0)))
param_scheduler = dict(milestones=[25, 30, 35])
train_cfg = dict(max_epochs=40)
