from mmkd.engine.hooks import DistillHook, ProgressHook

__all__ = ['DistillHook', 'ProgressHook']
