"""The view of a training step: inputs, samples, and how the batch was mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Resized masks within this of 1 count as pure: area averages of zeros and ones are rounded.
PURE = 1 - 1e-3


@dataclass(frozen=True)
class Part:
    """One summand of a mixed batch: ``x̃ = Σ_k weight_k · x[source_k]``.

    Args:
        source: Index (N,) into the batch.
        weight: Weight (N, 1, H, W), float: a 0/1 mask for region mixers, constant for MixUp.
    """

    source: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Pairs:
    """Images, or objects in them, that are of one class and learn from each other.

    Args:
        images: Index (P, 2) into the batch: the two images of every pair.
        swapped: Pixels (N, 1, H, W), bool, that come from the partner.
        boxes: The two boxes (P, 2, 4) of every pair, x1, y1, x2, y2 in pixels, where pairs are
            objects. Defaults to None: pairs are whole images.
        labels: Classes (P,) of pairs of objects. Defaults to None.
    """

    images: Tensor
    swapped: Tensor
    boxes: Tensor | None = None
    labels: Tensor | None = None


@dataclass
class View:
    """What the student and the teacher see in one step.

    Args:
        inputs: The student's batch (N, 3, H, W).
        data_samples: The student's N data samples.
        teacher_inputs: The teacher's batch; the clean one unless the mixer changes it.
        teacher_samples: The teacher's data samples.
        parts: How the batch was mixed; empty without mixing.
        teacher_on_mixed: Whether the teacher sees the mixed batch. Defaults to False.
        regional: Whether every pixel has one source. Defaults to True.
        pairs: Which images, or objects in them, learn from each other. Defaults to None, none.
        hard: Images (N,), bool, that a learned augmentation has changed. Defaults to None.
    """

    inputs: Tensor
    data_samples: Any
    teacher_inputs: Tensor
    teacher_samples: Any
    parts: Sequence[Part] = ()
    teacher_on_mixed: bool = False
    regional: bool = True
    pairs: Pairs | None = None
    hard: Tensor | None = None
    _resized: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def plain(cls, inputs: Tensor, data_samples: Any) -> View:
        """Return the view of a step without mixing."""
        return cls(inputs, data_samples, inputs, data_samples)

    def simulate(self, teacher: Tensor) -> Tensor:
        """Turn a teacher tensor of the clean batch into that of the mixed batch.

        ``F_sim = Σ_k A_k ⊙ F[source_k]`` with the masks ``A_k`` resized by area, which sum to one
        in every cell; a gather where the patches are multiples of the map's stride. Vectors are
        mixed by the area share of each source. It is the identity without mixing, and where the
        teacher has seen the mixed batch.

        Args:
            teacher: Map (N, C, H, W) or vectors (N, C) of the clean batch.

        Returns:
            Tensor of the same shape.
        """
        if not self.parts or self.teacher_on_mixed:
            return teacher
        if teacher.ndim == 2:
            return self.mixture(teacher)
        if teacher.ndim == 4:
            weights = self.resized(tuple(teacher.shape[-2:]))
        else:
            raise ValueError(
                f'cannot simulate a teacher tensor of shape {tuple(teacher.shape)}: use maps '
                '(N, C, H, W) or vectors (N, C); for token sequences set tokens=True in the tap'
            )
        mixed = torch.zeros_like(teacher)
        for part, weight in zip(self.parts, weights):
            mixed += weight.to(teacher) * teacher[part.source]
        return mixed

    def mixture(self, vectors: Tensor) -> Tensor:
        """Mix vectors of the clean images by the area share of each source.

        Unlike :meth:`simulate` it does not depend on what the teacher has seen: it is for labels
        and for stored predictions of the clean images.

        Args:
            vectors: (N, C), a row for each clean image.

        Returns:
            Tensor of the same shape; ``vectors`` itself without mixing.
        """
        if not self.parts:
            return vectors
        mixed = torch.zeros_like(vectors)
        for part, share in zip(self.parts, self.shares()):
            mixed += share[:, None].to(vectors) * vectors[part.source]
        return mixed

    def shares(self) -> list[Tensor]:
        """Return the area share (N,) of every part."""
        return [part.weight.mean((1, 2, 3)) for part in self.parts]

    def resized(self, size: tuple[int, int]) -> list[Tensor]:
        """Return every part's weight, averaged over the cells of a map: (N, 1, *size)."""
        if size not in self._resized:
            self._resized[size] = [F.adaptive_avg_pool2d(p.weight, size) for p in self.parts]
        return self._resized[size]

    def interior(self, size: tuple[int, int], radius: int) -> Tensor | None:
        """Return 1 for the cells of a map farther than ``radius`` cells from another source.

        Args:
            size: Height and width of the map.
            radius: 0 keeps everything; r drops the r cells on each side of a patch border.

        Returns:
            Mask (N, 1, *size), or None where every cell counts.
        """
        if not self.parts or not self.regional or radius <= 0:
            return None
        kept = torch.zeros_like(self.resized(size)[0])
        for weight in self.resized(size):
            impure = (weight < PURE).to(weight)
            # Beyond the edge of the map there is no other source: max-pooling pads with -inf.
            kept += 1 - F.max_pool2d(impure, 2 * radius + 1, stride=1, padding=radius)
        return kept
