"""Peak memory of a run: the device's own count on CUDA, the process's resident memory elsewhere."""

import psutil
import torch


def hand_back() -> None:
    """Give freed memory back to the system: the C library keeps what it may need again, some hundred MB after a training."""
    if hasattr(psutil, "heap_trim"):  # not with every C library, of which musl is one
        psutil.heap_trim()


class PeakMemory:
    """The largest of the samples, in MB (10^6 bytes). On CUDA the allocator's peak since the start, which misses nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak_bytes = 0
        hand_back()  # what an earlier run freed is none of this one's
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.sample()

    def sample(self) -> None:
        if self._device.type == "cuda":
            used = torch.cuda.max_memory_allocated(self._device)
        else:
            used = psutil.Process().memory_info().rss
        self._peak_bytes = max(self._peak_bytes, used)

    @property
    def peak_mb(self) -> float:
        return self._peak_bytes / 1e6
