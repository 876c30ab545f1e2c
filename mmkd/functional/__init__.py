"""Math that several methods or mixers share, by kind of tensor."""

from mmkd.functional.augment import *
from mmkd.functional.detection import *
from mmkd.functional.features import *
from mmkd.functional.logits import *
from mmkd.functional.masks import *
from mmkd.functional.segmentation import *
