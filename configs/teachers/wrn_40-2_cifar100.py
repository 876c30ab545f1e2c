# WRN-40-2 on CIFAR-100, 2.26 M parameters, with the student's schedule.
_base_ = '../students/wrn_16-2_cifar100.py'
model = dict(backbone=dict(depth='40-2'))
