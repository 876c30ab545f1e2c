"""Cross-image relational knowledge distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmkd.functional import (
    cross_image_loss,
    enqueue,
    memory_loss,
    pick_pixels,
    random_embeddings,
    region_means,
    resize_labels,
    resize_to,
)
from mmkd.functional.relations import unit_pixels
from mmkd.methods.base import Method, Tensors
from mmkd.methods.segmentation import classes_of, label_maps
from mmkd.methods.skd import check_pool
from mmkd.registry import MODELS
from mmkd.utils import ConfigError, step_generator
from mmkd.view import View

# Keep the draws of this method apart from each other and from a mixer's in the same step.
PICK, PIXELS, REGIONS = 101, 102, 103


@MODELS.register_module()
class CIRKD(Method):
    """Pull the relations of cells across images, and to a memory of the teacher's, to its own.

    ``L = λ_b L_batch + λ_p L_pixel + λ_r L_region``. ``L_batch`` compares, for every pair of images
    of this process, how every cell relates to the cells of the other image
    (:func:`~mmkd.functional.cross_image_loss`); ``L_pixel`` and ``L_region`` how it relates to
    cells and class regions of earlier images (:func:`~mmkd.functional.memory_loss`), which the
    teacher leaves in one queue of each kind for every class. For the memory, the student's cells
    pass a small projection to the teacher's channels.

    Source: Yang et al., "Cross-Image Relational Knowledge Distillation for Semantic
    Segmentation", CVPR 2022.

    Args:
        student: Tap of one map (N, C_student, H, W), such as ``decode_head.bottleneck``.
        teacher: Tap of one map (N, C_teacher, H, W).
        tau: Temperature of the relations. Defaults to 0.1.
        batch_weight: Weight λ_b. Defaults to 1.0.
        pixel_weight: Weight λ_p. Defaults to 0.1.
        region_weight: Weight λ_r. Defaults to 0.1.
        pixel_queue: Cells that are kept for each class. Defaults to 20000.
        region_queue: Regions that are kept for each class. Defaults to 2000.
        pixel_samples: Cells drawn from the queues in a step, all classes together. Defaults to
            4096.
        region_samples: Regions drawn from the queues in a step, all classes together. Defaults
            to 1024.
        pixels_per_class: Cells of each class and image that enter the queue. Defaults to 16.
        num_classes: Number of classes K. Defaults to None: that of the teacher's decode head.
        ignore_index: Label of ignored pixels. Defaults to 255.
        pool: Side of average-pooling windows before everything, in cells; the batch term holds
            matrices of (N·H·W / pool²)² entries. Defaults to 1.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: the cells that enter a class's queue are cells of that class, as in the paper; the
    reference code picks positions regardless of the class. Queues are exact ring buffers.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        tau: float = 0.1,
        batch_weight: float = 1.0,
        pixel_weight: float = 0.1,
        region_weight: float = 0.1,
        pixel_queue: int = 20000,
        region_queue: int = 2000,
        pixel_samples: int = 4096,
        region_samples: int = 1024,
        pixels_per_class: int = 16,
        num_classes: int | None = None,
        ignore_index: int = 255,
        pool: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = tau
        self.lambdas = dict(batch=batch_weight, pixel=pixel_weight, region=region_weight)
        self.sizes = dict(
            pixel_queue=pixel_queue,
            region_queue=region_queue,
            pixel_samples=pixel_samples,
            region_samples=region_samples,
            pixels_per_class=pixels_per_class,
        )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.pool = pool
        check_pool(self.pool)
        if not self.tau > 0:
            raise ConfigError('tau', f'a temperature is positive, not {self.tau}')
        for name, size in self.sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ConfigError(name, f'is a whole number from 1 on, not {size!r}')
        for name, value in self.lambdas.items():
            if value < 0:
                raise ConfigError(f'{name}_weight', f'is not negative, unlike {value}')
        if not any(self.lambdas.values()):
            raise ConfigError('batch_weight', 'all three weights are 0: set weight=0')

    @property
    def remembers(self) -> bool:
        """Whether a memory term has a weight."""
        return self.lambdas['pixel'] > 0 or self.lambdas['region'] > 0

    def build(
        self, model: nn.Module, student: Tensors, teacher: Tensors, teachers: Mapping[str, Any]
    ) -> None:
        """Create the projection and the queues."""
        assert isinstance(student, list) and isinstance(teacher, list)
        self.check_pairs(student, teacher, ndim=4)
        if len(student) != 1:
            raise ConfigError('levels', f'takes one map, not {len(student)}')
        if not self.remembers:
            return
        classes = classes_of(self, self.num_classes, teachers)
        channels = teacher[0].shape[1]
        self.project = nn.Sequential(
            nn.Conv2d(student[0].shape[1], channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        for kind in ('pixel', 'region'):
            queue = random_embeddings(classes, self.sizes[f'{kind}_queue'], channels)
            self.register_buffer(f'{kind}_queue', queue)
            self.register_buffer(f'{kind}_pointer', torch.zeros(classes, dtype=torch.long))

    def forward(
        self, student: list[Tensor], teacher: list[Tensor], view: View
    ) -> dict[str, Tensor]:
        """Return ``batch``, ``pixel`` and ``region``, as far as they have weights."""
        (s,), (t,) = student, teacher
        s = resize_to(s, tuple(t.shape[-2:]))
        if self.pool > 1:
            s, t = (F.avg_pool2d(x, self.pool, ceil_mode=True) for x in (s, t))
        losses = {}
        if self.lambdas['batch']:
            losses['batch'] = cross_image_loss(s, t, self.tau)
        if self.remembers:
            losses.update(self.memory_losses(self.project(s), t, view))
        return {name: value * self.lambdas[name] for name, value in losses.items()}

    def memory_losses(self, student: Tensor, teacher: Tensor, view: View) -> dict[str, Tensor]:
        """Update the queues and compare the relations to what is drawn from them.

        Args:
            student: Projected map (N, C_teacher, H, W).
            teacher: Map (N, C_teacher, H, W).
            view: Whose label maps to use.
        """
        labels = resize_labels(label_maps(view), tuple(teacher.shape[-2:]))
        iteration = int(MessageHub.get_current_instance().runtime_info.get('iter', 0))
        self.remember(F.normalize(teacher, dim=1), labels, iteration)
        cells = [unit_pixels(x).flatten(0, 1) for x in (student, teacher)]  # (N·H·W, C)
        valid = (labels != self.ignore_index).flatten().to(student)
        losses = {}
        for kind, salt in (('pixel', PIXELS), ('region', REGIONS)):
            if self.lambdas[kind]:
                memory = self.draw(kind, step_generator(iteration, salt=salt)).to(student)
                losses[kind] = memory_loss(cells[0], cells[1], memory, valid, self.tau)
        return losses

    @torch.no_grad()
    def remember(self, teacher: Tensor, labels: Tensor, iteration: int) -> None:
        """Enqueue cells and class means of all processes, in the order of their ranks.

        What an image contributes depends on the run's seed, the iteration and the image's place
        in the whole batch, so that every process holds the same queues.

        Args:
            teacher: Cells of unit length (N, C, H, W).
            labels: Class indices (N, H, W).
            iteration: Training iteration.
        """
        classes = len(self.pixel_pointer)
        count, first = len(teacher), get_rank() * len(teacher)
        scores = torch.stack(
            [
                torch.rand(
                    labels[0].numel(),
                    generator=step_generator(iteration, rank=first + i, salt=PICK),
                    dtype=torch.float64,
                )
                for i in range(count)
            ]
        ).to(teacher.device)
        pixels, picked = pick_pixels(
            teacher, labels, scores, self.sizes['pixels_per_class'], classes, self.ignore_index
        )
        means, counts = region_means(teacher, labels, classes, self.ignore_index)
        regions = F.normalize(means, dim=2)[:, :, None]  # (N, K, 1, C)
        present = (counts > 0)[..., None]
        for kind, entries, valid in (('pixel', pixels, picked), ('region', regions, present)):
            enqueue(
                getattr(self, f'{kind}_queue'),
                getattr(self, f'{kind}_pointer'),
                torch.cat(all_gather(entries.contiguous())),
                torch.cat(all_gather(valid.contiguous())),
            )

    def draw(self, kind: str, generator: torch.Generator) -> Tensor:
        """Return embeddings (Q, C) drawn evenly from the queues of all classes."""
        queue: Tensor = getattr(self, f'{kind}_queue')
        classes, size, channels = queue.shape
        share = self.sizes[f'{kind}_samples'] // classes + 1
        index = torch.randperm(size, generator=generator)[:share].to(queue.device)
        return queue[:, index].reshape(-1, channels)
