"""Peak figures of accelerators, from their vendors and not measured."""

import re
from dataclasses import dataclass, replace

GiB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Figures of one chip, in bytes, seconds and floating-point operations.

    name: as in a topology, such as "v5e". kind: JAX's `device_kind`.
    flops: bfloat16 products and sums per second. memory: available to one program under XLA; None
    if the device reports it. bandwidth: of that memory. link: bandwidth of one link to a neighbour,
    in one direction. network: bandwidth of the chip's share of the network between slices or hosts,
    in one direction. wraps: a torus axis is closed to a ring if its length is a multiple of this.
    clock: cycles per second; None if not known. total: all memory that CUDA reports, of which JAX
    uses a part; None for TPUs. title: for display.
    """

    name: str
    kind: str
    flops: float
    memory: int | None
    bandwidth: float
    link: float
    network: float
    wraps: int = 0
    clock: float | None = None
    total: int | None = None
    title: str = ""


#: TPUs: cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}, "System architecture", 2026-11.
#: Links: the bidirectional bandwidth stated there, divided by the number of links (4 in two
#: dimensions, 6 in three) and halved; for v4 from the 2,400 Gbit/s of an earlier page.
#: Memory: the limit that libtpu 0.0.42 reports when a program exceeds it; nominally 32 (v4), 16
#: (v5e), 95 (v5p, in GiB as libtpu says) and 32 (v6e).
#: Network: v5p has 50 Gbit/s per chip, v5e 6.4 Tbit/s per pod of 256 chips; the v5e figure is also
#: used for v4 and v6e, whose pages state none.
#: Clock: the peak divided by the operations of one cycle, with 8 (v4, v5p) or 4 (v5e) units of
#: 128 x 128.
TPUS = (
    Chip(
        name="v4",
        kind="TPU v4",
        flops=275e12,
        memory=int(30.75 * GiB),
        bandwidth=1200e9,
        link=50e9,
        network=25e9 / 8,
        wraps=4,
        clock=1.05e9,
    ),
    Chip(
        name="v5e",
        kind="TPU v5 lite",
        flops=197e12,
        memory=int(15.75 * GiB),
        bandwidth=819e9,
        link=50e9,
        network=25e9 / 8,
        wraps=16,
        clock=1.5e9,
    ),
    Chip(
        name="v5p",
        kind="TPU v5",
        flops=459e12,
        memory=int(95.74 * GiB),
        bandwidth=2765e9,
        link=100e9,
        network=50e9 / 8,
        wraps=4,
        clock=1.75e9,
    ),
    Chip(
        name="v6e",
        kind="TPU v6 lite",
        flops=918e12,
        memory=int(31.25 * GiB),
        bandwidth=1638e9,
        link=100e9,
        network=25e9 / 8,
        wraps=16,
    ),
)

#: A node whose makers state no network: 100 Gbit/s, shared by 8 GPUs. An assumption.
SHARED_NETWORK = 100 / 8 / 8

#: GPUs: NVIDIA's data sheets and, for GeForce, white papers of the architectures, 2026-11. Dense
#: products of bfloat16 with sums in float32, without sparsity. Links in one direction: NVLink for
#: the SXM boards, PCIe x16 (generation 5 for the RTX 5090, 4 for the others) where there is none.
#: Network: one adapter a GPU of 400 Gbit/s (DGX H100, H200) or 200 Gbit/s (DGX A100).
#: Memory: what CUDA reports, rounded down, from messages of PyTorch in public issues and, for L4
#: and A10, from nvidia-smi; it is less than the data sheets' figure where ECC takes a part.
#: A GPU whose name holds that of another comes first.
_GPU_ROWS = (
    # name, kind, title, TFLOP/s, GiB, then GB/s: of the memory, of the links, of the network
    ("a100-40gb", "A100-SXM4-40GB", "A100 SXM 40 GB", 312, 39.4, 1555, 300, 25),
    ("a100", "A100", "A100 SXM 80 GB", 312, 79.1, 2039, 300, 25),
    ("h100", "H100", "H100 SXM 80 GB", 989, 79.1, 3350, 450, 50),
    ("h200", "H200", "H200 SXM 141 GB", 989, 139.0, 4800, 450, 50),
    ("l40s", "L40S", "L40S 48 GB", 362, 44.4, 864, 31.5, SHARED_NETWORK),
    ("l4", "L4", "L4 24 GB", 121, 22.0, 300, 31.5, SHARED_NETWORK),
    ("a10", "A10", "A10 24 GB", 125, 22.0, 600, 31.5, SHARED_NETWORK),
    ("rtx5090", "RTX 5090", "RTX 5090 32 GB", 209.5, 31.3, 1792, 63, SHARED_NETWORK),
    ("rtx4090", "RTX 4090", "RTX 4090 24 GB", 165.2, 23.6, 1008, 31.5, SHARED_NETWORK),
    ("rtx3090", "RTX 3090", "RTX 3090 24 GB", 71, 23.6, 936, 31.5, SHARED_NETWORK),
)
GPUS = tuple(
    Chip(
        name=name,
        kind=kind,
        title=title,
        flops=teraflops * 1e12,
        memory=None,
        total=int(gibibytes * GiB),
        bandwidth=bandwidth * 1e9,
        link=link * 1e9,
        network=network * 1e9,
    )
    for name, kind, title, teraflops, gibibytes, bandwidth, link, network in _GPU_ROWS
)


def chip_of_kind(kind: str) -> Chip | None:
    """The chip with this `device_kind`; None if its figures are not listed here.

    For a TPU the whole kind must match ("TPU v5" is a v5p, "TPU v5 lite" a v5e), for a GPU only the
    model ("L4" is not in "L40S").
    """
    for chip in TPUS:
        if kind == chip.kind or kind == f"TPU {chip.name}":
            return chip
    return next((chip for chip in GPUS if re.search(rf"\b{chip.kind}\b", kind)), None)


def in_dtype(chip: Chip, compute_dtype: str) -> Chip:
    """The chip with its rate for this dtype. GPUs compute float32 products as TF32, which JAX uses
    by default, at half the rate of bfloat16."""
    if chip in GPUS and compute_dtype == "float32":
        return replace(chip, flops=chip.flops / 2)
    return chip
