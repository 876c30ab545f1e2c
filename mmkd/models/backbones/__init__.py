"""Backbones that mmkd registers for mmpretrain."""

from mmkd.models.backbones.cifar_resnet import CIFARResNet
from mmkd.models.backbones.cifar_wide_resnet import CIFARWideResNet

__all__ = ['CIFARResNet', 'CIFARWideResNet']
