from mmkd.engine.hooks import DistillHook, ProgressHook, SafeCheckpointHook

__all__ = ['DistillHook', 'ProgressHook', 'SafeCheckpointHook']
