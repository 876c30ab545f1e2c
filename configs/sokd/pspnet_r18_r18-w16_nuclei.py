# SoKD-style PKD (DAFA alone: there are no boxes). PSPNet R18 -> half-width R18 on the nuclei.
_base_ = '../pkd/pspnet_r18_r18-w16_nuclei.py'
model = dict(distill=dict(methods=dict(pkd=dict(refine=dict(type='mmkd.DAFA', every=5)))))
