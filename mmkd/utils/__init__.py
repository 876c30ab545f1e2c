from mmkd.utils.checks import (
    at_least,
    between,
    fraction,
    integer,
    non_negative,
    one_of,
    positive,
    probability,
    term_weights,
)
from mmkd.utils.errors import (
    ConfigError,
    Interrupted,
    NonFiniteError,
    check_names,
    config_key,
    deprecated,
    did_you_mean,
    ensure,
    log_warning,
    refuse,
)
from mmkd.utils.gather import gather_rows
from mmkd.utils.heads import count_classes, find_head, run_heads, unwrap
from mmkd.utils.progress import epoch_progress, progress
from mmkd.utils.random import isolated_rng, step_generator
from mmkd.utils.samples import box_tensor, single_labels
from mmkd.utils.student_config import is_distilled, plain_config

__all__ = [
    'ConfigError', 'Interrupted', 'NonFiniteError', 'at_least', 'between', 'box_tensor',
    'check_names', 'config_key', 'count_classes', 'deprecated', 'did_you_mean', 'ensure',
    'epoch_progress', 'find_head', 'fraction', 'gather_rows', 'integer', 'is_distilled',
    'isolated_rng', 'log_warning', 'non_negative', 'one_of', 'plain_config', 'positive',
    'probability', 'progress', 'refuse', 'run_heads', 'single_labels', 'step_generator',
    'term_weights', 'unwrap',
]  # fmt: skip
