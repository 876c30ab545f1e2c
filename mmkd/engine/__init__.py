from mmkd.engine.hooks import DistillHook, MetricWatchHook, ProgressHook

__all__ = ['DistillHook', 'MetricWatchHook', 'ProgressHook']
