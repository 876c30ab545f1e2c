# A small autoencoder for HARD on Fashion-MNIST (28 x 28 gray), trained on the teacher's images
# without labels: 32 latents, 5 epochs.
_base_ = '../../teachers/resnet_r18-w32_fashion-mnist.py'
data_preprocessor = dict(type='ClsDataPreprocessor')  # an ImageClassifier knows it by itself
model = dict(_delete_=True, type='mmkd.ConvVAE', size=(28, 28), channels=1, latent=32, width=16)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.0))
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=5, eta_min=1e-5, by_epoch=True, begin=0, end=5)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5)
# It classifies nothing.
val_dataloader, val_evaluator, val_cfg = None, None, None
test_dataloader, test_evaluator, test_cfg = None, None, None
