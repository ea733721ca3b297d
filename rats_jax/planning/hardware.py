"""Peak figures of accelerators, from their vendors and not measured."""

from dataclasses import dataclass

GiB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Figures of one chip, in bytes, seconds and floating-point operations.

    name: as in a topology, such as "v5e". kind: JAX's `device_kind`.
    flops: bfloat16 products and sums per second. memory: available to one program under XLA; None
    if the device reports it. bandwidth: of that memory. link: bandwidth of one link to a neighbour,
    in one direction. network: bandwidth of the chip's share of the network between slices or hosts,
    in one direction. wraps: a torus axis is closed to a ring if its length is a multiple of this.
    clock: cycles per second; None if not known.
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

#: NVIDIA's data sheets, SXM boards: dense bfloat16, NVLink in one direction, 400 Gbit/s per board.
GPUS = (
    Chip(
        name="A100",
        kind="A100",
        flops=312e12,
        memory=None,
        bandwidth=2039e9,
        link=300e9,
        network=50e9,
    ),
    Chip(
        name="H100",
        kind="H100",
        flops=989e12,
        memory=None,
        bandwidth=3350e9,
        link=450e9,
        network=50e9,
    ),
    Chip(
        name="H200",
        kind="H200",
        flops=989e12,
        memory=None,
        bandwidth=4800e9,
        link=450e9,
        network=50e9,
    ),
)


def chip_of_kind(kind: str) -> Chip | None:
    """The chip with this `device_kind`; None if its figures are not listed here.

    For a TPU the whole kind must match ("TPU v5" is a v5p, "TPU v5 lite" a v5e), for a GPU only the
    model.
    """
    for chip in TPUS:
        if kind == chip.kind or kind == f"TPU {chip.name}":
            return chip
    return next((chip for chip in GPUS if chip.kind in kind), None)
