"""Children of mmengine's registries; mmkd's configs and OpenMMLab's find them by ``pebbles.``."""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='pebbles', locations=['pebbles'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='pebbles', locations=['pebbles'])
