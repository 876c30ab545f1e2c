# CIFAR-100, 32 x 32: the first 10 000 training images, where distillation can help in little time.
_base_ = './cifar100-45k.py'
train_dataloader = dict(batch_size=64, dataset=dict(indices=10000))
