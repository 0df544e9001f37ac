# SPDX-License-Identifier: MIT
"""test_nn.py: the proof that goes with nn.py.

    python -m pytest                all; without PyTorch, JAX or MNIST some are skipped
    python test_nn.py --benchmark   seconds beside PyTorch

An activation or a loss that is added to its table in nn.py has its gradients checked here
without another line; a rule, that it descends; a schedule, that it never rises.
"""
import os

# As in the scripts: idle threads of OpenBLAS spin, and slow down whatever runs beside.
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))

import concurrent.futures
import contextlib
import copy
import functools
import gzip
import hashlib
import io
import itertools
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.request
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

import nn
import train_mnist
import train_xor

HERE = Path(__file__).resolve().parent
RELU_NET = ("relu", "softmax")
HIDDEN = [name for name in nn.ACTIVATIONS if name != "softmax"]
PAIRS = [(output, loss) for loss, (_, _, needed) in nn.LOSSES.items()  # that go together
         for output in nn.ACTIVATIONS
         if output == needed or (needed is None and output in HIDDEN)]

# ---- Networks and data to test with ----------------------------------------------------
def case(activations=RELU_NET, sizes=(4, 6, 3), n=8):
    """Return (params, X, Y). Y goes from 0 to 1; for softmax, in rows that sum to 1."""
    rng = np.random.default_rng(0)
    params = nn.init_params(sizes, activations, rng, np.float64)
    for l in range(1, len(sizes)):
        params[f"b{l}"] = rng.normal(size=sizes[l])
    X = rng.normal(size=(n, sizes[0]))
    Y = rng.random((n, sizes[-1]))
    if activations[-1] == "softmax":
        Y = Y / Y.sum(axis=1, keepdims=True)
    return params, X, Y

def bits(tree):
    """Return nested dicts of arrays as dtypes, shapes and bytes, to be compared by ==."""
    if isinstance(tree, dict):
        return {key: bits(value) for key, value in tree.items()}
    array = np.asarray(tree)
    return array.dtype, array.shape, array.tobytes()

def spied(monkeypatch, module, name):
    """Return a list to which each later call of a function adds (arguments, result)."""
    calls = []
    function = getattr(module, name)

    def spy(*arguments, **options):
        result = function(*arguments, **options)
        calls.append((arguments, result))
        return result

    monkeypatch.setattr(module, name, spy)
    return calls

def replaced(text, old, new):
    """Return text with the one place that is old made new."""
    assert text.count(old) == 1, old
    return text.replace(old, new)

# ---- Gradients: backward against central differences -----------------------------------
def central_differences(f, array, h=1e-5):
    """Return how fast f grows with each entry of array."""
    slopes = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        step = np.zeros_like(array)
        step[i] = h
        slopes[i] = (f(array + step) - f(array - step)) / (2 * h)
    return slopes

def check_gradient(key, gradient, expected):
    """Fail unless they are equal to 1e-6, and say first by which factor, and where."""
    assert gradient.shape == expected.shape, f"{key} has the shape {gradient.shape}"
    off = abs(gradient - expected)
    if np.linalg.norm(off) <= 1e-6 * np.linalg.norm(expected) + 1e-9:
        return
    factor = (gradient * expected).sum() / (expected * expected).sum()
    where = "everywhere"
    if not np.allclose(gradient, factor * expected, 1e-4):
        worst = np.unravel_index(off.argmax(), off.shape)
        factor = gradient[worst] / expected[worst]
        where = f"at {tuple(map(int, worst))}, the worst of {(off > 1e-6).sum()} places"
    raise AssertionError(f"the gradient of {key} is {factor:.2f} times what it should "
                         f"be, {where}\n{gradient}\nexpected\n{expected}")

@pytest.mark.parametrize("sizes, l1, l2, dropout", [
    ((4, 6, 5, 3), 0.0, 0.0, 0.0),
    ((4, 6, 5, 3), 0.02, 0.0, 0.4),
    ((4, 5, 2), 0.0, 0.3, 0.0)])
@pytest.mark.parametrize("output, loss", PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_by_central_differences(hidden, output, loss, sizes, l1, l2, dropout):
    activations = (hidden,) * (len(sizes) - 2) + (output,)
    params, X, Y = case(activations, sizes)
    given = {**params, "X": X}
    rest = (Y, activations, loss, l1, l2)

    def forward(given):
        rng = np.random.default_rng(5)  # the same masks every time
        _, cache = nn.forward(given, given["X"], activations, dropout, rng)
        return cache

    def loss_with(key, array):
        changed = {**given, key: array}
        return nn.compute_loss(changed, forward(changed), *rest)

    grads = nn.backward(params, forward(given), *rest, wrt_input=True)
    assert grads.keys() == given.keys()
    for key, array in given.items():
        slopes = central_differences(functools.partial(loss_with, key), array)
        check_gradient(key, grads[key], slopes)

def test_an_added_activation_needs_no_other_line(monkeypatch, tmp_path):
    bell = (lambda Z: np.exp(-Z * Z), lambda Z, A: -2 * Z * A, 1.0)  # of Z and A
    monkeypatch.setitem(nn.ACTIVATIONS, "bell", bell)
    test_gradients_by_central_differences(
        "bell", "bell", "mse", (4, 6, 5, 3), 0.02, 0.3, 0.4)
    activations = ("bell", "softmax")
    params, X, Y = case(activations)
    trained, _ = nn.gradient_descent(params, X, Y, activations)
    nn.save_params(tmp_path / "net.npz", trained, activations)
    assert nn.load_params(tmp_path / "net.npz")[1] == activations
    monkeypatch.delitem(nn.ACTIVATIONS, "bell")
    with pytest.raises(ValueError, match="bell - not in linear"):
        nn.load_params(tmp_path / "net.npz")  # it is not damaged, only unknown

@pytest.mark.parametrize("factors, words", [
    (8, "8.00 times what it should be, everywhere"),
    (-1, "-1.00 times what it should be, everywhere"),
    ([[1, 1, 1], [2, 1, 3]], r"3.00 times .*, at \(1, 2\), the worst of 2 places")])
def test_a_wrong_gradient_is_told_by_its_factor_and_its_place(factors, words):
    expected = np.arange(1.0, 7).reshape(2, 3)
    with pytest.raises(AssertionError, match=f"^the gradient of W1 is {words}"):
        check_gradient("W1", factors * expected, expected)

# ---- PyTorch: forty steps of training, and so losses, gradients and optimizers ---------
TORCH_ACTIVATIONS = {
    "linear": lambda Z: Z, "relu": lambda Z: Z.relu(), "tanh": lambda Z: Z.tanh(),
    "sigmoid": lambda Z: Z.sigmoid(), "softmax": lambda Z: Z.softmax(1)}
TORCH_LOSSES = {"mse": "mse_loss", "cross_entropy": "cross_entropy",
                "binary_cross_entropy": "binary_cross_entropy_with_logits"}
TORCH_RULES = {"sgd": ("SGD", {}), "momentum": ("SGD", {"momentum": 0.9}),
               "adam": ("Adam", {})}

KNOWN = [pair for pair in PAIRS if {*pair} <= {*TORCH_ACTIVATIONS, *TORCH_LOSSES}]

def deep_case(output, loss):
    """Return (params, X, Y, recipe) of a network of four layers, no two as wide."""
    activations = ("relu", "tanh", "sigmoid", output)
    params, X, Y = case(activations, (4, 6, 5, 7, 3))
    return params, X, Y, dict(activations=activations, loss=loss, l1=0.01, l2=0.03)

def torch_loss(torch, params, X, Y, activations, loss, l1, l2):
    """Return (loss, penalty) as nn.py should have them, by PyTorch from its own parts."""
    A = X
    penalty = 0.0
    for l, name in enumerate(activations, start=1):
        W = params[f"W{l}"]
        Z = A @ W + params[f"b{l}"]
        A = TORCH_ACTIVATIONS[name](Z)
        penalty = penalty + l1 * W.abs().sum() + l2 / 2 * (W * W).sum()
    taken = A if loss == "mse" else Z  # the others take logits
    return getattr(torch.nn.functional, TORCH_LOSSES[loss])(taken, Y), penalty

@pytest.mark.parametrize("optimizer", TORCH_RULES)
@pytest.mark.parametrize("output, loss", KNOWN)
def test_losses_and_params_of_forty_steps_equal_pytorch(output, loss, optimizer):
    torch = pytest.importorskip("torch")
    params, X, Y, recipe = deep_case(output, loss)
    trained, history = nn.gradient_descent(
        params, X, Y, **recipe, epochs=40, lr=0.02, optimizer=optimizer)  # in one batch
    tensors = {key: torch.tensor(p, requires_grad=True) for key, p in params.items()}
    data = torch.tensor(X), torch.tensor(Y)
    torch_rule, defaults = TORCH_RULES[optimizer]
    rule = getattr(torch.optim, torch_rule)(tensors.values(), lr=0.02, **defaults)
    for of_nn, _ in zip(history["loss"], range(40), strict=True):
        of_torch, penalty = torch_loss(torch, tensors, *data, **recipe)
        assert of_nn == pytest.approx(of_torch.item(), rel=1e-9)
        rule.zero_grad()
        (of_torch + penalty).backward()
        rule.step()
    for key, tensor in tensors.items():
        assert abs(trained[key] - tensor.detach().numpy()).max() < 1e-8, key

# ---- JAX: automatic differentiation, and the compiled step -----------------------------
@pytest.mark.parametrize("optimizer", nn.OPTIMIZERS)
@pytest.mark.parametrize("output, loss", PAIRS)
def test_jax_grad_equals_backward_and_compiled_steps_numpy(
        output, loss, optimizer, monkeypatch):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    params, X, Y, recipe = deep_case(output, loss)

    def loss_and_grads(given):
        _, cache = nn.forward(given, given["X"], recipe["activations"])
        grads = nn.backward(given, cache, Y, **recipe, wrt_input=True)
        return nn.compute_loss(given, cache, Y, **recipe), grads

    def step(params, state):
        _, grads = loss_and_grads({**params, "X": X})
        return nn.update(params, grads, state, 0.05, optimizer)

    expected, _ = nn.gradient_descent(
        params, X, Y, **recipe, epochs=10, lr=0.05, optimizer=optimizer)  # in one batch
    monkeypatch.setattr(nn, "np", jax.numpy)
    of_jax, grads = jax.grad(loss_and_grads, has_aux=True)({**params, "X": X})
    for key, gradient in of_jax.items():
        assert np.allclose(grads[key], gradient, rtol=1e-9, atol=1e-12), key
    state = {}
    for _ in range(10):
        params, state = jax.jit(step)(params, state)
    for key, p in params.items():
        assert abs(p - expected[key]).max() < 1e-9, key

# ---- By hand: the losses ---------------------------------------------------------------
@pytest.mark.parametrize("output, loss, expected, share", [
    ("linear", "mse", np.mean([0.04, 0.49, 0.25, 0.16, 0.01, 0.09]), 2 / 3),
    ("softmax", "cross_entropy", -np.log(0.3 * 0.6) / 2, 1),
    ("sigmoid", "binary_cross_entropy", -np.log(0.8 * 0.3 * 0.5 * 0.6 * 0.9 * 0.7) / 6,
     1 / 3)])
def test_losses_are_means_and_penalties_sums(output, loss, expected, share):
    A = np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
    Y = [[0, 1, 0], [1, 0, 0]]
    dZ = share * np.array([[0.2, -0.7, 0.5], [-0.4, 0.1, 0.3]])  # A - Y, as in nn.py
    Z = {"linear": A, "softmax": np.log(A), "sigmoid": np.log(A / (1 - A))}[output]
    params = {"W1": np.eye(3), "b1": np.zeros(3), "W2": -np.eye(3), "b2": np.full(3, 3.0)}
    activations = ("linear", output)
    _, cache = nn.forward(params, 3 - Z, activations)  # W2 and b2 undo it: A comes out
    for l1, l2, penalty in ((0, 0, 0), (0.5, 0, 0.5 * 6), (0, 0.25, 0.125 * 6)):
        value = nn.compute_loss(params, cache, Y, activations, loss, l1, l2)
        assert value == pytest.approx(expected + penalty)
        grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
        assert grads["X"] == pytest.approx(-dZ / 2)
        assert np.isfinite(grads["W2"]).all()  # W has zeros: sign(W), not W / |W|

# ---- Training: gradient_descent against a plain loop -----------------------------------
def plain_descent(params, X, Y, activations, loss, rng, *, epochs=10, batch_size=32,
                  lr=0.01, optimizer="sgd", schedule="constant", l1=0.0, l2=0.0,
                  dropout=0.0, validation=None, augment=lambda batch, rng: batch):
    """Return what gradient_descent's docstring says, for Y as rows."""
    state = {}
    log = []
    schedule = nn.SCHEDULES.get(schedule, schedule)
    for epoch in range(epochs):
        order = rng.permutation(len(X))
        losses = []
        for start in range(0, len(X), batch_size):
            rows = order[start:start + batch_size]
            batch = augment(X[rows], rng)
            rate = float(lr * schedule(epoch + start / len(X), epochs))
            _, cache = nn.forward(params, batch, activations, dropout, rng)
            value = nn.compute_loss(params, cache, Y[rows], activations, loss)
            losses.append(float(value) * len(rows))
            grads = nn.backward(params, cache, Y[rows], activations, loss, l1, l2)
            params, state = nn.update(params, grads, state, rate, optimizer)
        scores = {"loss": sum(losses) / len(X), "lr": rate}
        if validation:
            measured = nn.evaluate(params, *validation, activations, loss)
            scores |= {f"val_{name}": value for name, value in measured.items()}
        log.append(scores)
    return params, {name: [scores[name] for scores in log] for name in log[0]}

def noisy(X_batch, rng):
    """Write into the batch, as augment may, and return another."""
    X_batch *= 1.1
    return X_batch + rng.normal(0, 0.1, X_batch.shape)

OPTIONS = {
    "defaults": {}, "a batch of one": {"batch_size": 1}, "all": {"batch_size": 70},
    "larger than all": {"batch_size": 99},
    "a rule": {"optimizer": functools.partial(nn.momentum, beta=0.5)},
    "a schedule": {"schedule": lambda done, E: np.cos(done / E)},  # an np.float64
    "everything": {"schedule": "exponential", "l1": 0.01, "l2": 0.1, "dropout": 0.2,
                   "augment": noisy, "optimizer": "adam", "lr": 0.05, "epochs": 4}}

@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("output, loss", PAIRS)
def test_gradient_descent_equals_a_plain_loop(output, loss, option):
    """To the last bit, though gradient_descent is given float64, which it converts."""
    activations = ("tanh", output)
    options = dict(OPTIONS[option])
    params, X, Y = case(activations, n=70)
    start = {key: p.astype(np.float32) for key, p in params.items()}
    if option == "everything":
        options["validation"] = (X[:7], Y[:7])
    given = np.random.default_rng(3)
    trained, history = nn.gradient_descent(
        start, X, Y, activations, loss, seed=given, **options)
    shared = np.random.default_rng(3)
    expected, log = plain_descent(start, X.astype(np.float32), Y.astype(np.float32),
                                  activations, loss, shared, **options)
    assert bits(trained) == bits(expected)
    assert history == log
    assert given.random() == shared.random()  # as many draws
    assert all(type(value) is float for values in history.values() for value in values)

MIDDLE_AND_END = {"constant": (1, 1), "linear": (0.5, 0), "step": (0.1, 0.01),
                  "exponential": (0.1, 0.01), "inverse": (1 / 5.5, 0.1)}

@pytest.mark.parametrize("name", nn.SCHEDULES | MIDDLE_AND_END)
def test_schedules_begin_at_one_do_not_rise_and_end_as_their_comments_say(name):
    factors = [nn.SCHEDULES[name](done, 70) for done in np.linspace(0, 70 - 1e-9, 101)]
    assert factors[0] == 1
    assert (np.diff(factors) <= 0).all() and factors[-1] >= 0
    if name in MIDDLE_AND_END:
        assert (factors[50], factors[-1]) == pytest.approx(MIDDLE_AND_END[name], abs=1e-9)

# ---- Faults that well-known from-scratch networks have ---------------------------------
# Caught above, by differences: a slope of relu that is 1 everywhere, dropout unscaled in
# backward, l2 added to dZ, db summed over neurons, 1/n twice; by the plain loop: X and Y
# shuffled apart or only once, a last batch dropped; by PyTorch: adam's first steps.
def test_dropout_keeps_the_mean_and_float32_stays_float32():
    activations = ("relu", "tanh", "softmax")
    rng = np.random.default_rng(0)
    params = nn.init_params((4, 60, 60, 3), activations)
    X = rng.normal(size=(90, 4))
    Y = nn.one_hot(np.arange(90) % 3, 3, np.float64)
    for dropout, factor in ((0.75, 4), (0.2, 1.25)):
        output, cache = nn.forward(params, X, activations, dropout, rng)
        assert list(cache) == "X1 Z1 A1 mask1 X2 Z2 A2 mask2 X3 Z3 A3".split()
        assert np.array_equal(cache["A3"], output)
        for l in (1, 2):
            mask = cache[f"mask{l}"]
            assert set(mask.flat) == {0, factor}
            assert abs(mask.mean() - 1) < 0.1
            assert len(np.unique(mask, axis=0)) == 90  # one for each row
            assert bits(cache[f"X{l + 1}"]) == bits(cache[f"A{l}"] * mask)
        wide = np.float64(0.01)  # l1 and l2 that would make float64 of all
        grads = nn.backward(params, cache, Y, activations, l1=wide, l2=wide)
        for array in [*cache.values(), *grads.values()]:
            assert array.dtype == np.float32
    with pytest.raises(AttributeError, match="random"):  # no rng: not just no dropout
        nn.forward(params, X, activations, dropout=0.5)

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_right_at_extreme_logits_in_one_batch(dtype):
    """Naive softmax: NaN; log(A + eps): bent; one maximum for a whole batch: 0 / 0."""
    Z = np.array([[1000, -1000], [-1000, 1000], [-1000, -1000], [100, 0], [0, 0]], dtype)
    softmax, _, _ = nn.ACTIVATIONS["softmax"]
    sigmoid, _, _ = nn.ACTIVATIONS["sigmoid"]
    many, _, _ = nn.LOSSES["cross_entropy"]
    binary, _, _ = nn.LOSSES["binary_cross_entropy"]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        A = softmax(Z)
        assert np.allclose(A, [[1, 0], [0, 1], [0.5, 0.5], [1, 0], [0.5, 0.5]], 0, 1e-40)
        ln2 = np.log(2).astype(dtype)
        for label, losses in ((0, [0, 2000, ln2, 0, ln2]), (1, [2000, 0, ln2, 100, ln2])):
            Y = nn.one_hot([label] * 5, 2, dtype)
            assert many(Z, A, Y) == pytest.approx(losses)
        A = sigmoid(Z)
        assert A[0] == pytest.approx([1, 0], rel=0, abs=2e-35)
        Y = np.array([[1, 0], [1, 1], [0, 0], [1, 1], [0, 1]], dtype)
        assert binary(Z, A, Y) == pytest.approx([0, 500, 0, ln2 / 2, ln2])
        # logaddexp(0, Z) - Y * Z, which is shorter, is 1% off where the answer is sure.
        assert binary(np.array([[30.0]]), None, 1) == pytest.approx(np.exp(-30), 1e-9, 0)
        # Sigmoid written with tanh loses all digits below Z = -17 in float32.
        Z = np.linspace(-80, 80, 1001, dtype=dtype)
        assert np.allclose(sigmoid(Z), 1 / (1 + np.exp(-Z.astype(float))), 1e-6, 0)

@pytest.mark.parametrize("name", HIDDEN)  # all but softmax, for which see above
def test_no_activation_overflows_in_float32(name):
    f, slope, _ = nn.ACTIVATIONS[name]
    Z = np.array([-1000, -100, 0, 100, 1000], np.float32)  # exp(89) is infinite
    with np.errstate(over="raise", invalid="raise"):
        A = f(Z)
        assert np.isfinite(A).all() and A.dtype == np.float32
        assert np.isfinite(slope(Z, A)).all()

def test_nothing_given_is_changed_piles_up_or_is_printed(capsys):
    """In micrograd and its children, a second backward adds to the first."""
    params, X, Y = case()
    _, cache = nn.forward(params, X, RELU_NET, 0.5, np.random.default_rng(0))
    given = {"params": params, "X": X, "Y": Y, "cache": cache, "labels": Y.argmax(axis=1)}
    before = copy.deepcopy(given)
    nn.compute_loss(params, cache, Y, RELU_NET, l1=0.1, l2=0.1)
    grads = nn.backward(params, cache, Y, RELU_NET, l1=0.1, l2=0.1)
    assert bits(grads) == bits(nn.backward(params, cache, Y, RELU_NET, l1=0.1, l2=0.1))
    assert grads.keys() == params.keys()  # that of X only on demand
    nn.accuracy(given["labels"], nn.predict(params, X, RELU_NET))
    for targets in (Y, given["labels"]):
        nn.gradient_descent(params, X, targets, RELU_NET, dropout=0.2, batch_size=9,
                            validation=(X, targets), augment=noisy, optimizer="adam")
    assert bits(given) == bits(before)
    assert capsys.readouterr() == ("", "")

# ---- Optimizers: by hand; then whether they are pure, and descend ----------------------
@pytest.mark.parametrize("name, gradients, expected", [  # from p = 0 with lr 0.1
    ("sgd", [1, 3], [-0.1, -0.4]),
    ("momentum", [1, 3], [-0.1, -0.1 - 0.1 * (0.9 * 1 + 3)]),
    ("adam", [1, 3], [-0.1, -0.1 - 0.1 * ((0.9 * 0.1 + 0.1 * 3) / 0.19)
                      / ((0.999 * 0.001 + 0.001 * 9) / 0.001999) ** 0.5]),
    ("adam", [1e-8], [-0.1 / (1 + 1)])])  # as small as eps, which forbids a full step
def test_steps_of_each_optimizer_by_hand(name, gradients, expected):
    p = 0.0
    memory = {}
    for g, p_after in zip(gradients, expected, strict=True):
        p, memory = nn.OPTIMIZERS[name](p, g, memory, 0.1)
        assert p == pytest.approx(p_after)

def test_no_two_rules_share_a_key_of_memory():
    """momentum and adam that both called theirs "v" gave NaN, one after the other."""
    keys = [key for rule in nn.OPTIMIZERS.values() for key in rule(0.0, 1.0, {}, 0.1)[1]]
    assert sorted(keys) == sorted(set(keys))

def aliasing(p, g, memory, lr):
    """Return one array as p and as memory: neither may be written to."""
    p = p - lr * g
    return p, {"p": p}

@pytest.mark.parametrize("optimizer", [*nn.OPTIMIZERS, aliasing])
def test_each_optimizer_is_pure_keeps_dtype_and_descends(optimizer):
    target = np.array([[1.0, -2.0, 3.0]], np.float32)
    params = {"W1": 0 * target, "b1": target[0] + 1, "W2": target}
    kinds = [(key, p.dtype, p.shape) for key, p in params.items()]
    state = {"W2": {"steps": 5}}
    steepness = []
    for _ in range(300):  # of sum((W1 - target)^2) + sum(b1^2)
        grads = {"W1": 2 * (params["W1"] - target), "b1": 2 * params["b1"], "X": target}
        steepness.append([np.linalg.norm(grads[key]) for key in ("W1", "b1")])
        given = {"params": params, "grads": grads, "state": state}
        before = copy.deepcopy(given)
        params, state = nn.update(params, grads, state, np.float64(0.1), optimizer)
        assert bits(given) == bits(before)
        assert [(key, p.dtype, p.shape) for key, p in params.items()] == kinds
        assert params["W2"] is target  # as it has no gradient
        assert state["W2"] == {"steps": 5}
    assert (np.divide(steepness[-1], steepness[0]) < 0.5).all()  # each array by itself

# ---- The contract, function by function ------------------------------------------------
def test_init_params_has_the_spread_of_lecun_and_of_he():
    names = ("relu", "tanh", "linear", "sigmoid", "softmax")
    params = nn.init_params((400, 300, 200, 200, 200, 100), names)
    assert list(params) == "W1 b1 W2 b2 W3 b3 W4 b4 W5 b5".split()
    for l, variance in enumerate((2 / 400, 1 / 300, *[1 / 200] * 3), start=1):
        W = params[f"W{l}"] / variance ** 0.5
        b = params[f"b{l}"]
        assert [W.mean(), W.var()] == pytest.approx([0, 1], abs=0.03)
        assert not b.any()
        assert W.dtype == b.dtype == np.float32
    assert abs(np.corrcoef(params["W3"].flat, params["W4"].flat)[0, 1]) < 0.1
    small = functools.partial(nn.init_params, (4, 3), ("softmax",))
    assert bits(small()) == bits(small(np.random.default_rng(0))) != bits(small(1))

def test_the_slope_of_relu_at_zero_is_zero():
    _, slope, _ = nn.ACTIVATIONS["relu"]
    assert list(slope(np.array([-1.0, 0, 1]), np.array([0.0, 0, 1]))) == [0, 0, 1]

@pytest.mark.parametrize("output, loss", PAIRS)
def test_targets_may_be_lists_or_arrays_of_any_numbers(output, loss):
    labels = np.arange(8) % 2
    Y = nn.one_hot(labels, 3) if output == "softmax" else labels[:, None]
    activations = ("tanh", output)
    params, X, _ = case(activations, (4, 5, Y.shape[1]))
    wanted, _ = nn.gradient_descent(params, X, Y, activations, loss)
    for y in (labels, list(labels), labels > 0, 1.0 * labels, labels[:, None]):
        trained, _ = nn.gradient_descent(params, X.tolist(), y, activations, loss, seed=0)
        assert bits(trained) == bits(wanted)

def test_images_go_in_as_they_are_and_reach_augment_so():
    params, X, Y = case(sizes=(6, 5, 3))
    images = X.reshape(-1, 2, 3)
    turned = images[:, ::-1].reshape(-1, 6)  # upside down; X[:, ::-1] is something else
    trained, _ = nn.gradient_descent(
        params, images, Y, RELU_NET, augment=lambda batch, rng: batch[:, ::-1])
    expected, _ = nn.gradient_descent(params, turned, Y, RELU_NET)
    assert bits(trained) == bits(expected)

def test_predict_and_evaluate_go_by_the_output():
    eye = {f"W{l}": np.eye(3) for l in (1, 2, 3)}
    eye |= {f"b{l}": np.zeros(3) for l in (1, 2, 3)}
    one = {**eye, "W3": np.ones((3, 1)), "b3": np.zeros(1)}
    X = np.array([[3.0, 1, 0], [-3, -2, -1]])
    many = ("tanh", "linear", "softmax")
    several = ("tanh", "linear", "sigmoid")
    numbers = ("tanh", "linear", "linear")
    assert nn.predict(eye, X, many).tolist() == [0, 2]
    assert nn.predict(eye, X, several).tolist() == [[1, 1, 0], [0, 0, 0]]  # 0.5 is no yes
    assert nn.predict(eye, X, numbers).tolist() == np.tanh(X).tolist()
    assert nn.predict(one, X, several).tolist() == [1, 0]
    assert nn.predict(one, X, numbers) == pytest.approx(np.tanh(X).sum(axis=1))
    assert nn.evaluate(eye, X, np.tanh(X), numbers, "mse") == {"loss": 0.0}
    for y, activations, loss, right in (
            ([[1, 0, 0], [0, 0, 0]], several, nn.LOSSES["binary_cross_entropy"], 5 / 6),
            ([0, 1], many, "cross_entropy", 1 / 2)):
        _, history = nn.gradient_descent(eye, X, y, activations, loss, epochs=1)
        assert nn.evaluate(eye, X, y, activations, loss) == pytest.approx(
            {"loss": history["loss"][0], "accuracy": right})  # of before the step
    assert nn.accuracy([1, 2, 3, 4], [1.0, 2.0, 3.0, 0.0]) == 0.75
    assert bits(nn.one_hot([2.0, 0.0], 3, "d")) == bits(np.eye(3)[[2, 0]])

def test_on_epoch_is_told_can_stop_and_may_keep_params_and_history():
    params, X, Y = case(n=1)  # one row is enough
    told = []

    def on_epoch(epoch, params, history):
        told.append((epoch, params, history))
        return epoch == 3

    trained, history = nn.gradient_descent(
        params, X, Y, RELU_NET, epochs=9, on_epoch=on_epoch)
    assert [epoch for epoch, _, _ in told] == [1, 2, 3]
    for epochs, kept, kept_history in [*told, (3, trained, history)]:
        expected, log = nn.gradient_descent(params, X, Y, RELU_NET, epochs=epochs)
        assert bits(kept) == bits(expected)
        assert kept_history == log

# ---- Bad input: one line that says what is wrong ---------------------------------------
NET = nn.init_params((4, 6, 3), RELU_NET)
ROWS = np.ones((5, 4))
LABELS = np.arange(5) % 3
ONES = np.ones((5, 3))
LINEAR_NET = ("tanh", "linear")
YES_OR_NO = {"params": nn.init_params((4, 6, 1), ("tanh", "sigmoid")),
             "activations": ("tanh", "sigmoid"), "loss": "binary_cross_entropy"}

def fit(X=ROWS, Y=LABELS, params=NET, activations=RELU_NET, loss="cross_entropy", **more):
    """Train for an epoch on data that is right but for what is given."""
    return nn.gradient_descent(params, X, Y, activations, loss, **{"epochs": 1, **more})

later = functools.partial  # later(f, x)() is f(x)
_, CACHE = nn.forward(NET, ROWS, RELU_NET)
loss_given = later(nn.compute_loss, NET, CACHE)
back_given = later(nn.backward, NET, CACHE)

BAD_INPUT = [  # the call, what its message must hold
    (later(nn.init_params, (4, 3), ("reluu",)), "activation reluu - not in linear"),
    (later(nn.init_params, (4, 6, 3), ("softmax",)), "sizes (4, 6, 3) - expected"),
    (later(nn.init_params, (4, 0), ("relu",)), "sizes (4, 0) - expected"),
    (later(nn.forward, NET, ROWS[:, :3], RELU_NET), "size 15 into shape (5,4)"),
    (later(nn.predict, NET, ROWS, ("swish", "softmax")), "activations swish - not in"),
    (later(nn.predict, NET, ROWS, ("softmax",)), "b1 W2 b2 do not fit ('softmax',)"),
    (later(nn.predict, NET, np.where(np.eye(5, 4), np.nan, 1), RELU_NET), "holds NaN"),
    (later(fit, activations=(abs, "softmax")), "entry of activations <built-in"),
    (later(loss_given, LABELS, RELU_NET), "Y has the shape (5,) - expected (5, 3)"),
    (later(loss_given, ONES, RELU_NET, "entropy"), "loss entropy - not in"),
    (later(loss_given, ONES, LINEAR_NET), "cross_entropy goes with softm"),
    (later(back_given, ONES[:, :1], RELU_NET), "Y has the shape (5, 1) - expected (5"),
    (later(back_given, ONES, LINEAR_NET), "cross_entropy goes with softmax"),
    (later(fit, loss=(lambda Z, A, Y: A - Y, None, "softmax")),
     "'softmax') must give one number for each row"),
    (later(nn.update, NET, NET, {}, 0.1, "adamm"), "optimizer adamm - not in sgd"),
    (later(fit, schedule="linaer"), "schedule linaer - not in constant"),
    (later(fit, activations="softmax"), "params W1 b1 W2 b2 do not fit softmax"),
    (later(fit, params={**NET, "b2": NET["b2"][:1]}), "(1,) - need floats (6, 1)"),
    (later(fit, params={**NET, "W2": np.ones((6, 3), np.int64)}), "W2 is int64"),
    (later(fit, activations=("softmax", "softmax")), "softmax is for the output"),
    (later(fit, **{**YES_OR_NO, "activations": RELU_NET}), "is always 1: use sigmoid"),
    (later(fit, **{**YES_OR_NO, "loss": "mse", "Y": ONES}), "Y has the shape (5, 3)"),
    (later(fit, ROWS[:3]), "Y float32 (5, 3) - expected numbers; rows of X: 3 of Y: 5"),
    (later(fit, None), "X object (1,) - expected numbers"),
    (later(fit, ROWS[:0], LABELS[:0]), "X float64 (0, 4) - expected"),
    *[(later(fit, np.where(np.eye(5, 4), bad, 1)), "X holds NaN or inf")
      for bad in (np.nan, -np.inf, np.inf)],
    *[(later(fit, Y=LABELS + shift), f"labels hold {found} - expected 0 to 2")
      for shift, found in ((1, 3), (-1, -1), (0.5, 0.5))],
    (later(fit, Y=list("abcba")), "labels hold a - expected 0 to 2"),
    (later(fit, Y=[[1, 0, 0]] * 4 + [[0.5, 0, 0]]), "rows of Y do not sum to 1"),
    (later(fit, Y=np.tile([0.5, -0.5, 1], (5, 1))), "Y: 0 to 1, not -0.5 to 1.0"),
    (later(fit, Y=np.full((5, 3), np.nan)), "Y holds NaN or inf"),
    (later(fit, activations=LINEAR_NET, loss="mse"), "Y has the shape (5, 1) - expected"),
    (later(fit, **YES_OR_NO), "Y: 0 to 1, not 0.0 to 2.0"),
    (later(fit, epochs=0), "epochs 0 batch_size 32 dropout 0.0 - expected"),
    (later(fit, batch_size=0), "batch_size 0"), (later(fit, dropout=1), "dropout 1 "),
    (later(fit, dropout=-0.1), "dropout -0.1"),
    (later(fit, validation=(ROWS[:2], LABELS)), "Y float32 (5, 3) - expected"),
    (later(nn.accuracy, LABELS, LABELS[:, None]), "(5,) - expected as predicted (5, 1)")]

@pytest.mark.parametrize("wrong_call, words", BAD_INPUT)
def test_bad_input_is_one_clear_line(wrong_call, words):
    with pytest.raises(ValueError) as error:
        wrong_call()
    assert words in str(error.value)
    assert "\n" not in str(error.value)

@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("diverging", [
    *[{"lr": 1e200, "batch_size": 2, "optimizer": name} for name in nn.OPTIMIZERS],
    {"loss": (lambda Z, A, Y: np.nan * Y[:, 0], lambda A, Y, slope: A - Y, "softmax")},
    {"params": nn.init_params((4, 2), ("linear",)), "activations": ("linear",),
     "X": 0 * ROWS, "Y": np.tile([2, 0], (5, 1)), "loss": "mse", "lr": 3e38}])
def test_divergence_is_told_before_on_epoch_with_what_to_try(diverging):
    """In the last two only the loss is NaN, and only b1[0] becomes infinite."""
    advice = r"^epoch 1, .*'lr': (1e\+200|0\.01|3e\+38)}: lower lr, or scale X"
    with pytest.raises(FloatingPointError, match=advice):
        fit(**diverging, on_epoch=lambda *told: pytest.fail("too late"))

# ---- Files: back bit for bit, or refused -----------------------------------------------
def test_saved_networks_come_back_bit_for_bit(tmp_path):
    for dtype, path in ((np.float32, tmp_path / "net.npz"),
                        (np.float64, str(tmp_path / "no_suffix"))):
        params = nn.init_params((4, 6, 3), RELU_NET, 0, dtype)
        params["b1"][0] = np.nan  # of a run that failed: to be looked at
        nn.save_params(path, params, RELU_NET)
        loaded, activations = nn.load_params(path)
        assert activations == RELU_NET
        assert bits(loaded) == bits(params)
    assert sorted(os.listdir(tmp_path)) == ["net.npz", "no_suffix"]

@pytest.mark.parametrize("module, function", [(np, "savez"), (os, "replace")])
def test_a_failed_save_leaves_the_old_file(module, function, tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    nn.save_params(path, NET, RELU_NET)

    def crash(*_, **arrays):
        raise OSError("disk full")

    monkeypatch.setattr(module, function, crash)
    with pytest.raises(OSError, match="disk full"):
        nn.save_params(path, {**NET, "W1": NET["W1"] + 1}, RELU_NET)
    assert bits(nn.load_params(path)[0]) == bits(NET)

THREE = ("relu", "relu", "softmax")
WRONG_ARRAYS = [  # what is in the file instead, or as well
    {"activations": THREE}, {"activations": THREE, "b3": NET["b2"]}, {"W9": NET["W1"]},
    {"W2": NET["W1"]}, {"b1": NET["b2"]}, {"b1": np.ones(1, "f")},
    {"W1": np.full((4, 6), "1")}, {"W2": np.ones((6, 3), int)}, {"W1": np.float32(1)},
    {"activations": ("relu", "swish")}, {"activations": ("softmax", "softmax")}]

@pytest.mark.parametrize("change", WRONG_ARRAYS)
def test_files_of_wrong_arrays_are_refused_and_not_written(change, tmp_path):
    arrays = {**NET, "activations": RELU_NET, **change}
    np.savez(tmp_path / "net.npz", **arrays)
    reasons = "do not fit|need floats|not in linear|is for the output"
    with pytest.raises(ValueError, match=reasons) as error:
        nn.load_params(tmp_path / "net.npz")
    activations = arrays.pop("activations")
    with pytest.raises(ValueError, match=re.escape(str(error.value))):
        nn.save_params(tmp_path / "other.npz", arrays, activations)
    assert os.listdir(tmp_path) == ["net.npz"]

def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    nn.save_params(path, NET, RELU_NET)
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    damaged += [whole.replace(b"?", b"!"), whole[50:], b"<html>404</html>"]  # !: a weight
    for entries in ({}, {"activations": "softmax"}, {"activations": np.array([{}])}):
        np.savez(path, **NET, **entries)
        damaged.append(path.read_bytes())
    causes = []
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="net.npz is damaged, or holds no") as error:
            nn.load_params(path)
        causes.append(str(error.value.__cause__))
    assert "allow_pickle=False" in causes[-1]  # of the one that could run any code

# ---- train_mnist.py: a folder to work in, whose only mirror is a folder, too -----------
QUICK = ["--hidden", "8", "--epochs", "2", "--batch-size", "16"]
MINE = [*QUICK, "--data", "mirror"]
TINY = {}  # a set of 60 and 40 images, which stands for MNIST
for part, n in (("train", 60), ("test", 40)):
    TINY[f"x_{part}"] = np.random.default_rng(n).integers(0, 256, (n, 28, 28), np.uint8)
    TINY[f"y_{part}"] = (np.arange(n) % 10).astype(np.uint8)
FOREIGN = {  # another set, its labels in a column
    key: 255 - array if key[0] == "x" else array[:, None] for key, array in TINY.items()}

TTF = Path(matplotlib.get_data_path(), "fonts/ttf")

def idx(array):
    """Return the bytes of an idx file, not gzipped."""
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()

def write_set(folder, arrays):
    """Write a set of digits into a new folder, as MNIST is on its mirrors."""
    Path(folder).mkdir()
    for key, array in arrays.items():
        packed = gzip.compress(idx(array), mtime=0)  # without the time: always the same
        Path(folder, train_mnist.FILES[key]).write_bytes(packed)

def snapshot(folder="."):
    """Return {path: bytes} of the files in the folder and below."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in Path(folder).rglob("*") if path.is_file()}

@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with my.png, mnist.npz, and TINY in mirror/, as MNIST and as synthetic."""
    monkeypatch.chdir(tmp_path)
    sums = {key: hashlib.sha256(array).hexdigest() for key, array in TINY.items()}
    picture("7").save("my.png")
    save_network("mnist.npz")
    write_set("mirror", TINY)
    synthetic = {**train_mnist.load("mirror"), "name": "synthetic", "stem": "synthetic"}
    monkeypatch.setattr(train_mnist, "draw_digits", lambda rng: synthetic)
    monkeypatch.setattr(train_mnist, "SHA256", sums)
    monkeypatch.setattr(train_mnist, "MIRRORS", [(tmp_path / "mirror").as_uri() + "/"])
    return tmp_path

def complaint(capsys, *arguments):
    """Return the one line that refuses these arguments."""
    assert train_mnist.main(arguments) == 1
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("train_mnist.py: ")
    return line

def picture(text, side=200, paper=255, ink=0, face="DejaVuSans"):
    """Return a Pillow image of this text."""
    image = Image.new("L", (side, side), paper)
    font = ImageFont.truetype(str(TTF / f"{face}.ttf"), side // 2)
    ImageDraw.Draw(image).text((side // 3, side // 2), text, ink, font, anchor="mm")
    return image

def save_network(path, sizes=(784, 8, 10), output="softmax", b=0.0):
    """Write a network that has learned nothing, with b as its last bias."""
    params = nn.init_params(sizes, ("relu", output))
    params["b2"][-1] = b
    nn.save_params(path, params, ("relu", output))

def seen(greys):
    """Return what prepare makes of greys or of an image of greys, (784,)."""
    return train_mnist.prepare(Image.fromarray(np.clip(greys, 0, 255).astype(np.uint8)))

TABLE = np.random.default_rng(0).integers(0, 256, (40, 785))  # the label, then the pixels
TABLE[:, 0] = np.arange(40) // 4  # sorted
TABLE[:, 1] = np.arange(40)

def csv_text(table, delimiter=",", end="\n", label="label", at=0, form="{}", start=""):
    """Return a CSV, its label in column at. No name of the label: no header."""
    rows = np.insert(table[:, 1:], at, table[:, 0], axis=1)
    lines = [delimiter.join(map(form.format, row)) for row in rows.tolist()]
    if label:
        names = [f"pixel{number}" for number in range(784)]
        lines.insert(0, delimiter.join([*names[:at], label, *names[at:]]))
    return start + end.join(lines) + end

# ---- train_mnist.py: training, and the files that it writes ----------------------------
def test_training_downloads_trains_and_tells(home, monkeypatch, capsys):
    monkeypatch.setattr(time, "monotonic", itertools.count(5).__next__)
    drawn = spied(monkeypatch, train_mnist, "draw")
    assert train_mnist.main(QUICK) == 0
    printed = capsys.readouterr().out
    params, activations = nn.load_params("mnist.npz")
    X, labels = train_mnist.load(None)["test"]
    wrong = (nn.predict(params, X, activations) != labels).sum()
    result = f"test accuracy {1 - wrong / 40:.2%} ({wrong} of 40 wrong) on MNIST"
    (title, history, *_), _ = drawn[0]
    assert title == f"784-8-10, {result}"
    lines = [f"| loss {loss:.4f} | val loss {val_loss:.4f} | val accuracy {right:.2%} "
             for loss, _, val_loss, right in zip(*history.values())]
    for words in ("MNIST: 55 to train, 5 to validate, 40 to test", "10: 6,370 parameters",
                  "'batch_size': 16", f"{result}\n",
                  f"epoch 1/2 {lines[0]}| 1.0 s\nepoch 2/2 {lines[1]}| 1.0 s\n"):
        assert words in printed
    assert train_mnist.main(QUICK) == 0  # what is ours is not refused

def test_progress_passes_a_pipe_at_once(monkeypatch):
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, newline=""))
    train_mnist.say("epoch 1\x1b[2J\n")  # what a terminal would obey is escaped
    assert pipe.getvalue() == rb"epoch 1\x1b[2J\n" + b"\n"

def test_defaults_do_not_change_by_accident():
    assert vars(train_mnist.parse(["--weights", "a.1"])) == {  # .1 is no ending to drop
        "data": None, "weights": "a.1", "predict": None, "hidden": [512, 256],
        "activation": "relu", "augment": 1.0, "smooth": 0.0, "epochs": 10,
        "batch_size": 128, "lr": 0.003, "optimizer": "adam", "schedule": "linear",
        "l2": 0.0, "dropout": 0.0, "seed": 0}

@pytest.mark.parametrize("path, stem, name", [
    ("mirror", "mnist", "MNIST"), ("mirror/a.npz", "mnist", "MNIST"),
    ("mirror/b.npz", "b", "mirror/b.npz"), ("data", "data", "data"),
    ("my digits/x/..", "my digits", "my digits/x/.."),
    ("mnist.csv", "not-mnist", "mnist.csv"),
    ("synthetic", "synthetic", "synthetic")])
def test_files_get_names_and_no_other_file_is_changed(path, stem, name, home, capsys):
    write_set("data", FOREIGN)
    write_set("my digits", FOREIGN)
    Path("my digits/x").mkdir()
    np.savez("mirror/a.npz", **TINY)
    np.savez("mirror/b.npz", **FOREIGN)
    Path("mnist.csv").write_text(csv_text(TABLE))
    before = snapshot()
    given = [] if path == "data" else ["--data", path]
    assert train_mnist.main([*QUICK, *given]) == 0
    *_, result, _, last = capsys.readouterr().out.splitlines()
    assert re.search(rf" \d+\.\d\d% \(\d\d? of \d+ wrong\) on {name}$", result)
    changed = dict(snapshot().items() ^ before.items())
    assert changed.keys() == {f"{stem}.npz", f"{stem}.png"}
    _, _, *arguments = shlex.split(last)
    assert arguments == ["--predict", "my.png", "--weights", f"{stem}.npz"]
    assert train_mnist.main(arguments) == 0

@pytest.mark.parametrize("arguments, words", [
    ("--weights x.npz", "x.npz is not ours"), ("--weights text", "text.npz is not ours"),
    ("--weights my", "my.png is not ours"),  # it is somebody's picture
    ("--weights plot", "plot.png is not ours"),  # nor is each that matplotlib made
    ("--weights a.npz", "a.unfinished.npz is not ours"),
    ("--weights b.npz", "b.unfinished.png is not ours"),
    ("--weights nowhere/a.npz", "nowhere is no folder to write into"),
    ("--epochs 0", "epochs 0"), ("--dropout 1", "dropout 1.0"), ("--seed -1", "negative"),
    ("--activation relo", "activation relo - not in"), ("--l2 nan", "epoch 1, "),
    ("--lr 1e30 --optimizer sgd", "epoch 1, "),
    ("--data nowhere.csv", "read nowhere.csv as MNIST's folder, CSV, or Keras's mnist"),
    ("--predict my.png --weights none.npz", "none.npz (train first, "),
    ("--data x.npz", "Keras's mnist.npz: 'y_train is not"),
    ("--data .", "is in several folders of .: name one")])  # or two sets would be mixed
def test_what_would_fail_or_destroy_is_told(arguments, words, home, monkeypatch, capsys):
    write_set("another", FOREIGN)
    np.savez("x.npz", x_train=np.ones(3), activations=np.ones(3))  # not Keras's, nor ours
    for name in ("text.npz", "a.unfinished.npz", "b.unfinished.png"):
        Path(name).write_text("dear diary")
    matplotlib.figure.Figure().savefig("plot.png")
    before = snapshot()
    monkeypatch.setattr(nn, "evaluate", None)  # so no epoch could come to its end
    assert words in complaint(capsys, *MINE, *arguments.split())
    assert snapshot() == before

def test_interrupts_leave_finished_files_alone(home, monkeypatch, capsys):
    calls = spied(monkeypatch, nn, "evaluate")
    evaluate = nn.evaluate
    before = snapshot()

    def evaluate_or_interrupt(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    monkeypatch.setattr(nn, "evaluate", evaluate_or_interrupt)
    assert train_mnist.main([*MINE, "--epochs", "3"]) == 130  # in the last
    printed = capsys.readouterr().out
    assert "\ninterrupted: keeping epoch 2\ntest accuracy " in printed
    assert printed.endswith(' my.png --weights "mnist.unfinished.npz"\n')
    changed = dict(snapshot().items() ^ before.items())
    assert changed.keys() == {"mnist.unfinished.npz", "mnist.unfinished.png"}
    kept, _ = nn.load_params("mnist.unfinished.npz")
    (expected, *_), _ = calls[-1]
    assert bits(kept) == bits(expected)
    before = snapshot()
    assert train_mnist.main(MINE) == 130  # in the first epoch, as calls still has two
    assert capsys.readouterr().err == "train_mnist.py: interrupted\n"
    assert snapshot() == before

def test_every_setting_reaches_gradient_descent(home, monkeypatch):
    calls = spied(monkeypatch, nn, "evaluate")
    given = {"epochs": 6, "batch_size": 5, "lr": 0.2, "optimizer": "momentum", "l2": 0.2,
             "dropout": 0.4, "seed": 7, "schedule": "step"}
    assert given.keys() == train_mnist.SETTINGS.keys()
    typed = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    assert train_mnist.main([*MINE, *typed, "--hidden", "9", "8", "--activation", "tanh",
                             "--smooth", "0.5", "--augment", "0.5"]) == 0
    (_, *validation, activations, _), _ = calls[0]
    assert activations == ("tanh", "tanh", "softmax")
    data = train_mnist.load("mirror")
    np.testing.assert_equal(tuple(validation), data["validate"])
    X, labels = data["train"]
    expected, _ = nn.gradient_descent(
        nn.init_params((784, 9, 8, 10), activations, 7),
        X, 0.5 * nn.one_hot(labels, 10) + 0.05, activations, **given,
        augment=lambda X, rng: train_mnist.augment(X, rng, 0.5))
    params, _ = nn.load_params("mnist.npz")
    assert bits(params) == bits(expected)

# ---- train_mnist.py: data in folders, and downloads ------------------------------------
@pytest.mark.parametrize("form", [
    "{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}.idx{}-ubyte.gz", "MNIST/raw/{}-idx{}-ubyte",
    "{0}.idx{1}-ubyte/{0}.idx{1}-ubyte"])
def test_mnist_is_known_by_its_pixels_under_any_of_its_names(form, home):
    for key, array in TINY.items():
        stem, _, _ = train_mnist.FILES[key].partition("-idx")
        path = Path("other", form.format(stem, array.ndim))
        path.parent.mkdir(parents=True, exist_ok=True)
        pack = gzip.compress if path.suffix == ".gz" else bytes
        path.write_bytes(pack(idx(array)))
    data = train_mnist.load("other")
    assert data["name"] == "MNIST"
    X, labels = data["test"]
    np.testing.assert_array_equal(labels, TINY["y_test"])
    np.testing.assert_allclose(255 * X, TINY["x_test"].reshape(40, 784), 1e-6)

WHOLE = idx(TINY["x_train"])
PACKED = gzip.compress(WHOLE)

@pytest.mark.parametrize("key, content, words", [
    ("x_train", b"", "begins with b''"), ("x_train", PACKED[:40], "ended before the end"),
    ("x_train", PACKED[:-8] + b"12345678", "CRC"),
    ("x_train", WHOLE[:-9], "47031 pixels"),
    ("x_train", b"\0\0\x0d" + WHOLE[3:], "no idx file of bytes"),
    ("y_train", idx(np.arange(59) % 10), "47040 pixels, 59 labels"),
    ("y_train", idx(np.arange(60) % 11), "needs 784 a label, 20 or more"),
    ("y_test", idx(np.full(40, 3)), "40 labels of [3]"),
    *[(key, None, "No such file") for key in train_mnist.FILES]])
def test_a_damaged_or_partial_set_is_told_and_left(key, content, words, home, capsys):
    write_set("other", FOREIGN)
    path = Path("other", train_mnist.FILES[key])
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    before = snapshot()
    assert words in complaint(capsys, "--data", "other")
    assert snapshot() == before

def test_what_mnist_lacks_in_data_is_fetched_and_nothing_lost(home, monkeypatch, capsys):
    monkeypatch.setattr(time, "time", lambda: 5)
    write_set("data", {key: TINY[key] for key in ("y_train", "y_test")})
    Path("data/raw").mkdir()
    _, beside, moved, whole = train_mnist.FILES.values()
    Path("data", whole.replace(".gz", ".bak")).write_bytes(PACKED[:40])  # not to be read
    damaged = [Path("data", beside.removesuffix(".gz")), Path("data/raw", moved)]
    for path in damaged:
        path.write_bytes(PACKED[:40])
    assert train_mnist.load(None)["name"] == "MNIST"
    printed = capsys.readouterr().out
    assert printed.count("file:") == 3  # what was there is not fetched
    for path in [*damaged, Path("data", beside)]:  # the last was in the place of the new
        renamed = path.with_name(f"unreadable-5-{path.name}")
        assert f"  {path} cannot be read: it is {renamed} now\n" in printed
        assert renamed.stat().st_size >= 40
    assert snapshot("data").items() >= snapshot("mirror").items()

@pytest.mark.parametrize("arrays", [
    {**TINY, "x_test": FOREIGN["x_test"]},
    {key: FOREIGN[key] for key in ("x_train", "y_train", "x_test")}])
def test_sets_are_not_mixed_in_data(arrays, home, capsys):
    write_set("data", arrays)
    before = snapshot()
    assert "data mixes sets or lacks files; not MNIST's: ['x_t" in complaint(capsys)
    assert snapshot() == before

def test_bad_mirrors_are_passed_over(home, monkeypatch, capsys):
    urlopen = urllib.request.urlopen
    endless = io.BytesIO(bytes(30_000_000))

    def urlopen_or_endless(url, timeout):
        assert 1 <= timeout <= 30
        return contextlib.nullcontext(endless) if "endless" in url else urlopen(url)

    write_set("foreign", FOREIGN)
    write_set("half", TINY)
    Path("half/t10k-labels-idx1-ubyte.gz").write_text("<html>")
    *bad, good = [(home / name).as_uri() + "/"
                  for name in ("nowhere", "endless", "foreign", "half", "mirror")]
    monkeypatch.setattr(urllib.request, "urlopen", urlopen_or_endless)
    monkeypatch.setattr(train_mnist, "MIRRORS", bad)
    Path("data").mkdir()
    Path("data/t10k-images-idx3-ubyte").write_bytes(PACKED[:40])
    before = snapshot()
    assert train_mnist.load(None)["name"] == "synthetic"
    assert snapshot() == before  # all that lacks or nothing
    assert 9_912_422 < endless.tell() < 20_000_000  # room for the largest, and an end
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    assert [printed.count(f"*** failed: {mirror}") for mirror in bad] == [1] * 4
    monkeypatch.setattr(train_mnist, "MIRRORS", [*bad, good])
    assert train_mnist.load(None)["name"] == "MNIST"
    assert snapshot("data").items() >= snapshot("mirror").items()
    monkeypatch.setattr(urllib.request, "urlopen", None)  # all is there: nobody is asked
    assert train_mnist.load(None)["name"] == "MNIST"

# ---- train_mnist.py: CSV ---------------------------------------------------------------
@pytest.mark.parametrize("dialect", [
    {}, {"label": None}, {"delimiter": ";"}, {"delimiter": "\t"}, {"form": "{}.0"},
    {"form": '"{}"', "label": '"label"'}, {"end": "\r\n"}, {"start": "\ufeff"},
    {"start": "\ufeff", "label": None, "end": "\n\n"}, {"label": "Class", "at": 784},
    {"label": '" DIGIT "', "at": 3, "form": '"{}"'}, {"label": "y", "at": 784},
    {"label": "target", "at": 784, "end": "\r\n", "delimiter": ";"}, {"label": "number"}])
def test_a_csv_of_any_dialect_is_shuffled_and_split(dialect, home):
    Path("mine.csv").write_bytes(csv_text(TABLE, **dialect).encode())
    data = train_mnist.load("mine.csv")
    np.testing.assert_equal(data, train_mnist.load("mine.csv"))  # the same each time
    Path("dim.csv").write_text(csv_text(TABLE.clip(0, 9)))
    assert train_mnist.load("dim.csv")["train"][0].max() == 1  # of whatever range
    parts = [data[part] for part in ("train", "validate", "test")]
    assert [len(X) for X, _ in parts] == [33, 3, 4]
    rows = np.concatenate([
        np.column_stack([labels, (255 * X).round()]) for X, labels in parts])
    np.testing.assert_array_equal(rows[rows[:, 1].argsort()], TABLE)  # each row once
    assert min(len(set(labels)) for _, labels in parts) > 1  # as they are shuffled

@pytest.mark.parametrize("cell, words", [
    ("x", "could not convert string 'x'"), ("", "could not convert string ''"),
    ("256", "785 numbers, 1 wrong, [256]"), ("-1", "785 numbers, 1 wrong"),
    ("5.5", "785 numbers, 1 wrong, [5.5]"), ("nan", "785 numbers, 1 wrong, [nan]"),
    ("5,5", "786 numbers, 0 wrong"), ("99999999999", "line 7")])
@pytest.mark.parametrize("label", ["label", None])
def test_a_bad_cell_is_told_by_its_line(cell, words, label, home, capsys):
    lines = csv_text(TABLE, label=label).splitlines()
    lines.insert(2, "")
    lines[6] = lines[6].rpartition(",")[0] + f",{cell}"
    Path("bad.csv").write_text("\n".join(lines))
    line = complaint(capsys, "--data", "bad.csv")
    assert "Keras's mnist.npz: line 7, " in line
    assert words in line

@pytest.mark.parametrize("text, words", [
    ("", "0 labels"), ("label,pixel0\n", "line 1"), ("\0" * 999, "line 1"),
    (csv_text(TABLE[:, 1:]), "784 numbers"), ("\ud800", "utf-8"),
    (csv_text(TABLE[:19]), "19 labels"), (csv_text(TABLE[:, ::-1], label=""), "40 label"),
    (csv_text(TABLE * (np.arange(785) < 1)), "40 labels of [0 1 2 3")])
def test_what_is_no_set_of_digits_is_refused_in_one_line(text, words, home, capsys):
    Path("bad.csv").write_bytes(text.encode(errors="surrogatepass"))
    assert words in complaint(capsys, "--data", "bad.csv")

# ---- train_mnist.py: augment, and digits from fonts and from pictures ------------------
FLAT = np.zeros(16)

def warped(angle=0.0, slant=0.0, shrink=0.0, y=0.0, x=0.0, bend_y=FLAT, bend_x=FLAT):
    """Return what becomes of a dot at row 8, column 13."""
    X = np.zeros((1, 784), np.float32)
    X[0, 8 * 28 + 13] = 1
    numbers = [np.array([number]) for number in (angle, slant, shrink, y, x)]
    return train_mnist.warp(X, *numbers, bend_y[None], bend_x[None]).reshape(28, 28)

POINT = 3.0 * (np.arange(16) == 5)  # row 1, column 1 of 4 x 4 points: at pixel 9, 9

@pytest.mark.parametrize("numbers, row, column", [
    ({}, 8, 13), ({"y": 1.0, "x": -2.0}, 7, 15), ({"angle": np.pi / 2}, 14, 8),
    ({"slant": 1.0}, 8, 18), ({"shrink": 1.0}, 11, 13), ({"bend_y": POINT}, 7, 13),
    ({"bend_x": POINT}, 8, 11), ({"bend_y": np.roll(POINT, 10)}, 8, 13)])
def test_warp_moves_ink_where_it_should(numbers, row, column):
    image = warped(**numbers)
    assert np.unravel_index(image.argmax(), (28, 28)) == (row, column)
    assert image.dtype == np.float32

def test_warp_shares_ink_among_pixels_and_lets_none_come_back():
    assert warped(y=0.25)[7:9, 13] == pytest.approx([0.25, 0.75])
    assert warped(x=0.25)[8, 12:14] == pytest.approx([0.25, 0.75])
    for gone in ({"y": 12.0}, {"y": -25.0}, {"x": 20.0}, {"x": -20.0}):
        assert warped(**gone).sum() == 0, gone

@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_augment_draws_within_its_ranges_and_by_strength(strength, monkeypatch):
    monkeypatch.setattr(train_mnist, "warp", lambda X, *numbers: numbers)
    *uniform, bend_y, bend_x = train_mnist.augment(
        np.zeros((5000, 784)), np.random.default_rng(0), strength)
    for numbers, most in zip(uniform, (0.19, 0.17, 0.1, 1.4, 1.4), strict=True):
        assert 0.99 * most < numbers.max() / strength <= most
        assert 0.99 * most < -numbers.min() / strength <= most
    numbers = [*uniform, *bend_y.T, *bend_x.T]
    assert abs(np.corrcoef(numbers) - np.eye(37)).max() < 0.1  # no two go together
    bends = np.array([bend_y, bend_x])
    assert bends.std(axis=1) == pytest.approx(np.full((2, 16), 0.7 * strength), rel=0.1)

def test_augment_0_changes_nothing_and_what_is_out_of_range_is_refused():
    X = np.random.default_rng(1).random((3, 784), np.float32)
    assert bits(train_mnist.augment(X, None, 0.0)) == bits(X)
    for wrong in ("augment=nan", "augment=-1", "augment=10", "smooth=-0.1", "smooth=2"):
        with pytest.raises(SystemExit):
            train_mnist.parse([f"--{wrong}"])

def test_digits_are_drawn_as_labelled_and_no_font_is_in_two_parts(monkeypatch):
    monkeypatch.setattr(train_mnist, "augment", lambda X, rng, strength: X)  # faster
    data = train_mnist.draw_digits(np.random.default_rng(0))
    for part, face in zip(train_mnist.FONTS, ("DejaVuSans", "cmr10", "STIXGeneral")):
        X, labels = data[part]
        plain = [seen(picture(str(digit), face=face)) for digit in range(10)]
        drawn = [X[labels == digit].mean(axis=0) for digit in range(10)]
        alike = np.corrcoef(drawn, plain)[:10, 10:]
        assert alike.argmax(axis=1).tolist() == list(range(10)), part
    names = [path.name for glob in train_mnist.FONTS.values() for path in TTF.glob(glob)]
    assert len(names) == len(set(names)) > 15  # none in two parts

def pictures_of_five():
    """Return {kind: a picture of the same 5}."""
    plain = picture("5")
    ink = ImageOps.invert(plain)
    black = Image.new("L", plain.size, 0)
    white = Image.new("L", plain.size, 255)
    greys = np.asarray(picture("5", 200, 180, 90)).astype(np.uint16)
    turned = plain.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # as a camera says that it was held upright
    return {"RGB": plain.convert("RGB"), "a palette": plain.convert("P"),
            "one bit": plain.convert("1"), "16 bits": Image.fromarray(greys * 257),
            "32 bits": Image.fromarray(greys.astype(np.int32) * 257),
            "clear": Image.merge("LA", (black, ink)), "large": picture("5", 1400),
            "white on clear": Image.merge("LA", (white, ink)), "small": picture("5", 99),
            "turned": turned, "cropped": plain.crop(ink.getbbox()),
            "in a corner": ImageOps.expand(plain, (250, 250, 0, 0), 255)}

@pytest.mark.parametrize("kind", pictures_of_five())
def test_prepare_sees_the_same_digit_in_pictures_of_every_kind(kind):
    image = train_mnist.prepare(pictures_of_five()[kind]).reshape(28, 28)
    assert image.max() == 1
    assert np.ptp(np.nonzero(image > 0.1)[0]) == 19  # 20 pixels high
    y, x = (np.average(at, weights=image) for at in np.indices((28, 28)))
    assert (y, x) == pytest.approx((14, 14), abs=0.5)
    assert np.corrcoef(seen(picture("5")), image.ravel())[0, 1] > 0.9

# ---- train_mnist.py: pictures out, and --predict ---------------------------------------
def test_the_picture_shows_curves_digits_mistakes_and_neurons():
    rng = np.random.default_rng(0)
    X = rng.random((60, 784))
    W = rng.random((784, 50)) * np.arange(50)
    labels = np.arange(60) % 10
    said = np.where(np.arange(60) < 40, (labels + 1) % 10, labels)  # 40 are wrong
    output = nn.one_hot(said, 10) * np.linspace(0.5, 0.9, 60)[:, None]
    figure = train_mnist.draw("$a title", {"loss": [2, 1], "val_loss": [3, 2]},
                              {"W1": W}, X, labels, output)
    curves, digits, mistakes, neurons = figure.axes
    assert figure.get_suptitle() == "$a title"
    assert "in training with dropout, smooth, augment" in curves.get_title()
    shown = {line.get_label(): line.get_xydata().tolist() for line in curves.lines}
    assert shown == {"in training": [[1, 2], [2, 1]], "in validation": [[1, 3], [2, 2]]}
    assert curves.get_legend() and curves.get_xlabel() == "epoch"
    wrong = [f"said {(i + 1) % 10}, is {i % 10}" for i in range(39, 7, -1)]
    assert [text.get_text() for text in digits.texts] == wrong
    counts = {text.get_position(): text.get_text() for text in mistakes.texts}
    assert counts == {((digit + 1) % 10, digit): "4" for digit in range(10)}
    axes = mistakes.get_xlabel(), mistakes.get_ylabel()
    assert axes == ("what it said", "what it is")
    colors = mistakes.images[0].to_rgba(mistakes.images[0].get_array())
    assert colors[..., :3].mean(axis=2).min() > 0.4  # black can be read on all
    assert neurons.images[0].get_cmap().name == "RdBu_r"  # red is high
    assert sum(neurons.images[0].get_clim()) == 0  # in the middle, which is white
    for ax, tile, expected in ((digits, 0, X[39]), (neurons, 0, W[:, 49]),
                               (neurons, 39, W[:, 10])):
        assert np.array_equal(ax.images[tile].get_array().ravel(), expected)
    tops = np.unique([image.get_extent()[3] for image in digits.images])
    names = np.unique([text.get_position()[1] for text in digits.texts])
    assert np.diff(tops).tolist() == [40, 40, 40]  # 12 for a name
    assert (names - tops).tolist() == [2, 2, 2, 2]

def test_predict_reads_what_it_can_and_names_the_rest(home, capsys):
    picture("8").save("[8].png")
    picture("3").save("8.png")  # not to be read: [8].png exists, so it is no pattern
    kinds = ["bmp", "gif", "jpg", "png", "tif", "webp"]
    sevens = [f"\u202e7.{kind}" for kind in kinds]  # \u202e: from right to left
    for name in sevens:
        picture("7").save(name)
    picture("").save("blank.png")
    picture("7").save("ghost.eps")
    Image.new("1", (19999, 9999)).save("large.png")
    Path("phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    Path("half.png").write_bytes(Path("my.png").read_bytes()[:300])
    formats = "cannot be opened as PNG, JPEG, GIF, BMP, TIFF, WEBP: "
    reasons = {"no \u202e.png": f"{formats}[Errno 2] No such", "blank.png": "blank",
               "mirror": formats, "half.png": "image file is trunc",
               "ghost.eps": f"{formats}cannot identify",
               "phone.heic": f"{formats}cannot identify",
               "large.png": f"{formats}Image size (199970001 pixels)"}
    assert train_mnist.main(["--predict", *reasons, "[8].png", "my*", "?7.*"]) == 1
    printed, errors = capsys.readouterr()
    for (name, reason), line in zip(reasons.items(), errors.splitlines(), strict=True):
        escaped = name.encode("unicode_escape").decode()  # or a terminal obeys
        assert line.startswith(f"train_mnist.py: {escaped}: {reason}")
    network, *lines = printed.splitlines()
    assert network == "mnist.npz: 784-8-10"
    params, activations = nn.load_params("mnist.npz")
    answered = np.reshape(lines, (8, 15)).tolist()
    for name, (said, *shown) in zip(["[8].png", "my.png", *sevens], answered):
        x = train_mnist.prepare(Image.open(name))
        output, _ = nn.forward(params, x[None], activations)
        likeliest = sorted(range(10), key=lambda digit: -output[0, digit])[:3]
        answers = ", ".join(f"{digit} ({output[0, digit]:.1%})" for digit in likeliest)
        assert said == f"{name.encode('unicode_escape').decode()}: {answers}"
        assert [len(line) for line in shown] == [28] * 14
        ink = [" .:-=+*#%@".index(character) / 9 for character in "".join(shown)]
        assert ink == pytest.approx(x.reshape(14, 2, 28).mean(axis=1).ravel(), abs=0.056)

@pytest.mark.parametrize("sizes, output, b, words", [
    ((4, 6, 10), "softmax", 0, "cannot reshape"),
    ((784, 6, 11), "softmax", 0, "784-6-11 softmax reads no digits"),
    ((784, 6, 10), "sigmoid", 0, "784-6-10 sigmoid reads no digits"),
    ((784, 6, 10), "softmax", np.nan, "reads no digits")])
def test_predict_wants_a_network_for_digits(sizes, output, b, words, home, capsys):
    save_network("other.npz", sizes, output, b)
    line = complaint(capsys, "--predict", "my.png", "--weights", "other.npz")
    assert line.startswith("train_mnist.py: other.npz (train first, ")
    assert words in line

# ---- The scripts: run, imported, and pasted into a cell --------------------------------
SCRIPT = HERE / "train_mnist.py"
IMPORT = ("-c", "import train_mnist")

def run_python(*arguments, cwd=None, **variables):
    """Run Python with these variables, of our own three with no others; return it."""
    ours = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MPLBACKEND")
    others = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, text=True,
                          env={**others, **variables}, capture_output=True)

@pytest.mark.parametrize("arguments, variables, expected", [
    ([SCRIPT], {"MPLBACKEND": "module://inline"}, "1 agg"), (IMPORT, {}, "1 None"),
    ([SCRIPT], {"OPENBLAS_NUM_THREADS": "2"}, "2 agg"),
    ([SCRIPT], {"OMP_NUM_THREADS": "2"}, "2 agg"),
    (IMPORT, {"MPLBACKEND": "inline"}, "1 inline")])
def test_what_is_set_before_numpy_is_imported(arguments, variables, expected, tmp_path):
    (tmp_path / "numpy.py").write_text(
        "from os import getenv\n"
        "print(getenv('OPENBLAS_NUM_THREADS'), getenv('MPLBACKEND'))\nraise SystemExit")
    path = os.pathsep.join([str(tmp_path), str(HERE)])
    done = run_python(*arguments, PYTHONPATH=path, **variables)
    assert done.stdout == f"{expected}\n", done.stderr

@pytest.mark.parametrize("name, argument", [("mnist", "--predict=no"), ("xor", "step")])
def test_scripts_run_by_run_but_not_when_pasted(name, argument, home, monkeypatch):
    path = HERE / f"train_{name}.py"
    exec(path.read_text(encoding="utf-8"), {"__name__": "__main__"})  # or it would exit
    monkeypatch.setattr(sys, "argv", [path.name, argument])
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # as of %run, and in IDLE
    with pytest.raises(SystemExit, match="^[01]$"):
        runpy.run_path(str(path), run_name="__main__")

@pytest.mark.parametrize("script, arguments", [
    ("train_mnist.py", [*MINE, "--weights", "grütz.npz"]),
    ("train_xor.py", ["xor", "--plot", "grütz.png"])])
def test_scripts_run_with_nn_py_alone_where_a_console_is_ascii(script, arguments, home):
    Path("alone").mkdir()
    for name in ("nn.py", script):
        shutil.copy(HERE / name, "alone")
    done = run_python(f"alone/{script}", *arguments, MPLBACKEND="module://missing",
                      PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xfctz.png" in done.stdout
    assert Path("grütz.png").stat().st_size > 10_000

# ---- train_mnist.py: MNIST -------------------------------------------------------------
@pytest.mark.skipif(not (HERE / "data").exists(), reason="train_mnist.py fetches it")
def test_the_default_network_learns_mnist(tmp_path):
    done = run_python(SCRIPT, "--epochs", "3", "--data", str(HERE / "data"), cwd=tmp_path)
    assert "MNIST: 55,000 to train, 5,000 to validate, 10,000 to test" in done.stdout
    params, activations = nn.load_params(tmp_path / "mnist.npz")
    X, labels = train_mnist.load(HERE / "data")["test"]
    assert nn.accuracy(labels, nn.predict(params, X, activations)) > 0.975

# ---- train_mnist.py: pictures that people bring ----------------------------------------
SEVEN = [(120, 110), (280, 110), (180, 310)]  # strokes of a digit, on 400 x 400
TWO = [(130, 150), (170, 100), (240, 100), (270, 150), (250, 210), (130, 300), (280, 300)]

def on_paper(strokes=SEVEN, light=230, ink=40, width=18):
    """Return a picture of these strokes on paper, as greys (400, 400)."""
    image = Image.new("L", (400, 400), light)
    if strokes:
        ImageDraw.Draw(image).line(strokes, ink, width, joint="curve")
    return np.asarray(image, float)

def likeness(one, other):
    """Return the correlation of what prepare makes of two pictures, as greys."""
    return np.corrcoef(seen(one), seen(other))[0, 1]

DOWN, RIGHTWARDS = np.mgrid[0:400, 0:400] / 400
SCENES = {  # what happens to a picture on its way
    "a shadow over half": lambda greys: greys * np.where(RIGHTWARDS < 0.5, 1, 0.5),
    "a lamp in a corner": lambda greys: greys * (
        1 - 0.6 * np.hypot(DOWN, RIGHTWARDS)).clip(0.2, 1),
    "night": lambda greys: greys * 0.25,
    "light ink on dark": lambda greys: 255 - greys,
    "grain": lambda greys: greys + np.random.default_rng(0).normal(0, 8, greys.shape),
    "ruled lines": lambda greys: greys - 25 * (np.arange(400) % 40 == 0)[:, None],
    "a table around": lambda greys: np.pad(greys, 60, constant_values=90),
    "dots around": lambda greys: np.where(np.minimum(
        np.hypot(abs(DOWN - 0.5) - 0.44, RIGHTWARDS - 0.5),
        np.hypot(abs(RIGHTWARDS - 0.5) - 0.44, DOWN - 0.5)) < 0.02, 40, greys),
    "crumbs": lambda greys: np.where(
        np.random.default_rng(1).random(greys.shape) < 0.0005, 60, greys),
    "a frame around": lambda greys: np.where(
        abs(np.maximum(abs(DOWN - 0.5), abs(RIGHTWARDS - 0.5)) - 0.42) < 0.01, 40, greys)}

@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("strokes", [SEVEN, TWO])
def test_a_digit_is_seen_in_every_light_and_surroundings(strokes, scene):
    plain = on_paper(strokes)
    assert likeness(plain, SCENES[scene](plain)) > 0.9

def test_faint_or_thin_ink_is_not_grain_and_thick_ink_no_paper():
    assert likeness(on_paper(), on_paper(TWO)) < 0.4  # what the others are compared with
    for other in (on_paper(ink=190), on_paper(width=5), on_paper(width=50)):
        assert likeness(on_paper(), other) > 0.6
    assert seen(on_paper([(200, 30), (200, 370)], width=3)).sum() > 15  # a pixel wide

def test_a_digit_in_two_pieces_is_one_digit():
    dotted = picture("0", face="DejaVuSansMono")
    assert likeness(dotted, picture("0")) > 0.8  # the dot alone is less
    greys = on_paper([(160, 130), (155, 200), (260, 220), (150, 320)])
    five = np.minimum(greys, on_paper([(170, 95), (290, 95)]))  # and its bar
    without, bar = (seen(each).reshape(28, 28)[:9, 16:].sum() for each in (greys, five))
    assert without < 1 < 3 < bar

@pytest.mark.parametrize("greys, reason", [
    (np.minimum(on_paper(SEVEN), on_paper([(60, 90), (70, 300)])), "several"),
    (on_paper(None), "blank"), (np.zeros((400, 400)), "blank"), (255 * DOWN, "blank"),
    (on_paper(ink=222), "blank"), (SCENES["ruled lines"](on_paper(None)), "blank"),
    (np.full((1, 1), 9.0), "blank"), (np.where(RIGHTWARDS < 0.5, 90, 235), "blank"),
    (np.where(np.hypot(DOWN - 0.5, RIGHTWARDS - 0.5) < 0.02, 0, 230), "blank"),
    (np.pad(on_paper(), 500, constant_values=40), "a block")])  # paper, like light ink
def test_pictures_without_one_digit_are_refused_with_a_reason(greys, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        seen(greys)

# ---- train_xor.py: experiments by what they print --------------------------------------
@pytest.fixture
def run_xor(tmp_path, monkeypatch, capsys):
    """A function that runs a command in a folder: .code, .printed, .refusal, .axes."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine.png", "mine.gif"):
        Path(name).write_bytes(b"GIF89a PNG somebody's own")
    figures = spied(monkeypatch, train_xor, "Figure")

    def run(command):
        try:
            code = train_xor.main(command.split())
        except SystemExit as end:  # of argparse
            code = end.code
        out, err = capsys.readouterr()
        axes = [ax for _, figure in figures for ax in figure.axes]
        return types.SimpleNamespace(code=code, printed=out, refusal=err, axes=axes)

    return run

UNDECIDED = [f"{x1}  {x2} |  {x1 ^ x2}  |  0.500 undecided" for x1, x2 in train_xor.XOR_X]
EXPERIMENTS = [  # the command, its exit code, and what it prints
    ("", 0, ["1.000 right\n", ": solved\nwrote xor.png\n"]),
    ("--hidden", 1, ["No seed helps", *UNDECIDED]),
    ("xor --activation linear --epochs 9", 1, ["No seed helps"]),
    ("--output softmax --lr 1", 0, [": solved"]),  # its loss rises at first
    ("--hidden 1 --epochs 9", 1, ["No seed helps"]),
    ("--hidden 2", 1, ["NOT solved", "helps --hidden 8\n"]),
    ("--hidden 2 --activation sigmoid --optimizer sgd --lr 0.01", 1, ["helps --"]),
    ("--hidden 2 --activation relu", 1, ["helps --hidden 8 --activation tanh\n"]),
    ("--output tanh --optimizer sgd --schedule step --epochs 1000", 0, [": solved"]),
    ("step", 0, ["1.20000\n", "The loss fell.\n", "nn.update: same to 1e-12.\n"]),
    ("step --lr 0.1", 0, ["The loss fell.\n"]),
    ("step --lr 100", 1, ["loss did NOT fall"]),
    ("search --plot my.SVG", 0, ["guesses: ", "descent: 99.", "wrote my.SVG"]),
    ("optimizers", 0, ["  sgd, lr 0.003 ", "each rule", "  adam, lr 0.1 ",
                       "wrote optimizers.png"]),
    ("vanishing", 0, ["sigmoid  layer 1: 9.2e-09, last: 0.002\n", "wrote vanishing.png"]),
    ("vanishing --layers 100 --plot my.pdf", 0, ["sigmoid  layer 1: 1.4e-65,"]),
    ("spiral --activation sigmoid", 0, ["right, loss", "wrote spiral.png"]),
    ("spiral --points 30 --noise 0.6", 0, ["It over-fits", "helps --dropout 0.2\n",
                                           "helps --l2 0.003\n"])]

@pytest.mark.parametrize("command, code, words", EXPERIMENTS)
def test_experiments_say_and_draw_it(command, code, words, run_xor):
    run = run_xor(command)
    assert (run.code, run.refusal) == (code, "")
    for part in words:
        assert part in run.printed
    assert max(map(len, run.printed.splitlines())) < 80
    written = re.findall("^wrote (.+)$", run.printed, re.MULTILINE)
    assert bool(written) == bool(run.axes) == (command[:4] != "step")  # it draws nothing
    train_xor.parse(command.split())  # again: what it wrote itself is not refused
    for path in written:
        assert 10_000 < Path(path).stat().st_size < 1_000_000
    for ax in run.axes:
        assert ax.has_data() and ax.get_title() and ax.get_xlabel()
        assert (ax.get_yscale() == "log") == command.startswith(("optim", "vanish"))
        assert (ax.get_legend() is not None) == (len(ax.lines) > 1)  # needless for one
        looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
        assert len(looks) == len(ax.lines)
        for line in ax.lines:
            assert line.get_marker() == "."  # a curve of one number can be seen
            assert max(line.get_ydata()) <= ax.get_ylim()[1]

def test_xor_is_solved_for_a_hundred_seeds():
    settings = dict(train_xor.XOR_SETTINGS)
    del settings["plot"]
    runs = [train_xor.train_on_xor(**settings | {"seed": seed}) for seed in range(100)]
    assert all(run["right"] == 1 for run in runs)
    assert len({run["losses"][0] for run in runs}) == 100  # each from weights of its own

@pytest.mark.parametrize("wrong", [a + key for a in ("d", "new_") for key in NET])
def test_step_compares_its_numbers_with_nn(wrong, monkeypatch, run_xor):
    # So little that, times lr, it is below what is tolerated in new_W1.
    lines = replaced(train_xor.STEP, f"\n{wrong} = ", f"\n{wrong} = 1.7e-12 + ")
    monkeypatch.setattr(train_xor, "STEP", lines)
    run = run_xor("step")
    assert run.code == 1
    assert "NOT the same" in run.printed

def test_step_marks_the_slope_and_the_growth_that_confirm_each_other(run_xor):
    marked = dict(re.findall(r"(?m)^(\w+) = .*--> *(\S+)", run_xor("step").printed))
    assert list(marked) == ["dW1", "growth", "slope"]
    dW1, growth, slope = map(float, marked.values())
    assert dW1 == slope == pytest.approx(growth, rel=0.01)

RIGHT = {1: [0.5, 0.5], 2: [0.4, 0.9], 3: [0.5, 0.6]}  # by way, for two seeds

@pytest.mark.parametrize("judge", ["right", "loss"])
def test_a_change_helps_if_it_hurts_no_seed_and_may_diverge(judge, capsys):
    def train_once(seed, way):
        if way == 4:
            raise FloatingPointError("diverged")
        scores = {"right": RIGHT[way][seed - 5], "loss": 1 - RIGHT[way][seed - 5]}
        return {"right": 0.5, "loss": 0.5, judge: scores[judge]}  # the other says nothing

    changes = [{"way": 1}, {"way": 2}, {"way": 3}, {"way": 4}]
    train_xor.try_changes(train_once, {"seed": 5, "way": 1}, changes, 2, judge)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith(f"means of seeds 5 to 6; helps: {judge} never worse")
    means = {"right": ["50.0% 0.500", "65.0% 0.500", "55.0% 0.500", "0.0% inf"],
             "loss": ["50.0% 0.500", "50.0% 0.350", "50.0% 0.450", "0.0% inf"]}[judge]
    verdicts = ["as it is", "--way 2", "helps --way 3", "--way 4"]
    assert [line.split() for line in lines] == [
        f"{mean} {verdict}".split() for mean, verdict in zip(means, verdicts)]

def test_the_spiral_has_its_shape_and_its_noise_is_not_the_first_weights():
    X, labels = train_xor.spiral_data(50, 0.2, 3)
    assert np.bincount(labels).tolist() == [50, 50, 50]
    points = X @ [1j, 1]  # as complex numbers: radius * exp(1j * angle)
    radius = abs(points)
    assert radius == pytest.approx(np.tile(np.linspace(0, 1, 50), 3))
    noise = np.angle(points * np.exp(-4j * (labels + radius)))[radius > 0] / 0.2
    drawn = np.random.default_rng(3).standard_normal(150)[radius > 0]
    assert noise.std() == pytest.approx(1, abs=0.2)
    assert abs(np.corrcoef(noise, drawn)[0, 1]) < 0.3

def test_new_points_are_none_of_those_in_training(monkeypatch, run_xor):
    made = spied(monkeypatch, train_xor, "spiral_data")
    trained = spied(monkeypatch, train_xor, "train_on_spiral")
    printed = run_xor("spiral --points 500 --epochs 1").printed
    (_, run), = trained
    assert f"s:      {run['right']:5.1%} right, loss {run['loss']:.3f}\n" in printed
    _, own, new = [{tuple(x) for x in X if x.any()} for _, (X, _) in made]  # not (0, 0)
    assert len(own) == len(new) == 3 * 499 and own.isdisjoint(new)

def test_the_ways_of_search_do_equal_work_and_keep_the_best(monkeypatch, run_xor):
    forwards = spied(monkeypatch, nn, "forward")
    evaluated = spied(monkeypatch, nn, "evaluate")
    run_xor("search --passes 30")
    evaluations = 2 * (1 + 30) + 3  # each start, each trial; three scores
    on_all = [X for (_, X, *_), _ in forwards if len(X) == 300]
    assert len(on_all) == evaluations + 30 // 3  # as a step counts as three
    losses = [scores["loss"] for _, scores in evaluated]
    assert losses[62:64] == [min(losses[:31]), min(losses[31:62])]

COLORS = ["#0072B2", "#E69F00", "#009E73"]  # blue, orange, green (Okabe & Ito 2008)

@pytest.mark.parametrize("name, X, labels", [
    ("spiral", *train_xor.spiral_data(300, 0.2, 0)),
    ("xor", train_xor.XOR_X, train_xor.XOR_Y)])
def test_regions_are_right_and_white_in_between(name, X, labels, run_xor, monkeypatch):
    trained = spied(monkeypatch, train_xor, "train")
    regions, curves = run_xor(name).axes
    image = regions.images[0]
    assert image.origin == "lower"
    low, high, *_ = image.get_extent()
    column, row = (200 * (X - low) / (high - low)).astype(int).T
    shown = image.get_array()[row, column]
    colors = train_xor.to_rgba_array(COLORS)
    assert np.all(shown[:, :3] == colors[labels, :3], axis=1).mean() > 0.95
    assert image.get_array()[:, :, 3].min() < 0.1  # and white somewhere in between
    marks = set()
    for label, dots in enumerate(regions.collections):
        np.testing.assert_array_equal(dots.get_offsets(), X[labels == label])
        assert dots.get_facecolor().tolist() == [colors[label].tolist()]
        marks.add(dots.get_paths()[0].vertices.tobytes())
    assert len(marks) == len(set(labels))
    _, (_, history) = trained[0]
    expected = [history[key] for key in ("loss", "val_loss") if key in history]
    for losses, line in zip(expected, curves.lines, strict=True):
        assert line.get_xdata().tolist() == list(range(1, len(losses) + 1))
        assert line.get_ydata().tolist() == losses

def test_the_film_begins_with_chaos_and_ends_solved(run_xor, monkeypatch):
    drawn = spied(monkeypatch, train_xor, "draw_regions")
    assert "\nwrote film.gif\n" in run_xor("spiral --gif film.gif --epochs 40").printed
    train_xor.parse(["spiral", "--gif", "film.gif"])  # again: it is not refused
    assert Image.open("film.gif").n_frames > 30
    film = [arguments for arguments, _ in drawn if arguments[-1].startswith("step ")]
    assert [title for *_, title in film[:3]] == ["step 1", "step 2", "step 3"]
    scores = np.array([nn.evaluate(params, X, labels, activations)["accuracy"]
                       for _, params, activations, X, labels, _ in film])
    assert scores[0] < 0.6 and scores[-1] > 0.95
    assert np.mean(scores < 0.95) > 0.3  # a good part of it is learning
    assert len({title for *_, title in film[-12:]}) == 1  # two seconds to look at it
    assert len(film[0][0].images) == 1  # it was cleared before each frame

@pytest.mark.parametrize("command, code, words", [
    ("spirals", 2, "choose from xor, step, spiral"), ("--lr x", 2, "float value: 'x'"),
    ("--batch-size 0", 2, "--batch-size 0: "), ("--hidden 16 0", 2, "16 0: expected 1"),
    ("step --plot a.png", 2, "unrecognized"), ("--plot ", 2, "expected one argument"),
    ("step --lr nan", 2, "--lr nan: expected"), ("--optimizer rms", 2, "choice: 'rms'"),
    ("--output softmax --loss mse", 1, "mse goes with another"),
    ("--plot run_lr0.003", 2, "--plot run_lr0.003: expected .png"),
    ("--plot mine.png", 2, "mine.png is not ours"),
    ("spiral --gif mine.gif", 2, "mine.gif is not ours"),
    ("--plot nowhere/a.png", 1, "No such file"), ("--lr 1e300", 1, "epoch 1, "),
    ("search", 130, "train_xor.py: interrupted\n")])
def test_bad_options_and_ctrl_c_are_one_line(command, code, words, monkeypatch, run_xor):
    def interrupt(*arguments):  # as Ctrl-C does; of these commands search alone gets here
        raise KeyboardInterrupt

    monkeypatch.setattr(train_xor, "spiral_data", interrupt)
    run = run_xor(command)
    assert run.code == code
    assert words in run.refusal
    assert run.refusal.count("\n") == 1
    assert "wrote" not in run.printed

# ---- README.md: its blocks run, its commands are known ---------------------------------
README = (HERE / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(part.split("\n", 1) for part in README.split("\n## ")[1:])  # by heading

def blocks(heading, language="python"):
    """Return the blocks of code below a heading; language "": what they print."""
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", SECTIONS[heading])
    return [block for name, block in found if name == language]

def the_one(texts, words):
    """Return the one of these texts that holds these words."""
    found, = [text for text in texts if words in text]
    return found

def run_code(code, folder, devices=1):
    """Run Python code as a user would who has the five files; return what it prints."""
    done = run_python("-c", code, cwd=folder, PYTHONPATH=str(HERE), JAX_PLATFORMS="cpu",
                      XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}")
    assert done.returncode == 0, done.stderr
    return done.stdout

def test_blocks_print_what_the_readme_says(tmp_path):
    for heading in ("A first network", "Your own data"):
        assert blocks(heading)
        for code, printed in zip(blocks(heading), blocks(heading, ""), strict=True):
            assert run_code(code, tmp_path) == printed

@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """The names that the recipes make, all run in turn in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nn, "ACTIVATIONS", dict(nn.ACTIVATIONS))
    names = {}
    for block in blocks("Recipes"):
        exec(block, names)
    return types.SimpleNamespace(**names)

def test_early_stopping_keeps_the_best_and_resumes_to_the_same_bits(recipes):
    train = recipes.train
    train("parts.pickle", 3)
    train("parts.pickle", 9)
    assert bits(train("parts.pickle", 20)) == bits(train("whole.pickle", 20))
    best = recipes.params  # of train("run.pickle", 500)
    assert bits(train("run.pickle", 500)) == bits(best)  # it has ended
    _, epoch, lowest, _, since = np.load("run.pickle", allow_pickle=True)
    assert epoch == since + 10 < 500
    scores = nn.evaluate(best, recipes.X[400:], recipes.Y[400:], RELU_NET)
    assert scores["loss"] == lowest < 0.2

def test_layers_are_frozen_or_new_and_long_gradients_clipped(recipes):
    assert recipes.grads.keys() == {"W2", "b2"}
    block = the_one(blocks("Recipes"), "clipped")
    names = {"grads": {"W2": np.array([3.0, 4.0])}}
    exec("\n".join(line for line in block.splitlines() if "norm" in line), names)
    assert names["grads"]["W2"] == pytest.approx([0.6, 0.8])
    scores = nn.evaluate(recipes.tuned, recipes.X, recipes.three, RELU_NET)
    assert scores["accuracy"] > 0.8

def test_a_chain_of_networks_has_the_gradient_of_the_whole(recipes):
    def loss_at(W1):
        A, _ = nn.forward({**recipes.first, "W1": W1}, recipes.X, ("tanh",))
        _, cache = nn.forward(recipes.params, recipes.X + A, RELU_NET)
        return nn.compute_loss(recipes.params, cache, recipes.Y, RELU_NET)

    expected = central_differences(loss_at, recipes.first["W1"].astype(float), 1e-3)
    assert recipes.grads1["W1"] == pytest.approx(expected, rel=0.02, abs=1e-3)

def test_a_rule_and_a_loss_of_ones_own(recipes):
    expected, _ = nn.adam(2.997, 1.0, {}, 0.1)  # 3 less its decay, 0.1 * 0.01 * 3
    for start in (np.full((2, 2), 3.0), np.full(2, 2.997)):  # biases do not decay
        p, _ = recipes.adamw(start, 1.0, {}, 0.1)
        assert p == pytest.approx(expected)
    plain, _ = nn.gradient_descent(recipes.start, recipes.X, recipes.labels, RELU_NET,
                                   optimizer=recipes.adamw)
    usual = nn.predict(plain, recipes.X, RELU_NET).mean()
    assert nn.predict(recipes.mine, recipes.X, RELU_NET).mean() > usual + 0.03

def test_the_check_of_a_slope_passes_a_right_one_and_finds_a_wrong_one(recipes):
    f, slope, gain = nn.ACTIVATIONS["swish"]
    nn.ACTIVATIONS["wrong"] = (f, lambda Z, A: 0.9 * slope(Z, A), gain)
    for name, right in (("swish", True), ("wrong", False)):
        computed, measured = recipes.check(
            recipes.start, recipes.X, recipes.Y, (name, "softmax"))
        assert (abs(computed / measured - 1) < 1e-6) == right

def test_several_networks_averaged_make_a_submission(recipes):
    header, *lines = Path("submission.csv").read_text().splitlines()
    assert header == "ImageId,Label"
    numbers, labels = np.loadtxt(lines, int, delimiter=",").T
    assert numbers.tolist() == list(range(1, 601))
    assert labels.tolist() == sum(recipes.outputs).argmax(axis=1).tolist()

GPU_CHANGES = [  # what the test makes of it, to be quick
    ("4096, 4096", "32"), ('"relu", "relu"', '"relu"'), ("400, 512", "1, 100"),
    ("load(None)", "draw_digits(numpy.random.default_rng(0))")]

def test_the_block_for_a_gpu_trains_here_too(tmp_path):
    pytest.importorskip("jax")
    code, = blocks("One GPU")
    for old, new in GPU_CHANGES:
        code = replaced(code, old, new)
    run_code(code, tmp_path)
    params, activations = nn.load_params(tmp_path / "gpu.npz")
    digits = train_mnist.draw_digits(np.random.default_rng(0))
    scores = nn.evaluate(params, *digits["test"], activations)
    assert scores["accuracy"] > 0.6

COMPARED = """
nn.np = np
X = np.random.default_rng(0).random((512, 784), np.float32)
expected, _ = nn.gradient_descent(
    nn.init_params((784, 128, 10), activations), X, np.arange(512) % 10, activations,
    epochs=10, batch_size=512, lr=0.001, optimizer="adam")
for key in expected:
    assert abs(np.asarray(params[key]) - expected[key]).max() < 1e-5, key
"""

def test_many_devices_and_many_hosts_give_the_parameters_expected(tmp_path):
    pytest.importorskip("jax")
    code = the_one(blocks("Many devices"), "Mesh(")
    assert run_code(code + COMPARED, tmp_path, 4) == "4 devices\n"
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    lines = the_one(blocks("Many devices"), "jax.distributed").splitlines()
    start = replaced(the_one(lines, "initialize("), "12355", str(port))
    put = f"{the_one(lines, 'mine =')}\n{the_one(lines, 'X, Y =')}"
    code = replaced(code, "import jax\n", f"import jax\n{start}\n") + COMPARED
    code = replaced(code, "X, Y = jax.device_put((X, Y), split)", put)
    other = replaced(code, "process_id=0)", "process_id=1)")
    with concurrent.futures.ThreadPoolExecutor() as pool:  # each with two devices
        for printed in pool.map(run_code, (code, other), [tmp_path] * 2, [2] * 2):
            assert printed.endswith("4 devices\n")  # below what they say of connecting

def test_the_commands_of_the_readme_are_known():
    commands = set(re.findall(r"`python (train_\w+)\.py ?([^`]*)`", README))
    for script, arguments in commands:
        if script == "train_mnist":
            train_mnist.parse(arguments.split())
        elif "--help" not in arguments:
            assert arguments in [command for command, *_ in EXPERIMENTS]

# ---- Benchmark: python test_nn.py --benchmark ------------------------------------------
# A contestant trains a network of these sizes by a recipe, and returns a function that
# predicts. Both have as many threads as OPENBLAS_NUM_THREADS says: see the top.
def with_nn(X, labels, sizes, seed, **recipe):
    """Train by gradient_descent, checks and loss included."""
    activations = ("relu",) * (len(sizes) - 2) + ("softmax",)
    params, _ = nn.gradient_descent(
        nn.init_params(sizes, activations, seed), X, labels, activations, **recipe)
    return functools.partial(nn.predict, params, activations=activations)

def with_torch(X, labels, sizes, seed, optimizer, epochs, batch_size, lr,
               schedule="constant", augment=None):
    """Train in PyTorch, tuned: no DataLoader, and all arrays in one step."""
    import torch
    torch.set_num_threads(int(os.environ["OPENBLAS_NUM_THREADS"]))
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(sizes)
    layers = [layer for d_in, d_out in pairs
              for layer in (torch.nn.Linear(d_in, d_out), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers[:-1])
    name, more = TORCH_RULES[optimizer]
    rule = getattr(torch.optim, name)(model.parameters(), lr, fused=True, **more)
    X, labels = map(torch.from_numpy, (X, labels))
    for epoch in range(epochs):
        for step, rows in enumerate(torch.randperm(len(X)).split(batch_size)):
            x = X[rows]
            if augment:
                x = torch.from_numpy(augment(x.numpy(), rng))
            done = epoch + step * batch_size / len(X)
            rule.param_groups[0]["lr"] = lr * nn.SCHEDULES[schedule](done, epochs)
            loss = torch.nn.functional.cross_entropy(model(x), labels[rows])
            rule.zero_grad()
            loss.backward()
            rule.step()
    return lambda X: model(torch.from_numpy(X)).argmax(1).numpy()

def race(data, **recipe):
    """Return {contestant: [(seconds, predict) of each of three rounds]}, interleaved."""
    runs = {with_nn: [], with_torch: []}
    for seed, contestant in itertools.product(range(3), runs):
        start = time.perf_counter()
        predict = contestant(*data, seed=seed, **recipe)
        runs[contestant].append((time.perf_counter() - start, predict))
    return runs

def benchmark():
    """Print for each job the medians of seconds, and the accuracies of the networks."""
    print("threads:", os.environ["OPENBLAS_NUM_THREADS"])
    data = train_mnist.load(None)
    X, labels = data["train"]
    jobs = {f"3 epochs of 20,000 digits, 784-{H}-10, {rule}": dict(
                data=(X[:20_000], labels[:20_000]), sizes=(784, H, 10), optimizer=rule,
                epochs=3, batch_size=128, lr=0.001)
            for H in (10, 128, 512, 800) for rule in TORCH_RULES}
    jobs["the whole job"] = dict(
        data=data["train"], sizes=(784, 512, 256, 10), optimizer="adam", epochs=10,
        batch_size=128, lr=0.003, schedule="linear", augment=train_mnist.augment)
    X, labels = data["test"]
    for name, job in jobs.items():
        print(name)
        for contestant, results in race(**job).items():
            seconds = np.median([seconds for seconds, _ in results])
            right = [nn.accuracy(labels, predict(X)) for _, predict in results]
            print(f"  {contestant.__name__}: {seconds:.2f} s, {right}", flush=True)

if __name__ == "__main__":
    sys.exit(benchmark() if "--benchmark" in sys.argv else pytest.main(sys.argv))
