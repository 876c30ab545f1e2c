"""Cross-image relational knowledge distillation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_comm_device, get_rank
from torch import Tensor, nn

from mmkd.functional import (
    one_hot_pixels,
    region_means,
    resize_labels,
    resize_to,
    softmax_kl,
    unit_pixels,
)
from mmkd.methods.adapters import BatchNorm
from mmkd.methods.base import Maps, Method
from mmkd.methods.segmentation import label_maps, number_of_classes
from mmkd.registry import MODELS
from mmkd.utils import ensure, integer, one_of, positive, progress, step_generator, term_weights
from mmkd.view import View

# Keep the draws of this method apart from each other and from a mixer's in the same step.
PICK, PIXELS, REGIONS = 101, 102, 103
LARGE = 256  # locations a side, from which the batch term pools 4×4


def cross_image_loss(student: Tensor, teacher: Tensor, tau: float = 0.1) -> Tensor:
    """KL between the relations of the locations of every image to those of every image.

    ``L = 1/N² Σ_ij mean_p KL(softmax(t_i,p · t_j / τ) || softmax(s_i,p · s_j / τ))`` with
    s, t of unit length.

    Args:
        student: Map (N, C_student, H, W).
        teacher: Map (N, C_teacher, H, W), without gradient.
        tau: Temperature. Defaults to 0.1.

    Returns:
        Scalar; 0 where the student equals the teacher. Its memory is N² matrices (H·W, H·W).
    """
    rows = [unit_pixels(x) for x in (student, teacher)]  # (N, P, C)
    s, t = (torch.einsum('ipc,jqc->ijpq', x, x) / tau for x in rows)
    return softmax_kl(s, t.log_softmax(3), 3, is_log=True).mean()


def memory_loss(
    student: Tensor, teacher: Tensor, memory: Tensor, valid: Tensor, tau: float = 0.1
) -> Tensor:
    """KL between the relations of locations to the embeddings of a memory.

    Args:
        student: Embeddings (P, C) of unit length, projected to the teacher's channels.
        teacher: Embeddings (P, C) of unit length, without gradient.
        memory: Embeddings (Q, C) of unit length.
        valid: 1 for the locations (P,) that count, 0 for ignored ones.
        tau: Temperature. Defaults to 0.1.

    Returns:
        Scalar: the mean over the valid locations; 0 where there is none.
    """
    logits = [x @ memory.T / tau for x in (student, teacher)]  # (P, Q)
    divergence = softmax_kl(logits[0], logits[1].log_softmax(1), 1, is_log=True)  # (P,)
    return (divergence * valid).sum() / valid.sum().clamp(min=1)


def pick_pixels(
    feature: Tensor,
    labels: Tensor,
    scores: Tensor,
    count: int,
    num_classes: int,
    ignore_index: int = 255,
    own: bool = True,
) -> tuple[Tensor, Tensor]:
    """Pick the locations of every class with the highest scores in every image.

    Args:
        feature: Map (N, C, H, W).
        labels: Class indices (N, H, W).
        scores: Random numbers (N, H·W) in [0, 1).
        count: Locations V of each class and image, at most.
        num_classes: Number of classes K.
        ignore_index: Label of ignored locations. Defaults to 255.
        own: Pick among those of the class, or else among as many, the first ones of the image.
            Defaults to True.

    Returns:
        Embeddings (N, K, V, C), and whether each (N, K, V) was picked.
    """
    members = one_hot_pixels(labels, num_classes, ignore_index).transpose(1, 2)  # (N, K, P)
    if not own:
        places = torch.arange(members.shape[2], device=members.device)
        members = (places < members.sum(2, keepdim=True)).to(members)
    count = min(count, members.shape[2])
    top, index = scores[:, None].masked_fill(members == 0, -1).topk(count)  # (N, K, V)
    pixels = feature.flatten(2).transpose(1, 2)  # (N, P, C)
    image = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[image, index], top >= 0


def enqueue(queue: Tensor, pointer: Tensor, entries: Tensor, valid: Tensor) -> None:
    """Write entries into ring buffers, one for each class, in place.

    Args:
        queue: Buffers (K, Q, C).
        pointer: Next slot (K,) of every buffer; int64.
        entries: New entries (N, K, V, C), written image by image in order.
        valid: Which of them (N, K, V) are real. Of more than Q, the last Q stay.
    """
    size = queue.shape[1]
    entries = entries.transpose(0, 1).flatten(1, 2)  # (K, N·V, C)
    valid = valid.transpose(0, 1).flatten(1, 2)
    position = valid.cumsum(1) - 1  # (K, N·V), of the valid ones
    total = valid.sum(1)  # (K,)
    kept = valid & (position >= (total - size)[:, None])
    slot = (pointer[:, None] + position) % size
    classes, index = kept.nonzero(as_tuple=True)
    queue[classes, slot[classes, index]] = entries[classes, index].to(queue)
    pointer.copy_((pointer + total) % size)


def random_embeddings(classes: int, size: int, channels: int) -> Tensor:
    """Draw embeddings (K, Q, C) of unit length, the initial content of a queue."""
    return F.normalize(torch.randn(classes, size, channels), dim=2)


@MODELS.register_module()
class CIRKD(Method):
    """Pull relations between locations, across images and to a memory, towards the teacher's.

    ``L = λ_b L_batch + λ_p L_pixel + λ_r L_region``. ``L_batch`` compares, for every pair of images
    of this process, how every location relates to those of the other image
    (:func:`cross_image_loss`); ``L_pixel`` and ``L_region`` how it relates to locations and class
    regions of earlier images (:func:`memory_loss`), kept from the teacher in one queue of each kind
    for every class. For the memory, a small projection maps the student to the teacher's channels.
    The batch term of maps from 256×256 locations on compares means of 4×4, as in the authors' code.

    Source: Yang et al., "Cross-Image Relational Knowledge Distillation for Semantic
    Segmentation", CVPR 2022; ``winycg/CIRKD@dab64db``.

    Args:
        student: Tap of one map (N, C_student, H, W), such as ``decode_head.bottleneck``.
        teacher: Tap of one map (N, C_teacher, H, W).
        tau: Temperature of the relations. Defaults to 0.1.
        batch_weight: Weight λ_b. Defaults to 1.0.
        pixel_weight: Weight λ_p. Defaults to 0.1.
        region_weight: Weight λ_r. Defaults to 0.1.
        pixel_queue: Locations kept for each class. Defaults to 20000.
        region_queue: Regions kept for each class. Defaults to 2000.
        pixel_samples: Locations drawn from the queues in a step, all classes together. Defaults to
            4096.
        region_samples: Regions drawn from the queues in a step, all classes together. Defaults
            to 1024.
        pixels_per_class: Locations of each class and image that enter the queue. Defaults to 16.
        pixels_from: Which: those of the ``'class'``, as in the paper; ``'image'``, as in the
            authors' code: any of the first n, where n is the size of the class. Defaults to
            ``'class'``.
        num_classes: Number of classes K. Defaults to None: that of the teacher's decode head.
        ignore_index: Label of ignored pixels. Defaults to 255.
        pool: Side of average-pooling windows before everything, in locations; the batch term holds
            matrices of (N·H·W / pool²)² entries. Defaults to 1.
        **kwargs: See :class:`~mmkd.methods.base.Method`.

    Deviations: ``pixels_from``, as above. Queues are exact ring buffers; the authors' return to the
    first slot when an image's locations do not fit. Student maps of another size are interpolated
    to the teacher's. In their code the student's map has passed the dropout in front of the
    classifier; in mmseg that is the tap ``decode_head.dropout``. The projection has SyncBN where
    the processes communicate over GPUs, else BatchNorm; theirs always has SyncBN.
    """

    tasks = ('seg',)

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
        pixels_from: str = 'class',
        num_classes: int | None = None,
        ignore_index: int = 255,
        pool: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, teacher, **kwargs)
        self.tau = positive(tau=tau)
        self.lambdas = term_weights(batch=batch_weight, pixel=pixel_weight, region=region_weight)
        sizes = dict(
            pixel_queue=pixel_queue,
            region_queue=region_queue,
            pixel_samples=pixel_samples,
            region_samples=region_samples,
            pixels_per_class=pixels_per_class,
        )
        self.sizes = {name: integer(1, False, **{name: size}) for name, size in sizes.items()}
        self.pixels_from = one_of(('class', 'image'), pixels_from=pixels_from)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.pool = integer(1, pool=pool)

    @property
    def has_memory(self) -> bool:
        """Whether a memory term has a weight."""
        return self.lambdas['pixel'] > 0 or self.lambdas['region'] > 0

    def build(self, model: nn.Module, student: Any, teacher: Any, teachers: Any) -> None:
        """Create the projection and the queues."""
        self.check_pairs(student, teacher, ndim=4)
        ensure(len(student) == 1, 'levels', f'one map is compared, got {len(student)}; choose one')
        if not self.has_memory:
            return
        classes = number_of_classes(self, self.num_classes, teachers)
        channels = teacher[0].shape[1]
        # torch's SyncBN trains on a GPU only, where the processes communicate over one as well.
        on_gpu = get_comm_device().type == 'cuda'
        self.project = nn.Sequential(
            nn.Conv2d(student[0].shape[1], channels, 1, bias=False),
            (nn.SyncBatchNorm if on_gpu else BatchNorm)(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        for kind in ('pixel', 'region'):
            queue = random_embeddings(classes, self.sizes[f'{kind}_queue'], channels)
            self.register_buffer(f'{kind}_queue', queue)
            self.register_buffer(f'{kind}_pointer', torch.zeros(classes, dtype=torch.long))

    def forward(self, student: Maps, teacher: Maps, view: View) -> dict[str, Tensor]:
        """Return ``batch``, ``pixel`` and ``region``, as far as they have weights."""
        (s,), (t,) = student, teacher
        s = resize_to(s, tuple(t.shape[-2:]))
        if self.pool > 1:
            s, t = (F.avg_pool2d(x, self.pool, ceil_mode=True) for x in (s, t))
        losses = {}
        if self.lambdas['batch']:
            side = 4 if min(s.shape[-2:]) >= LARGE else 1
            pooled = [F.avg_pool2d(x, side, ceil_mode=True) for x in (s, t)]
            losses['batch'] = cross_image_loss(pooled[0], pooled[1], self.tau)
        if self.has_memory:
            losses.update(self.memory_losses(self.project(s), t, view))
        return {name: value * self.lambdas[name] for name, value in losses.items()}

    def memory_losses(self, student: Tensor, teacher: Tensor, view: View) -> dict[str, Tensor]:
        """Update the queues and compare the relations to samples from them.

        Both maps are (N, C_teacher, H, W), the student's projected.
        """
        labels = resize_labels(label_maps(view), tuple(teacher.shape[-2:]))
        iteration = progress()[0]
        self.update_queues(F.normalize(teacher, dim=1), labels, iteration)
        cells = [unit_pixels(x).flatten(0, 1) for x in (student, teacher)]  # (N·H·W, C)
        valid = (labels != self.ignore_index).flatten().to(student)
        losses = {}
        for kind, salt in (('pixel', PIXELS), ('region', REGIONS)):
            if self.lambdas[kind]:
                memory = self.draw(kind, step_generator(iteration, salt=salt)).to(student)
                losses[kind] = memory_loss(cells[0], cells[1], memory, valid, self.tau)
        return losses

    @torch.no_grad()
    def update_queues(self, teacher: Tensor, labels: Tensor, iteration: int) -> None:
        """Enqueue locations and class means of all processes, in the order of their ranks.

        The map (N, C, H, W) is of unit length, the labels are (N, H, W). The picks depend on the
        run's seed, the iteration and the image's index in the whole batch, so that every process
        holds the same queues.
        """
        known = len(self.pixel_pointer), self.ignore_index
        first = get_rank() * len(teacher)
        generators = [step_generator(iteration, first + i, PICK) for i in range(len(teacher))]
        draws = [torch.rand(labels[0].numel(), generator=g, dtype=torch.double) for g in generators]
        scores = torch.stack(draws).to(teacher.device)
        count, own = self.sizes['pixels_per_class'], self.pixels_from == 'class'
        pixels, picked = pick_pixels(teacher, labels, scores, count, *known, own)
        means, counts = region_means(teacher, labels, *known)
        regions = F.normalize(means, dim=2)[:, :, None]  # (N, K, 1, C)
        present = (counts > 0)[..., None]
        for kind, entries, valid in (('pixel', pixels, picked), ('region', regions, present)):
            gathered = [torch.cat(all_gather(x.contiguous())) for x in (entries, valid)]
            queue, pointer = getattr(self, f'{kind}_queue'), getattr(self, f'{kind}_pointer')
            enqueue(queue, pointer, gathered[0], gathered[1])

    def draw(self, kind: str, generator: torch.Generator) -> Tensor:
        """Return embeddings (Q, C) drawn evenly from the queues of all classes."""
        queue: Tensor = getattr(self, f'{kind}_queue')
        classes, size, channels = queue.shape
        share = self.sizes[f'{kind}_samples'] // classes + 1
        index = torch.randperm(size, generator=generator)[:share].to(queue.device)
        return queue[:, index].reshape(-1, channels)
