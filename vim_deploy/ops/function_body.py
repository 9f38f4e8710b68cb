"""The operator as a model-local function of standard operators, so that an exported file runs anywhere.

A runtime with our operator library uses its kernel instead of the body; one without it inlines the body.
Contract: plugins/selective_scan/README.md.
"""

from __future__ import annotations

import onnx
import onnx.parser

from vim_deploy.ops.signature import ATTRIBUTES, INPUT_NAMES, OP_DOMAIN, OP_NAME

_BODY = """
<opset_import: ["" : 17], domain: "{domain}">
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
  z32 = Cast <to: int = 1> (z)

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
  channels_state = Shape (A)
  state_shape = Concat <axis: int = 0> (batch, channels_state)
  h_first = ConstantOfShape (state_shape)
  h_last, sum_run = Scan <num_scan_inputs: int = 4, scan_input_axes: ints = [1, 1, 1, 1],
      scan_output_axes: ints = [1], body: graph = step_body
      (float[b, d, n] h, float[b, d] dt_t, float[b, d] dtu_t, float[b, n] B_t, float[b, n] C_t)
      => (float[b, d, n] h_next, float[b, d] sum_t)
  {{
    dt_column = Unsqueeze (dt_t, axis_last)
    exponent = Mul (dt_column, A)
    decay = Exp (exponent)
    dtu_column = Unsqueeze (dtu_t, axis_last)
    B_row = Unsqueeze (B_t, axis_time)
    gain = Mul (dtu_column, B_row)
    kept = Mul (decay, h)
    h_next = Add (kept, gain)
    C_column = Unsqueeze (C_t, axis_last)
    sum_column = MatMul (h_next, C_column)
    sum_t = Squeeze (sum_column, axis_last)
  }}> (h_first, dt_run, dtu_run, B_run, C_run)
  sum = Slice (sum_run, start, stop, axis_time, step)

  skip = Mul (u32, D)
  scanned = Add (sum, skip)
  gate = Sigmoid (z32)
  silu = Mul (z32, gate)
  y32 = Mul (scanned, silu)
  y = CastLike (y32, u)
}}
"""


def function_body() -> onnx.FunctionProto:
    """The operator's body, opset 17; inputs and attributes as the contract says, any of its types."""
    text = "\n".join(line for line in _BODY.splitlines() if not line.lstrip().startswith("#"))
    return onnx.parser.parse_function(
        text.format(
            domain=OP_DOMAIN, name=OP_NAME, attributes=", ".join(ATTRIBUTES), inputs=", ".join(INPUT_NAMES)
        )
    )
