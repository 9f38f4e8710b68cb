"""The operator as a model-local function of standard operators, so that an exported file runs anywhere.

A runtime with our operator library uses its kernel instead of the body; one without it inlines the body.
Contract: plugins/selective_scan/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx.parser

from vim_deploy.ops.signature import ATTRIBUTES, INPUT_NAMES, OP_DOMAIN, OP_NAME, is_gated

# Opsets in which the body's operators are the same.
OPSETS = range(17, 20)
_BODY = """
<opset_import: ["" : {opset}], domain: "{domain}">
{name} <{attributes}> ({inputs}) => (y)
{{
  axis_time = Constant <value_ints: ints = [1]> ()
  axis_last = Constant <value_ints: ints = [-1]> ()
  zero = Constant <value_ints: ints = [0]> ()
  one = Constant <value_ints: ints = [1]> ()
  minus_one = Constant <value_ints: ints = [-1]> ()
  far_end = Constant <value_ints: ints = [9223372036854775807]> ()
  far_start = Constant <value_ints: ints = [-9223372036854775807]> ()
  zero_float = Constant <value_float: float = 0.0> ()
  one_float = Constant <value_float: float = 1.0> ()

  u32 = Cast <to: int = 1> (u)
  delta32 = Cast <to: int = 1> (delta)
  B32 = Cast <to: int = 1> (B)
  C32 = Cast <to: int = 1> (C)
{gate_input}
  # softplus(x) = max(x, 0) + log1p(e), e = exp(-|x|); log1p through w = 1 + e keeps small values exact
  # where the plain Softplus operator loses them: log1p(e) = e * log(w) / (w - 1), and e where w rounds to 1.
  dt_raw = Add (delta32, delta_bias)
  dt_abs = Abs (dt_raw)
  dt_neg = Neg (dt_abs)
  e = Exp (dt_neg)
  w = Add (e, one_float)
  w_minus = Sub (w, one_float)
  w_is_one = Equal (w_minus, zero_float)
  w_safe = Where (w_is_one, one_float, w_minus)
  w_log = Log (w)
  w_ratio = Div (w_log, w_safe)
  w_factor = Where (w_is_one, one_float, w_ratio)
  small = Mul (e, w_factor)
  large = Max (dt_raw, zero_float)
  dt_soft = Add (large, small)
  softplus_int = Constant <value_int: int = @delta_softplus> ()
  softplus = Cast <to: int = 9> (softplus_int)
  dt = Where (softplus, dt_soft, dt_raw)
  dtu = Mul (dt, u32)

  reverse_int = Constant <value_int: int = @reverse> ()
  backward = Cast <to: int = 9> (reverse_int)
  step = Where (backward, minus_one, one)
  start = Where (backward, minus_one, zero)
  stop = Where (backward, far_start, far_end)
  dt_run = Slice (dt, start, stop, axis_time, step)
  dtu_run = Slice (dtu, start, stop, axis_time, step)
  B_run = Slice (B32, start, stop, axis_time, step)
  C_run = Slice (C32, start, stop, axis_time, step)

  batch = Shape <start: int = 0, end: int = 1> (u32)
{group_shapes}  channels_state = Shape (A)
  state_shape = Concat <axis: int = 0> (batch, channels_state)
  h_first = ConstantOfShape (state_shape)
  h_last, sum_run = Scan <num_scan_inputs: int = 4, scan_input_axes: ints = [1, 1, 1, 1],
      scan_output_axes: ints = [1], body: graph = step_body
      (float[b, d, n] h, float[b, d] dt_t, float[b, d] dtu_t, float[b, m] B_t, float[b, m] C_t)
      => (float[b, d, n] h_next, float[b, d] sum_t)
  {{
    dt_column = Unsqueeze (dt_t, axis_last)
    exponent = Mul (dt_column, A)
    decay = Exp (exponent)
{step}
  }}> (h_first, dt_run, dtu_run, B_run, C_run)
  sum = Slice (sum_run, start, stop, axis_time, step)

  skip = Mul (u32, D)
  scanned = Add (sum, skip)
{gate}  y = CastLike (y32, u)
}}
"""

# In a step, every channel of an ungrouped scan uses the same B and C. Those of a grouped one are viewed as
# (batch, groups, channels of a group, state).
_STEP = """
    dtu_column = Unsqueeze (dtu_t, axis_last)
    B_row = Unsqueeze (B_t, axis_time)
    gain = Mul (dtu_column, B_row)
    kept = Mul (decay, h)
    h_next = Add (kept, gain)
    C_column = Unsqueeze (C_t, axis_last)
    sum_column = MatMul (h_next, C_column)
    sum_t = Squeeze (sum_column, axis_last)
"""
_GROUPED_STEP = """
    dtu_groups = Reshape (dtu_t, column_shape)
    B_groups = Reshape (B_t, row_shape)
    gain_groups = Mul (dtu_groups, B_groups)
    gain = Reshape (gain_groups, state_shape)
    kept = Mul (decay, h)
    h_next = Add (kept, gain)
    h_groups = Reshape (h_next, groups_shape)
    C_groups = Reshape (C_t, C_shape)
    sum_groups = MatMul (h_groups, C_groups)
    dtu_shape = Shape (dtu_t)
    sum_t = Reshape (sum_groups, dtu_shape)
"""
_GROUP_SHAPES = """
  groups_int = Constant <value_int: int = @groups> ()
  groups = Unsqueeze (groups_int, zero)
  rest = Constant <value_ints: ints = [-1]> ()
  state = Shape <start: int = 1, end: int = 2> (A)
  column_shape = Concat <axis: int = 0> (batch, groups, rest, one)
  row_shape = Concat <axis: int = 0> (batch, groups, one, state)
  C_shape = Concat <axis: int = 0> (batch, groups, state, one)
  groups_shape = Concat <axis: int = 0> (batch, groups, rest, state)
"""
_GATE_INPUT = """
  z32 = Cast <to: int = 1> (z)
"""
_GATE = """
  gate = Sigmoid (z32)
  silu = Mul (z32, gate)
  y32 = Mul (scanned, silu)
"""
_NO_GATE = """
  y32 = Identity (scanned)
"""


def function_body(*, gated: bool = True, grouped: bool = False, opset: int = OPSETS[0]) -> onnx.FunctionProto:
    """The operator's body in one of OPSETS; inputs and attributes as the contract says, any of its types.

    A function cannot test whether an optional input is there, so there is one body for nodes with `z` and
    one for those without. `grouped` False: for nodes whose `groups` is 1, without the views of groups.
    """
    text = _BODY.format(
        opset=opset,
        domain=OP_DOMAIN,
        name=OP_NAME,
        attributes=", ".join(ATTRIBUTES),
        inputs=", ".join(INPUT_NAMES),
        gate_input=_lines(_GATE_INPUT) if gated else "",
        gate=_lines(_GATE if gated else _NO_GATE),
        group_shapes=_lines(_GROUP_SHAPES) if grouped else "",
        step=_lines(_GROUPED_STEP if grouped else _STEP),
    )
    return onnx.parser.parse_function(
        "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    )


def body_for(nodes: Sequence[onnx.NodeProto], opset: int = OPSETS[0]) -> onnx.FunctionProto:
    """The body for all scans of a file, in the file's opset.

    Raises ValueError if only some of them have a gate, and for an opset that is not one of OPSETS.
    """
    if opset not in OPSETS:
        raise ValueError(f"opset {opset}; expected {OPSETS[0]} to {OPSETS[-1]}")
    gates = {is_gated(node) for node in nodes}
    if len(gates) > 1:
        raise ValueError("scans with and without z in one file, which cannot have the same function body")
    grouped = any(
        attribute.name == "groups" and attribute.i != 1 for node in nodes for attribute in node.attribute
    )
    return function_body(gated=gates != {False}, grouped=grouped, opset=opset)


def _lines(text: str) -> str:
    return text.removeprefix("\n")
