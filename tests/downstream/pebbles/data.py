"""A data set of its own."""

from pathlib import Path

from mmengine.dataset import BaseDataset

from pebbles.registry import DATASETS


@DATASETS.register_module()
class ListedImages(BaseDataset):
    """Images of a text file with one ``path class`` on each line."""

    def load_data_list(self):
        classes = self.metainfo['classes']
        lines = Path(self.ann_file).read_text().splitlines()
        pairs = [line.rsplit(' ', 1) for line in lines]
        return [dict(img_path=path, gt_label=classes.index(name)) for path, name in pairs]
