from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgesdk.converters.onnx_names import name_outputs

X = np.array([1.0, -2.0], np.float32)


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def run(nodes, outputs, names, initializers=()):
    graph = helper.make_graph(nodes, "g", [value("x")], [value(o) for o in outputs], initializers)
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    name_outputs(model.graph, names)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [output.name for output in session.get_outputs()] == names
    return dict(zip(names, session.run(None, {"x": X}), strict=True))


NEG = helper.make_node("Neg", ["x"], ["a"])
ABS = helper.make_node("Abs", ["a"], ["b"])


def test_plain_renaming():
    found = run([NEG, ABS], ["a", "b"], ["first", "second"])
    assert found["first"].tolist() == [-1.0, 2.0]
    assert found["second"].tolist() == [1.0, 2.0]


def test_the_name_of_a_value_inside_is_freed():
    found = run([NEG, ABS], ["b"], ["a"])
    assert found["a"].tolist() == [1.0, 2.0]


def test_outputs_that_swap_their_names():
    found = run([NEG, ABS], ["a", "b"], ["b", "a"])
    assert found["b"].tolist() == [-1.0, 2.0]
    assert found["a"].tolist() == [1.0, 2.0]


def test_one_value_under_two_names():
    found = run([NEG], ["a", "a"], ["left", "right"])
    assert found["left"].tolist() == found["right"].tolist() == [-1.0, 2.0]


def test_an_input_that_is_passed_through():
    found = run([NEG], ["x", "a"], ["same", "negative"])
    assert found["same"].tolist() == X.tolist()


def test_a_constant_that_is_an_output_and_one_in_the_way():
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [2], [5.0, 6.0]),
        helper.make_tensor("out", TensorProto.FLOAT, [2], [7.0, 8.0]),
    ]
    add = helper.make_node("Add", ["x", "out"], ["a"])
    found = run([add], ["w", "a"], ["out", "sum"], weights)
    assert found["out"].tolist() == [5.0, 6.0]
    assert found["sum"].tolist() == [8.0, 6.0]


@pytest.mark.parametrize("taken", ["a_value", "a_value_"])
def test_a_fresh_name_is_fresh(taken):
    other = helper.make_node("Exp", ["x"], [taken])
    both = helper.make_node("Add", [taken, "a"], ["b"])
    found = run([NEG, other, both], ["b"], ["a"])
    np.testing.assert_allclose(found["a"], np.exp(X) - X, rtol=1e-6)


def test_branches_see_the_new_name():
    """The body of an If reads values of the graph around it by name."""
    then = helper.make_graph([helper.make_node("Abs", ["a"], ["t"])], "then", [], [value("t")])
    other = helper.make_graph([helper.make_node("Neg", ["a"], ["e"])], "else", [], [value("e")])
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    choose = helper.make_node("If", ["always"], ["b"], then_branch=then, else_branch=other)
    found = run([NEG, choose], ["b"], ["a"], [always])
    assert found["a"].tolist() == [1.0, 2.0]
