"""The sum of squared differences in float64, as vector instructions with a fixed order of summation.

numba does not vectorize such a sum unless it may reorder it, and then the bits depend on the machine. Written as LLVM
vector instructions the order is fixed, and every machine executes it as wide as it can.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # sums that run side by side: feature f belongs to lane f mod 16
_WIDTH = 8  # values of one vector; two vectors hide the latency of an addition


@intrinsic
def squared_differences(typingctx: Any, x: Any, y: Any, x_first: Any, y_first: Any, steps: Any) -> Any:
    """The sum over f < LANES * steps of (x.flat[x_first + f] - y.flat[y_first + f])^2, computed in float64.

    Each lane adds its squares in increasing f; lanes are then added in pairs, the upper half to the lower, until one
    is left. x and y are C-contiguous arrays of float32 or float64.
    """
    signature = types.float64(x, y, types.intp, types.intp, types.intp)
    return signature, _generate


def _generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    arrays, starts, steps = args[:2], args[2:4], args[4]
    data = [context.make_array(t)(context, builder, a).data for t, a in zip(signature.args[:2], arrays, strict=True)]
    wide = ir.VectorType(ir.DoubleType(), _WIDTH)
    zero = ir.Constant(wide, [0.0] * _WIDTH)
    lanes = [cgutils.alloca_once_value(builder, zero) for _ in range(LANES // _WIDTH)]
    with cgutils.for_range(builder, steps) as loop:
        base = builder.mul(loop.index, ir.Constant(loop.index.type, LANES))
        for part, lane in enumerate(lanes):
            place = builder.add(base, ir.Constant(base.type, part * _WIDTH))
            left, right = (
                _load(builder, pointer, builder.add(start, place), wide)
                for pointer, start in zip(data, starts, strict=True)
            )
            difference = builder.fsub(left, right)
            square = builder.fmul(difference, difference)
            builder.store(builder.fadd(builder.load(lane), square), lane)
    return _halve(builder, builder.fadd(*(builder.load(lane) for lane in lanes)))


def _load(builder: Any, pointer: Any, place: Any, wide: Any) -> Any:
    """Eight values from an address that need not be aligned, as float64."""
    element = pointer.type.pointee
    double = isinstance(element, ir.DoubleType)
    vector = builder.bitcast(builder.gep(pointer, [place]), ir.PointerType(ir.VectorType(element, _WIDTH)))
    values = builder.load(vector, align=8 if double else 4)
    return values if double else builder.fpext(values, wide)


def _halve(builder: Any, values: Any) -> Any:
    """The sum of a vector, its upper half added to the lower until one value is left."""
    integer = ir.IntType(32)
    width = _WIDTH
    while width > 1:
        width //= 2
        parts = [
            builder.shuffle_vector(
                values,
                ir.Constant(values.type, ir.Undefined),
                ir.Constant(ir.VectorType(integer, width), list(range(first, first + width))),
            )
            for first in (0, width)
        ]
        values = builder.fadd(*parts)
    return builder.extract_element(values, ir.Constant(integer, 0))
