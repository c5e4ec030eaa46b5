"""Arrays that every card of a job has once, packed into one piece of shared memory on the client's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safhost.arena import ALIGN_BYTES
from safhost.errors import ConfigError
from safhost.plan.kernelspec import KernelSpec
from safhost.plan.layout import check_array
from safhost.runtime.messages import SharedMemory


class ResidentData:
    """``arrays`` by argument as the cards will have them, ``offsets`` where each begins in ``memory``; all end at
    ``length`` bytes. The given arrays are copied. Raises ConfigError for what the kernel does not take."""

    def __init__(self, spec: KernelSpec, given: Mapping[str, Any]) -> None:
        by_name = {a.name: a for a in spec.args}
        checked: dict[str, NDArray[Any]] = {}
        self.offsets: dict[str, int] = {}
        at = 0
        for name, value in given.items():
            arg = by_name.get(name)
            if arg is None or arg.kind != "buffer" or arg.direction != "in":
                raise ConfigError(f"kernel {spec.name} has no input buffer {name}: it cannot be resident",
                                  f"it has: {', '.join(a.name for a in spec.args if a.direction == 'in') or 'none'}")
            array = checked[name] = check_array(spec, arg, value)
            if not array.nbytes:
                raise ConfigError(f"resident data for {name} is empty", "leave it out")
            self.offsets[name] = at
            at += -(-array.nbytes // ALIGN_BYTES) * ALIGN_BYTES
        self.length = at
        self.memory = SharedMemory.create(max(1, at), "saf-resident")
        self.arrays: dict[str, NDArray[Any]] = {}
        for name, array in checked.items():
            offset = self.offsets[name]
            view = self.memory.array[offset:offset + array.nbytes].view(array.dtype).reshape(array.shape)
            np.copyto(view, array)
            view.flags.writeable = False
            self.arrays[name] = view

    def close(self) -> None:
        self.memory.close()


__all__ = ["ResidentData"]
