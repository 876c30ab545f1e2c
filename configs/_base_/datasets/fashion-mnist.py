# Fashion-MNIST (classification), 28 x 28 gray, the four unpacked files in data/fashion_mnist.
# Students train on the first 1000 training images, where distillation can help; the last 5000
# training images are val, the official test set is test.
dataset_type = 'FashionMNIST'
data_root = 'data/fashion_mnist'
data_preprocessor = dict(mean=[72.94], std=[90.02], num_classes=10)

train_pipeline = [
    dict(type='RandomCrop', crop_size=28, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        download=False,
        indices=1000,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='train',
        download=False,
        indices=-5000,
        pipeline=test_pipeline,
    ),
)
# Settings are chosen on val; test is for the final numbers.
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='test',
        test_mode=True,
        download=False,
        pipeline=test_pipeline,
    ),
)
# Settings are chosen by accuracy; calibration error and log-likelihood are reported beside it.
val_evaluator = [dict(type='Accuracy', topk=(1,)), dict(type='mmkd.Calibration')]
test_evaluator = val_evaluator
