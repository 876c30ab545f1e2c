from mmkd.utils.errors import ConfigError, Interrupted, NonFiniteError, did_you_mean
from mmkd.utils.gather import gather_rows
from mmkd.utils.plain import is_distilled, plain_config
from mmkd.utils.progress import epoch_progress, progress
from mmkd.utils.random import isolated_rng, step_generator

__all__ = [
    'ConfigError',
    'Interrupted',
    'NonFiniteError',
    'did_you_mean',
    'epoch_progress',
    'gather_rows',
    'is_distilled',
    'isolated_rng',
    'plain_config',
    'progress',
    'step_generator',
]
