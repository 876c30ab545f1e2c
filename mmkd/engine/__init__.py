from mmkd.engine.hooks import DistillHook, MetricWatchHook, ProgressHook, SafeCheckpointHook

__all__ = ['DistillHook', 'MetricWatchHook', 'ProgressHook', 'SafeCheckpointHook']
