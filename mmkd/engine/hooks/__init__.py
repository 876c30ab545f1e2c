from mmkd.engine.hooks.distill_hook import DistillHook
from mmkd.engine.hooks.metric_watch_hook import MetricWatchHook
from mmkd.engine.hooks.progress_hook import ProgressHook
from mmkd.engine.hooks.safe_checkpoint_hook import SafeCheckpointHook

__all__ = ['DistillHook', 'MetricWatchHook', 'ProgressHook', 'SafeCheckpointHook']
