# CIFAR-100 (classification), 32 x 32: all 50 000 training images, and the test images as val and
# test, as in the distillation literature. `cifar-100-python` lies in data/cifar100, or is downloaded.
# Files that were written anew: `mmkd.UncheckedCIFAR100` as the type of the three data sets.
_base_ = 'mmpretrain::_base_/datasets/cifar100_bs16.py'
train_dataloader = dict(batch_size=64, num_workers=1, persistent_workers=True)
val_dataloader = dict(batch_size=250, num_workers=1, persistent_workers=True)
test_dataloader = dict(batch_size=250, num_workers=1, persistent_workers=True)
