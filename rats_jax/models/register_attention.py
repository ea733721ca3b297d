"""Register attention (arXiv 2606.14701, section 3.1): the bottleneck L -> N -> N -> L.

Head h owns n registers, and nothing else reads them:

    compress      C = softmax(q_R K_P^T / sqrt d) V_P     [n, d]   registers read the patches
    communicate   M = softmax(C C^T / sqrt d) C           [n, d]   registers of one head talk
    broadcast     O = softmax(Q_P M^T / sqrt d) M         [L, d]   patches read the registers

Minimal form: a register reads through its own head's slice of W_Q and writes through its own
head's slice of W_O, never through the full projections; the values are those of the literal form
that fills the other heads' features with zeros. Under a mesh axis over heads, registers, slices
and all three steps stay on their device: the only collective is W_O's usual sum for the patches.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.attention import Attention, flat, softmax_attention
from rats_jax.models.axes import FSDP, TENSOR
from rats_jax.models.linear import add_bias, cast_einsum, init
from rats_jax.models.remat import rematerialize


class RegisterAttention(Attention):
    """The bottleneck, for registers [B, H, n, D] and patches [B, L, D], both normalised.

    communicate: "parameter_free" (the paper's choice) or "learned" (Table 3): three d x d matrices
        per head, without bias, make query, key and value out of C.
    sharing: "partitioned" (the paper's choice) or "shared" (Table 3): every head attends with all
        N registers, which then go through the full projections.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        communicate: str = "parameter_free",
        sharing: str = "partitioned",
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(width=width, heads=heads, dtype=dtype, rngs=rngs)
        if communicate not in ("parameter_free", "learned"):
            raise ValueError(f'communicate is "parameter_free" or "learned", not {communicate!r}')
        if sharing not in ("partitioned", "shared"):
            raise ValueError(f'sharing is "partitioned" or "shared", not {sharing!r}')
        self.shared = sharing == "shared"
        if communicate == "learned":
            shape = (3, heads, width // heads, width // heads)
            self.communicate = nnx.Param(init(rngs.params(), shape))
        else:
            self.communicate = None

    def __call__(
        self, registers: jax.Array, patches: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns registers [B, H, n, D], patches [B, L, D], compress attention, float32:
        [B, H, n, L], or [B, H, N, L] when registers are shared."""
        # The backward pass has queries, keys and values, and recomputes the rest, about 1 % of the
        # layer's work. Otherwise probabilities would be stored for every patch.
        qkv = self.project(patches)
        m_BHnd, o_BLD, attention = rematerialize(self._attend)(self._queries(registers), *qkv)
        return self._write(m_BHnd, registers.shape), self.merge(o_BLD), attention

    def _attend(self, register_query_BHnd, *qkv_BLD):
        query_BLHd, key_BLHd, value_BLHd = (self.split(x) for x in qkv_BLD)
        attention = softmax_attention("BHnd,BLHd->BHnL", register_query_BHnd, key_BLHd)
        c_BHnd = jnp.einsum("BHnL,BLHd->BHnd", attention.astype(self.dtype), value_BLHd)
        m_BHnd = self._communicate(c_BHnd)
        broadcast = softmax_attention("BLHd,BHnd->BHLn", query_BLHd, m_BHnd).astype(self.dtype)
        o_BLHd = jnp.einsum("BHLn,BHnd->BLHd", broadcast, m_BHnd)
        return m_BHnd, flat(o_BLHd), attention

    def _queries(self, registers: jax.Array) -> jax.Array:
        if self.shared:
            (query_BND,) = self.project(merge_axes(registers, 1, 2), last=1)
            return self.split(query_BND).swapaxes(1, 2)

        def map_to_heads(registers, kernel):
            return cast_einsum("BHnD,DHd->BHnd", registers, kernel[:, 0], (FSDP, TENSOR, None))

        return add_bias(
            rematerialize(map_to_heads)(registers, self.qkv.kernel[...]), self.qkv.bias[0, :, None]
        )

    def _communicate(self, c_BHnd: jax.Array) -> jax.Array:
        query = key = value = c_BHnd
        if self.communicate is not None:
            query, key, value = (
                cast_einsum("BHnd,Hde->BHne", c_BHnd, kernel, (TENSOR, None, None))
                for kernel in self.communicate[...]
            )
        weights = softmax_attention("BHnd,BHmd->BHnm", query, key).astype(self.dtype)
        return jnp.einsum("BHnm,BHmd->BHnd", weights, value)

    def _write(self, m_BHnd: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        if self.shared:
            return self.merge(flat(m_BHnd.swapaxes(1, 2))).reshape(shape)
        written = cast_einsum("BHnd,HdD->BHnD", m_BHnd, self.out.kernel[...], self.out.axes)
        return add_bias(written, self.out.bias[...])


def merge_axes(x: jax.Array, first: int, last: int) -> jax.Array:
    """Merges axes first..last into one."""
    return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])
