"""Computing recorded networks: layers against their definitions, and refusals."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="recorded networks are computed with PyTorch")

from tensorrt_parsers.compute import ComputeError, compute
from tensorrt_parsers.recording import read_recording

_ROI_FIELDS = ("coordinate_transformation_mode", "mode", "output_height", "output_width", "sampling_ratio")
GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((2, 3, 4, 5)).astype(np.float32)


def one_layer(
    kind: str,
    settings: dict[str, Any],
    inputs: list[np.ndarray | None],
    outputs: list[tuple[tuple[int, ...], str]],
    weights: bytes = b"",
    plugin: dict[str, Any] | None = None,
) -> list[np.ndarray]:
    """The outputs of a network with one layer; `outputs` are the recorded dims and types."""
    given = [
        None if x is None else {"id": i, "name": f"x{i}", "dims": list(x.shape), "type": str(x.dtype)}
        for i, x in enumerate(inputs)
    ]
    made = [
        {"id": 100 + i, "name": f"y{i}", "dims": list(dims), "type": type}
        for i, (dims, type) in enumerate(outputs)
    ]
    layer = {"kind": kind, "name": "layer", "inputs": given, "outputs": made, "settings": settings}
    description: dict[str, Any] = {
        "parsed": True, "errors": [], "messages": [], "mismatches": [], "not_implemented": [],
        "inputs": [tensor for tensor in given if tensor], "outputs": made,
        "layers": [{**layer, "plugin": plugin} if plugin else layer],
    }  # fmt: skip
    values = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    return list(compute(read_recording(description, weights), values).values())


def test_a_convolution_with_groups_and_uneven_padding():
    kernel = GENERATOR.standard_normal((6, 1, 3, 3)).astype(np.float32)
    bias = np.arange(6, dtype=np.float32)
    settings = {
        "kernel_size_nd": [3, 3], "nb_groups": 3, "nb_output_maps": 6, "stride_nd": [2, 1],
        "pre_padding": [1, 0], "post_padding": [2, 1],
        "kernel_weights": {"type": "float32", "count": kernel.size, "offset": 0},
        "bias_weights": {"type": "float32", "count": 6, "offset": kernel.nbytes},
    }  # fmt: skip
    (found,) = one_layer(
        "Convolution", settings, [X], [((2, 6, 3, 4), "float32")], kernel.tobytes() + bias.tobytes()
    )
    padded = np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 1)))
    expected = np.zeros((2, 6, 3, 4))
    for maps in range(6):
        for row in range(3):
            for column in range(4):
                window = padded[:, maps // 2, 2 * row : 2 * row + 3, column : column + 3]
                expected[:, maps, row, column] = (window * kernel[maps, 0]).sum((1, 2)) + bias[maps]
    assert np.abs(found - expected).max() < 1e-5


def test_results_are_rounded_to_the_type_of_the_network():
    (found,) = one_layer("Unary", {"operation": 0}, [X], [(X.shape, "float16")])
    assert found.dtype == np.float16
    assert np.array_equal(found, np.exp(X).astype(np.float16))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(0, X + 2), (1, X * 2), (2, np.maximum(X, 2)), (4, X - 2), (5, X / 2), (6, X**2), (7, np.floor(X / 2))],
)
def test_elementwise_operations(operation, expected):
    two = np.full((1, 1, 1, 1), 2, np.float32)
    (found,) = one_layer("ElementWise", {"operation": operation}, [X, two], [(X.shape, "float32")])
    assert np.allclose(found, expected, atol=1e-6)


def test_integers_are_divided_towards_zero():
    a, b = np.array([7, -7], np.int32), np.array([2, 2], np.int32)
    assert one_layer("ElementWise", {"operation": 5}, [a, b], [((2,), "int32")])[0].tolist() == [3, -3]
    assert one_layer("ElementWise", {"operation": 7}, [a, b], [((2,), "int32")])[0].tolist() == [3, -4]


def test_a_shuffle_transposes_reshapes_and_transposes():
    settings = {
        "first_transpose": [0, 2, 3, 1, 4, 5, 6, 7],
        "reshape_dimensions": [0, -1, 3],
        "second_transpose": [0, 2, 1, 3, 4, 5, 6, 7],
    }
    (found,) = one_layer("Shuffle", settings, [X], [((2, 3, 20), "float32")])
    assert np.array_equal(found, X.transpose(0, 2, 3, 1).reshape(2, 20, 3).transpose(0, 2, 1))


def test_a_slice_of_given_axes_with_a_fill_value():
    start, size, stride = (np.array(values) for values in ([3, -1], [2, 3], [-2, 2]))
    fill, axes = np.array(9, np.float32), np.array([3, -2])
    inputs = [X, start, size, stride, fill, axes]
    (found,) = one_layer("Slice", {"mode": 3}, inputs, [((2, 3, 3, 2), "float32")])
    padded = np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 0)), constant_values=9)
    assert np.array_equal(found, padded[:, :, 0:5:2, 3:0:-2])


def test_a_strict_slice_outside_of_its_input_is_an_error():
    settings = {"start": [0, 0, 2, 0], "size": [2, 3, 3, 5], "stride": [1, 1, 1, 1]}
    with pytest.raises(ComputeError, match=r"Slice layer.*axis 2 from 2, 3 by 1, of 4"):
        one_layer("Slice", settings, [X], [((2, 3, 3, 5), "float32")])


@pytest.mark.parametrize(
    ("settings", "index", "expected"),
    [
        ({"mode": 0, "gather_axis": 1}, np.array([[2, 0]], np.int32), X[:, [[2, 0]]]),
        ({"mode": 0, "gather_axis": 3}, np.array(-1, np.int32), X[..., -1]),
        ({"mode": 2, "gather_axis": 0}, np.array([[1, 2], [0, 0]]), X[[1, 0], [2, 0]]),
    ],
)
def test_gathers(settings, index, expected):
    (found,) = one_layer("Gather", settings, [X, index], [(expected.shape, "float32")])
    assert np.array_equal(found, expected)


def test_top_k_prefers_the_first_of_equal_values():
    x = np.array([[1, 3, 3, 2]], np.float32)
    settings = {"operation": 0, "k": 3, "reduce_axes": 2}
    values, indices = one_layer("TopK", settings, [x], [((1, 3), "float32"), ((1, 3), "int32")])
    assert values.tolist() == [[3, 3, 2]]
    assert indices.tolist() == [[1, 2, 3]]


def test_a_normalization():
    scale, bias = np.full((1, 1, 1, 5), 2, np.float32), np.ones((1, 1, 1, 5), np.float32)
    settings = {"axes": 8, "epsilon": 1e-5}
    (found,) = one_layer("Normalization", settings, [X, scale, bias], [(X.shape, "float32")])
    expected = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-5) * 2 + 1
    assert np.allclose(found, expected, atol=1e-5)


def test_a_result_of_another_shape_than_recorded_is_an_error():
    with pytest.raises(ComputeError, match=r"the result is \[2, 3, 4, 5\], recorded as \[2, 3, 5, 5\]"):
        one_layer("Identity", {}, [X], [((2, 3, 5, 5), "float32")])
    assert one_layer("Identity", {}, [X], [((-1, 3, -1, 5), "float32")])[0].shape == X.shape


def test_layers_in_any_order_are_computed_after_their_inputs():
    def tensor(id: int) -> dict[str, Any]:
        return {"id": id, "name": f"t{id}", "dims": list(X.shape), "type": "float32"}

    def unary(name: str, operation: int, source: int, target: int) -> dict[str, Any]:
        settings = {"operation": operation}
        ends = {"inputs": [tensor(source)], "outputs": [tensor(target)]}
        return {"kind": "Unary", "name": name, "settings": settings, **ends}

    description: dict[str, Any] = {
        "parsed": True, "errors": [], "messages": [], "mismatches": [], "not_implemented": [],
        "inputs": [tensor(0)], "outputs": [tensor(2)],
        "layers": [unary("exp", 0, 1, 2), unary("abs", 4, 0, 1)],
    }  # fmt: skip
    (found,) = compute(read_recording(description, b""), {"t0": X}).values()
    assert np.allclose(found, np.exp(np.abs(X)))
    del description["layers"][1]
    with pytest.raises(ComputeError, match="Unary exp has an input that no layer computes"):
        compute(read_recording(description, b""), {"t0": X})


def test_unknown_layers_and_plugins_are_errors():
    with pytest.raises(ComputeError, match=r"KeyError\('Loop'\)"):
        one_layer("Loop", {}, [X], [(X.shape, "float32")])
    with pytest.raises(ComputeError, match="'other', 'SelectiveScan'"):
        plugin = {"namespace": "other", "name": "SelectiveScan", "fields": {}}
        one_layer("Plugin", {}, [X], [(X.shape, "float32")], plugin=plugin)


def scan_inputs(dtype: type) -> list[np.ndarray]:
    sequence, projection = (1, 3, 2), (1, 3, 4)
    shapes = [sequence, sequence, (2, 4), projection, projection, (2,), sequence, (2,)]
    kinds = [dtype, dtype, np.float32, dtype, dtype, np.float32, dtype, np.float32]
    return [GENERATOR.standard_normal(s).astype(k) for s, k in zip(shapes, kinds, strict=True)]


FIELDS = {"delta_softplus": [1], "reverse": [0], "groups": [1], "gated": [1]}


def scan(inputs: list[np.ndarray], **given: Any) -> np.ndarray:
    """The output of a plugin with the given fields or data."""
    plugin = {"namespace": "vim_deploy", "name": "SelectiveScan", **given}
    return one_layer("Plugin", {}, inputs, [((1, 3, 2), str(inputs[0].dtype))], plugin=plugin)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_scans_of_both_generations_of_plugins_have_the_same_attributes(dtype):
    magic = b"VIMSCAN2"
    data = (magic + np.array([1, 0, 1, 1], np.int32).tobytes()).hex()
    inputs = scan_inputs(dtype)
    expected = scan(inputs, fields=FIELDS)
    assert np.isfinite(expected).all()
    assert np.array_equal(expected, scan(inputs, data=data))
    for name in ("delta_softplus", "reverse", "gated"):
        assert not np.array_equal(expected, scan(inputs, fields={**FIELDS, name: [1 - FIELDS[name][0]]}))


def test_a_scan_with_groups():
    inputs = scan_inputs(np.float32)
    for i in (3, 4):  # B and C of a second group
        inputs[i] = np.concatenate([inputs[i], inputs[i]], 2)
    grouped = {**FIELDS, "groups": [2]}
    assert np.array_equal(
        scan(inputs, fields=grouped), scan(scan_inputs_of_first_group(inputs), fields=FIELDS)
    )


def scan_inputs_of_first_group(inputs: list[np.ndarray]) -> list[np.ndarray]:
    return [x[..., :4] if i in (3, 4) else x for i, x in enumerate(inputs)]


def test_a_scan_with_a_type_that_the_plugin_refuses_is_an_error():
    inputs = scan_inputs(np.float16)
    inputs[2] = inputs[2].astype(np.float16)
    with pytest.raises(ComputeError, match=r"A is torch.float16, the plugin expects torch.float32"):
        scan(inputs, fields=FIELDS)


def fused(
    name: str, inputs: list[np.ndarray], shapes: list[tuple[int, ...]], **fields: int
) -> list[np.ndarray]:
    plugin = {
        "namespace": "vim_deploy.fused",
        "name": name,
        "fields": {key: [value] for key, value in fields.items()},
    }
    return one_layer("Plugin", {}, inputs, [(shape, "float32") for shape in shapes], plugin=plugin)


def numbers(*shape: int) -> np.ndarray:
    return GENERATOR.standard_normal(shape).astype(np.float32)


def test_a_pair_of_convolutions():
    xz, taps, bias, taps_b, bias_b = numbers(1, 5, 4), numbers(3, 2), numbers(2), numbers(3, 2), numbers(2)
    found = fused("CausalConvPair", [xz, taps, bias, taps_b, bias_b], 2 * [(1, 5, 2)])
    x = np.pad(xz[0, :, :2], ((2, 2), (0, 0)))
    for output, (weights, offset, start) in zip(found, ((taps, bias, 0), (taps_b, bias_b, 2)), strict=True):
        sums = np.array([offset + (weights * x[start + t :][:3]).sum(0) for t in range(5)])
        assert np.allclose(output[0], sums / (1 + np.exp(-sums)), atol=1e-6)


def test_a_pair_of_scans_is_the_gated_sum_of_both_directions():
    xz = numbers(1, 3, 4)
    sides = [
        [numbers(1, 3, 2), numbers(1, 3, 3 + 2 * 4), numbers(3, 2), numbers(4, 2), numbers(2), numbers(2)]
        for _ in (0, 1)
    ]
    given = [xz, *sides[0], *sides[1]]
    (found,) = fused("ScanPair", given, [(1, 3, 2)], delta_softplus=1, average_directions=1)
    expected = np.zeros((1, 3, 2), np.float32)
    for reverse, (u, projection, weight, A, D, bias) in enumerate(sides):
        B, C = projection[..., 3:7], projection[..., 7:]
        inputs = [u, projection[..., :3] @ weight, A.T.copy(), B, C, D, xz[..., 2:], bias]
        expected += scan(inputs, fields={**FIELDS, "reverse": [reverse]}) / 2
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_slice_can_wrap_around():
    settings = {"start": [0, 0, 0, 0], "size": [2, 3, 4, 12], "stride": [1, 1, 1, 1], "mode": 1}
    (found,) = one_layer("Slice", settings, [X], [((2, 3, 4, 12), "float32")])
    assert np.array_equal(found, np.tile(X, (1, 1, 1, 3))[..., :12])


def test_suppression_returns_rows_by_class_and_their_number():
    boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 9, 9]]], np.float32)
    scores = np.array([[[0.5, 0.0], [0.75, 0.25], [0.25, 0.5]]], np.float32)  # (image, box, class)
    limit, iou, threshold = np.array(2, np.int32), np.array(0.5, np.float32), np.array(0, np.float32)
    outputs = [((-1, 3), "int32"), ((), "int32")]
    rows, count = one_layer("NMS", {}, [boxes, scores, limit, iou, threshold], outputs)
    assert rows.tolist() == [[0, 0, 1], [0, 0, 2], [0, 1, 2], [0, 1, 1]]
    assert count == 4


@pytest.mark.parametrize("generation", ["data", "fields"])
def test_roi_align_of_both_generations_of_plugins(generation):
    level = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 2, 8, 8)).copy()
    boxes = np.array([[0, 0, 16, 16], [4, 4, 12, 12]], np.float32)
    values = (1, 1, 2, 2, 0)
    plugin = {
        "data": {"data": struct.pack("<5if", *values, 0.5).hex() + "00" * 16},
        "fields": {
            "fields": {**dict(zip(_ROI_FIELDS, ([v] for v in values), strict=True)), "spatial_scale": [0.5]}
        },
    }[generation]
    given = {"namespace": "", "name": "ROIAlign_TRT", **plugin}
    inputs = [level, boxes, np.zeros(2, np.int32)]
    (found,) = one_layer("Plugin", {}, inputs, [((2, 2, 2, 2), "float32")], plugin=given)
    assert np.allclose(found[0, 0], [[1.5, 5.5]] * 2)
    assert np.allclose(found[1, 1], [[2.5, 4.5]] * 2)


def test_forms_of_layers_that_are_not_computed_are_named():
    boxes, scores = np.zeros((1, 5001, 4), np.float32), np.ones((1, 5001, 1), np.float32)
    limits = [np.array(2, np.int32), np.array(0.5, np.float32), np.array(0, np.float32)]
    with pytest.raises(
        ComputeError, match="5001 boxes above the threshold; TensorRT's NMS takes at most 5000"
    ):
        one_layer("NMS", {}, [boxes, scores, *limits], [((-1, 3), "int32"), ((), "int32")])
    maximum = {"data": struct.pack("<5if", 1, 0, 2, 2, 0, 0.5).hex() + "00" * 16}
    given = {"namespace": "", "name": "ROIAlign_TRT", **maximum}
    inputs = [np.zeros((1, 2, 8, 8), np.float32), boxes[0, :2], np.zeros(2, np.int32)]
    with pytest.raises(ComputeError, match=r"RoiAlign with .*'mode': 0.*only the average"):
        one_layer("Plugin", {}, inputs, [((2, 2, 2, 2), "float32")], plugin=given)


def test_layers_are_computed_after_those_that_they_read():
    """The parser adds the constant k of a TopK after it."""
    x, k = (
        {"id": 0, "name": "x", "dims": [1, 4], "type": "float32"},
        {"id": 1, "name": "k", "dims": [], "type": "int32"},
    )
    y, places = (
        {"id": n, "name": f"y{n}", "dims": [1, 2], "type": t} for n, t in ((2, "float32"), (3, "int32"))
    )
    weights = {"type": "int32", "count": 1, "offset": 0}
    description = {
        "parsed": True, "errors": [], "messages": [], "mismatches": [], "not_implemented": [],
        "inputs": [x], "outputs": [y],
        "layers": [
            {"kind": "TopK", "name": "best", "inputs": [x, k], "outputs": [y, places],
             "settings": {"operation": 0, "k": 1, "reduce_axes": 2}},
            {"kind": "Constant", "name": "two", "inputs": [], "outputs": [k],
             "settings": {"weights": weights, "dimensions": []}},
        ],
    }  # fmt: skip
    values = np.array([[1, 4, 3, 2]], np.float32)
    (found,) = compute(read_recording(description, np.int32(2).tobytes()), {"x": values}).values()
    assert found.tolist() == [[4, 3]]
    description["layers"].pop()
    with pytest.raises(ComputeError, match="TopK best has an input that no layer computes"):
        compute(read_recording(description, b""), {"x": values})
