from mmkd.mixers.hard.augmentors import Augmented, Augmentor
from mmkd.mixers.hard.mixture import MixtureAugmentor
from mmkd.mixers.hard.ops import AffineAugmentor, BlendAugmentor, ColourAugmentor, NoiseAugmentor
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
