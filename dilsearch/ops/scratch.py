"""Memory that one call leaves to the next, because fresh memory costs as much as a pass over it."""

import math
import threading
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

KEPT_ELEMENTS = 2**22
"""Largest buffer that is kept between calls: 16 MiB of float32."""

_Key: TypeAlias = tuple[str, torch.dtype]


class _Pool(threading.local):
    """The buffers of a thread, and what is known to be zero in them."""

    def __init__(self) -> None:
        self.buffers: dict[_Key, Tensor] = {}
        self.zeros: dict[_Key, tuple[int, ...]] = {}


_kept = _Pool()


class Scratch:
    """Buffers by name, for one call at a time on each thread; what they hold is left over.

    On the CPU, buffers of moderate size stay for the thread's next call.

    Args:
        like: A tensor of the device and type of the buffers.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._own = _Pool()
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """A contiguous tensor of this shape: the memory of that name, as long as it suffices."""
        key, size = (name, dtype or self._like.dtype), math.prod(shape)
        pool = self._pool(size)
        held = pool.buffers.get(key)
        if held is None or len(held) < size:
            # Made in inference mode, it could not be written outside of it.
            with torch.inference_mode(False):
                held = torch.empty(size, dtype=key[1], device=self._like.device)
            pool.buffers[key] = held
            pool.zeros.pop(key, None)
        return held[:size].view(shape)

    def take_between_zeros(
        self,
        name: str,
        shape: Sequence[int],
        dim: int,
        room: tuple[int, int],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The same, zero before and after an axis, where nobody may write.

        Within a call every shape has memory of its own, so that one cannot soil another's zeros.
        """
        kind = (*shape, dim, *room)
        shapes = self._shapes.setdefault(name, [])
        if kind not in shapes:
            shapes.append(kind)
        name = f"{name}, shape {shapes.index(kind)}"
        wide = self.take(name, shape, dtype)
        pool, key = self._pool(wide.numel()), (name, wide.dtype)
        if pool.zeros.get(key) != kind:
            wide.narrow(dim, 0, room[0]).zero_()
            wide.narrow(dim, wide.shape[dim] - room[1], room[1]).zero_()
            pool.zeros[key] = kind
        return wide

    def _pool(self, size: int) -> _Pool:
        is_kept = self._like.device.type == "cpu" and size <= KEPT_ELEMENTS
        return _kept if is_kept else self._own
