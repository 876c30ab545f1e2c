from mmkd.augmentors.base import Augmented, Augmentor
from mmkd.augmentors.mixture import MixtureAugmentor
from mmkd.augmentors.ops import AffineAugmentor, BlendAugmentor, ColourAugmentor, NoiseAugmentor
from mmkd.augmentors.vae import VAEAugmentor

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
