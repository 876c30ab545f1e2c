from mmkd.mixers.hard.affine import AffineAugmentor
from mmkd.mixers.hard.augmentors import (
    Augmented,
    Augmentor,
    BlendAugmentor,
    ColourAugmentor,
    MixtureAugmentor,
    NoiseAugmentor,
)
from mmkd.mixers.hard.vae import VAEAugmentor

__all__ = [
    'AffineAugmentor',
    'Augmented',
    'Augmentor',
    'BlendAugmentor',
    'ColourAugmentor',
    'MixtureAugmentor',
    'NoiseAugmentor',
    'VAEAugmentor',
]
