# SPDX-License-Identifier: MIT
# /// script
# requires-python = ">=3.10"
# dependencies = ["numpy>=1.26", "matplotlib", "pytest"]
# ///
"""test_nn.py: the proof that goes with nn.py.

    python -m pytest            all tests; those that need PyTorch, JAX, scikit-learn
                                or the MNIST files are skipped where these are missing
    python test_nn.py           the same
    python test_nn.py --benchmark   seconds per epoch beside PyTorch, scikit-learn, JAX
"""
import ast
import functools
import gzip
import hashlib
import importlib.util
import io
import os
import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import types
import urllib.error
import urllib.request
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

import nn
import train_mnist
import train_xor

HERE = pathlib.Path(__file__).resolve().parent
HIDDEN = tuple(nn.ACTIVATIONS)
# Every output and loss that go together.
OUTPUTS = [(output, "mse") for output in nn.ACTIVATIONS]
OUTPUTS += [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")]
PENALTIES = [(0.0, 0.0), (0.01, 0.0), (0.0, 0.1), (0.02, 0.3)]


# ---- Networks and data to test with ----------------------------------------------------

def random_network(sizes, activations, seed=0, dtype=np.float64):
    """Return params with biases that are not zero, so that mistakes with them show."""
    rng = np.random.default_rng(seed)
    params = nn.init_params(sizes, activations, rng, dtype)
    return {key: p if key[0] == "W" else rng.normal(size=p.shape).astype(dtype)
            for key, p in params.items()}


def random_data(n, sizes, loss, seed=0):
    """Return float64 X (n, d0) and Y (n, dL) that suit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0]))
    if loss == "cross_entropy":
        return X, nn.one_hot(rng.integers(0, sizes[-1], n), sizes[-1], np.float64)
    if loss == "binary_cross_entropy":
        return X, rng.integers(0, 2, (n, sizes[-1])).astype(float)
    return X, rng.normal(size=(n, sizes[-1]))


def away_from_kinks(params, X, activations, margin=1e-3):
    """Return whether no relu and no |W| can change sign within a central difference."""
    _, cache = nn.forward(params, X, activations)
    near = [cache[f"Z{l}"] for l, name in enumerate(activations, 1) if name == "relu"]
    near += [p for key, p in params.items() if key[0] == "W"]
    return all(abs(array).min() > margin for array in near)


def smooth_case(sizes, activations, loss, n=6):
    """Return (params, X, Y) at which every gradient exists."""
    for seed in range(1000):
        params = random_network(sizes, activations, seed)
        X, Y = random_data(n, sizes, loss, seed)
        if away_from_kinks(params, X, activations):
            return params, X, Y
    raise AssertionError("no smooth case found")


def copies(tree):
    """Return the same nested dicts with every array copied."""
    if isinstance(tree, dict):
        return {key: copies(value) for key, value in tree.items()}
    return tree.copy() if isinstance(tree, np.ndarray) else tree


def assert_same_bits(one, other):
    """Fail unless two nested dicts or arrays agree in every bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_bits(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    else:
        assert one == other


# ---- Gradients: central differences ----------------------------------------------------

def numeric_gradient(f, array, h=1e-5):
    """Return the slope of f for each entry of array, by central differences."""
    gradient = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[i] += h
        down[i] -= h
        gradient[i] = (f(up) - f(down)) / (2 * h)
    return gradient


def gradient_errors(params, X, Y, activations, loss, l1=0.0, l2=0.0, dropout=0.0):
    """Return the relative error of backward for each array, X included."""
    def loss_at(params, X):
        rng = np.random.default_rng(5)  # the same masks every time
        _, cache = nn.forward(params, X, activations, dropout, rng)
        return nn.compute_loss(params, cache, Y, loss, l1, l2)

    _, cache = nn.forward(params, X, activations, dropout, np.random.default_rng(5))
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    assert grads.keys() == {*params, "X"}
    expected = {key: numeric_gradient(lambda p: loss_at({**params, key: p}, X), array)
                for key, array in params.items()}
    expected["X"] = numeric_gradient(lambda x: loss_at(params, x), X)
    norm = np.linalg.norm
    return {key: norm(grads[key] - expected[key]) / norm(expected[key]) for key in grads}


@pytest.mark.parametrize("l1, l2", PENALTIES)
@pytest.mark.parametrize("output, loss", OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_by_central_differences(hidden, output, loss, l1, l2):
    sizes, activations = (4, 5, 3), (hidden, output)
    params, X, Y = smooth_case(sizes, activations, loss)
    errors = gradient_errors(params, X, Y, activations, loss, l1, l2)
    assert all(error < 1e-6 for error in errors.values()), errors


@pytest.mark.parametrize("output, loss", OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradients_with_dropout(hidden, output, loss):
    sizes, activations = (4, 6, 5, 3), (hidden, hidden, output)
    params, X, Y = smooth_case(sizes, activations, loss)
    errors = gradient_errors(params, X, Y, activations, loss, l2=0.1, dropout=0.4)
    assert all(error < 1e-6 for error in errors.values()), errors


@pytest.mark.parametrize("output, loss", OUTPUTS)
def test_gradients_of_deep_and_of_single_layer_networks(output, loss):
    for sizes in ((3, 2), (3, 4, 5, 4, 2), (1, 1, 2)):
        activations = ("tanh",) * (len(sizes) - 2) + (output,)
        params, X, Y = smooth_case(sizes, activations, loss)
        errors = gradient_errors(params, X, Y, activations, loss)
        assert all(error < 1e-6 for error in errors.values()), errors


def test_gradient_of_soft_targets():
    params, X, _ = smooth_case((4, 5, 3), ("tanh", "softmax"), "cross_entropy")
    Y = np.random.default_rng(0).dirichlet(np.ones(3), len(X))
    errors = gradient_errors(params, X, Y, ("tanh", "softmax"), "cross_entropy")
    assert all(error < 1e-6 for error in errors.values()), errors


def test_without_wrt_input_there_is_no_gradient_of_the_input():
    params, X, Y = smooth_case((4, 5, 3), ("relu", "softmax"), "cross_entropy")
    _, cache = nn.forward(params, X, ("relu", "softmax"))
    grads = nn.backward(params, cache, Y, ("relu", "softmax"))
    assert grads.keys() == params.keys()
    assert all(grads[key].shape == params[key].shape for key in params)


# ---- PyTorch: loss, gradients, trajectories --------------------------------------------

def torch_loss(torch, params, X, Y, activations, loss, l1, l2):
    """Return the loss that nn.py should have, computed by PyTorch from its own parts."""
    functions = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
                 "linear": lambda Z: Z, "softmax": lambda Z: torch.softmax(Z, dim=1)}
    A = X
    for l, name in enumerate(activations, start=1):
        Z = A @ params[f"W{l}"] + params[f"b{l}"]
        A = functions[name](Z)
    F = torch.nn.functional
    losses = {"mse": lambda: F.mse_loss(A, Y),
              "cross_entropy": lambda: F.cross_entropy(Z, Y),
              "binary_cross_entropy": lambda: F.binary_cross_entropy_with_logits(Z, Y)}
    weights = [p for key, p in params.items() if key[0] == "W"]
    return (losses[loss]() + l1 * sum(W.abs().sum() for W in weights)
            + l2 / 2 * sum((W * W).sum() for W in weights))


def torch_optimizer(torch, name, parameters, lr):
    """Return the PyTorch optimizer of that name with its own defaults."""
    optim = torch.optim
    if name == "momentum":
        return optim.SGD(parameters, lr, momentum=0.9)
    return {"sgd": optim.SGD, "adagrad": optim.Adagrad, "rmsprop": optim.RMSprop,
            "adam": optim.Adam}[name](parameters, lr)


def random_setting(seed):
    """Return (sizes, activations, loss, l1, l2) drawn from what torch_loss knows."""
    known = ("relu", "tanh", "linear", "sigmoid", "softmax")
    outputs = [pair for pair in OUTPUTS if pair[0] in known]
    rng = np.random.default_rng(seed)
    output, loss = outputs[rng.integers(len(outputs))]
    depth = rng.integers(1, 5)
    sizes = tuple(int(d) for d in rng.integers(2, 9, depth + 1))
    activations = tuple(str(name) for name in rng.choice(known, depth - 1)) + (output,)
    l1, l2 = PENALTIES[rng.integers(len(PENALTIES))]
    return sizes, activations, loss, l1, l2


@pytest.mark.parametrize("seed", range(30))
def test_loss_and_gradients_equal_pytorch(seed):
    torch = pytest.importorskip("torch")
    sizes, activations, loss, l1, l2 = random_setting(seed)
    params = random_network(sizes, activations, seed)
    X, Y = random_data(7, sizes, loss, seed)
    tensors = {key: torch.tensor(p, requires_grad=True) for key, p in params.items()}
    X_tensor = torch.tensor(X, requires_grad=True)
    expected = torch_loss(
        torch, tensors, X_tensor, torch.tensor(Y), activations, loss, l1, l2)
    expected.backward()
    _, cache = nn.forward(params, X, activations)
    value = nn.compute_loss(params, cache, Y, loss, l1, l2)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    for key, tensor in {**tensors, "X": X_tensor}.items():
        assert np.allclose(grads[key], tensor.grad.numpy(), rtol=1e-9, atol=1e-12), key


# name: (our schedule, PyTorch's)
# The trajectories below have epochs of 5 steps, with 22 rows in batches of 5.
SCHEDULES = {
    "constant": (None, None),
    "step": (nn.step_decay(2, 0.5), "StepLR"),
    "exponential": (nn.exponential_decay(0.8), "ExponentialLR"),
    "linear": (lambda epoch: 1 - epoch / 8, "LambdaLR"),
}


def torch_scheduler(torch, name, rule):
    """Return (scheduler, whether it steps after every batch rather than every epoch)."""
    schedulers = torch.optim.lr_scheduler
    if name == "StepLR":
        return schedulers.StepLR(rule, 2, 0.5), False
    if name == "ExponentialLR":
        return schedulers.ExponentialLR(rule, 0.8), False
    if name == "LambdaLR":
        epochs_done = lambda step: step // 5 + step % 5 * 5 / 22
        return schedulers.LambdaLR(rule, lambda step: 1 - epochs_done(step) / 8), True
    return schedulers.ConstantLR(rule, 1.0), False


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", nn.OPTIMIZERS)
@pytest.mark.parametrize("seed", range(3))
def test_forty_steps_equal_pytorch(seed, optimizer, schedule):
    torch = pytest.importorskip("torch")
    n, batch_size, epochs, lr = 22, 5, 8, 0.02
    number = 100 * seed + 10 * list(nn.OPTIMIZERS).index(optimizer) + len(schedule)
    sizes, activations, loss, l1, l2 = random_setting(number)
    params = random_network(sizes, activations, number)
    X, Y = random_data(n, sizes, loss, number)
    ours, theirs = SCHEDULES[schedule]
    trained, history = nn.gradient_descent(
        params, X, Y, activations, loss, epochs=epochs, batch_size=batch_size, lr=lr,
        optimizer=optimizer, schedule=ours, l1=l1, l2=l2, seed=seed)

    tensors = {key: torch.tensor(p, requires_grad=True) for key, p in params.items()}
    rule = torch_optimizer(torch, optimizer, list(tensors.values()), lr)
    scheduler, every_batch = torch_scheduler(torch, theirs, rule)
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        rate = rule.param_groups[0]["lr"]
        assert history["lr"][epoch] == pytest.approx(rate, rel=1e-12)
        order, data_loss = rng.permutation(n), 0.0
        for start in range(0, n, batch_size):
            rows = order[start:start + batch_size]
            batch = torch.tensor(X[rows]), torch.tensor(Y[rows])
            with torch.no_grad():
                value = torch_loss(torch, tensors, *batch, activations, loss, 0, 0)
                data_loss += value.item() * len(rows) / n
            rule.zero_grad()
            torch_loss(torch, tensors, *batch, activations, loss, l1, l2).backward()
            rule.step()
            if every_batch:
                scheduler.step()
        if not every_batch:
            scheduler.step()
        assert history["loss"][epoch] == pytest.approx(data_loss, rel=1e-9)
    for key, tensor in tensors.items():
        assert abs(trained[key] - tensor.detach().numpy()).max() < 1e-8, key


# ---- JAX: automatic differentiation, and the compiled step -----------------------------

@pytest.fixture
def jax_numpy(monkeypatch):
    """nn.py on JAX in float64 for the length of one test."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    monkeypatch.setattr(nn, "np", jax.numpy)
    return jax


def numpy_network(sizes):
    """Return float64 params without init_params, which belongs before the exchange."""
    rng = np.random.default_rng(0)
    params = {}
    for l, shape in enumerate(zip(sizes, sizes[1:]), start=1):
        params[f"W{l}"] = rng.normal(size=shape)
        params[f"b{l}"] = rng.normal(size=shape[1])
    return params


@pytest.mark.parametrize("seed", range(10))
def test_jax_grad_of_compute_loss_equals_backward(seed, jax_numpy):
    sizes, activations, loss, l1, l2 = random_setting(seed + 500)
    X, Y = random_data(7, sizes, loss, seed)
    params = numpy_network(sizes)

    def loss_at(params, X):
        _, cache = nn.forward(params, X, activations)
        return nn.compute_loss(params, cache, Y, loss, l1, l2)

    expected, expected_X = jax_numpy.grad(loss_at, argnums=(0, 1))(params, X)
    _, cache = nn.forward(params, X, activations)
    grads = nn.backward(params, cache, Y, activations, loss, l1, l2, wrt_input=True)
    for key, gradient in {**expected, "X": expected_X}.items():
        assert isinstance(grads[key], jax_numpy.Array)
        assert np.allclose(grads[key], gradient, rtol=1e-9, atol=1e-12), key


@pytest.mark.parametrize("optimizer", nn.OPTIMIZERS)
def test_ten_jitted_steps_equal_numpy(optimizer, monkeypatch):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    activations = ("relu", "tanh", "softmax")
    params = random_network((6, 5, 4, 3), activations)
    X, Y = random_data(8, (6, 3), "cross_entropy")

    def step(params, state):
        _, cache = nn.forward(params, X, activations)
        grads = nn.backward(params, cache, Y, activations, l2=0.1)
        return nn.update(params, grads, state, 0.05, optimizer)

    def run(step):
        p, state = params, {}
        for _ in range(10):
            p, state = step(p, state)
        return p, state

    expected, _ = run(step)
    monkeypatch.setattr(nn, "np", jax.numpy)
    jitted, state = run(jax.jit(step))
    assert int(state["t"]) == 10
    for key in params:
        assert isinstance(jitted[key], jax.Array)
        assert abs(np.asarray(jitted[key]) - expected[key]).max() < 1e-12


# ---- A worked example from the literature ----------------------------------------------

def total_error(params, cache, Y):
    """Return half the sum of squares, which for one row of two outputs is their mean."""
    return nn.compute_loss(params, cache, Y, "mse")


def test_worked_example_of_mazur():
    """Matt Mazur, A Step by Step Backpropagation Example (2015)."""
    activations = ("sigmoid", "sigmoid")
    params = {"W1": np.array([[0.15, 0.25], [0.20, 0.30]]), "b1": np.array([0.35, 0.35]),
              "W2": np.array([[0.40, 0.50], [0.45, 0.55]]), "b2": np.array([0.60, 0.60])}
    X, Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
    output, cache = nn.forward(params, X, activations)
    assert cache["Z1"][0, 0] == pytest.approx(0.3775, abs=1e-9)
    assert cache["A1"][0] == pytest.approx([0.593269992, 0.596884378], abs=1e-9)
    assert cache["Z2"][0, 0] == pytest.approx(1.105905967, abs=1e-9)
    assert output[0] == pytest.approx([0.75136507, 0.772928465], abs=1e-8)
    assert total_error(params, cache, Y) == pytest.approx(0.298371109, abs=1e-9)
    grads = nn.backward(params, cache, Y, activations, "mse")
    assert grads["W2"][0, 0] == pytest.approx(0.082167041, abs=1e-9)
    assert grads["W1"][0, 0] == pytest.approx(0.000438568, abs=1e-9)
    # He leaves the biases as they are.
    grads["b1"], grads["b2"] = 0 * grads["b1"], 0 * grads["b2"]
    params, _ = nn.update(params, grads, {}, 0.5)
    assert params["W2"].T.ravel() == pytest.approx(
        [0.35891648, 0.408666186, 0.511301270, 0.561370121], abs=1e-8)
    assert params["W1"].T.ravel() == pytest.approx(
        [0.149780716, 0.19956143, 0.24975114, 0.29950229], abs=1e-8)
    _, cache = nn.forward(params, X, activations)
    # He prints 0.291027924; from the weights that he prints too, it is 0.291027774.
    assert total_error(params, cache, Y) == pytest.approx(0.291027924, abs=2e-7)
    for _ in range(9_999):
        _, cache = nn.forward(params, X, activations)
        grads = nn.backward(params, cache, Y, activations, "mse")
        grads["b1"], grads["b2"] = 0 * grads["b1"], 0 * grads["b2"]
        params, _ = nn.update(params, grads, {}, 0.5)
    output, cache = nn.forward(params, X, activations)
    assert total_error(params, cache, Y) == pytest.approx(0.0000351085, rel=1e-3)
    assert output[0] == pytest.approx([0.015912196, 0.984065734], rel=1e-4)


def test_the_example_in_the_comment_on_losses():
    Z = np.log([[0.2, 0.3, 0.5]])
    params = {"W1": np.eye(3), "b1": np.zeros(3)}
    output, cache = nn.forward(params, Z, ("softmax",))
    grads = nn.backward(params, cache, nn.one_hot([1], 3), ("softmax",), wrt_input=True)
    assert output[0] == pytest.approx([0.2, 0.3, 0.5])
    assert grads["b1"] == pytest.approx([0.2, -0.7, 0.5])


# ---- Faults that well-known from-scratch networks have ---------------------------------

RELU_NET = ("relu", "softmax")


def small_case(loss="cross_entropy", activations=RELU_NET, sizes=(4, 6, 3), n=8):
    """Return (params, X, Y, cache) of a small network after one forward pass."""
    params = random_network(sizes, activations)
    X, Y = random_data(n, sizes, loss)
    _, cache = nn.forward(params, X, activations)
    return params, X, Y, cache


def test_relu_masks_what_is_zero():
    """numpy-tutorials tests the output with >= 0, which is always true."""
    _, relu_backward = nn.ACTIVATIONS["relu"]
    A = nn.ACTIVATIONS["relu"][0](np.array([[-1.0, 0.0, 2.0]]))
    assert relu_backward(np.ones((1, 3)), A).tolist() == [[0, 0, 1]]


def test_dropout_scales_the_backward_pass_too():
    """numpy-tutorials leaves the factor 1 / (1 - dropout) out of the gradient."""
    params, X, Y, _ = small_case()
    _, cache = nn.forward(params, X, RELU_NET, 0.75, np.random.default_rng(0))
    assert set(np.unique(cache["mask1"])) == {0.0, 4.0}
    grads = nn.backward(params, cache, Y, RELU_NET)
    dZ2 = (cache["A2"] - Y) / len(Y)
    dZ1 = dZ2 @ params["W2"].T * cache["mask1"] * (cache["A1"] > 0)
    assert np.allclose(grads["W1"], X.T @ dZ1)
    assert np.allclose(grads["W2"], (cache["A1"] * cache["mask1"]).T @ dZ2)


def test_the_penalty_multiplies_the_weights():
    """homemade-machine-learning multiplies the delta; others penalise biases as well."""
    params, _, Y, cache = small_case()
    plain = nn.backward(params, cache, Y, RELU_NET)
    l1 = nn.backward(params, cache, Y, RELU_NET, l1=0.5)
    l2 = nn.backward(params, cache, Y, RELU_NET, l2=0.5)
    for l in (1, 2):
        W = params[f"W{l}"]
        assert np.allclose(l1[f"W{l}"] - plain[f"W{l}"], 0.5 * np.sign(W))
        assert np.allclose(l2[f"W{l}"] - plain[f"W{l}"], 0.5 * W)
        assert np.array_equal(l1[f"b{l}"], plain[f"b{l}"])
        assert np.array_equal(l2[f"b{l}"], plain[f"b{l}"])


def test_adam_corrects_with_the_power_of_t():
    """ML-From-Scratch divides by 1 - beta at every step."""
    g, slots, beta1, beta2 = np.array([[3.0]]), {}, 0.9, 0.999
    for t in (1, 2, 3):
        change, slots = nn.adam(g, slots, t, lr=0.1)
        # A constant gradient makes both corrected averages exact, so each step is lr.
        assert change[0, 0] == pytest.approx(-0.1, rel=1e-7)
        assert slots["m"][0, 0] == pytest.approx(3 * (1 - beta1 ** t))
        assert slots["v"][0, 0] == pytest.approx(9 * (1 - beta2 ** t))


def test_every_output_bias_learns():
    """A widely copied notebook sums all of dZ2 into one number, which is always zero."""
    params, _, Y, cache = small_case()
    grads = nn.backward(params, cache, Y, RELU_NET)
    assert grads["b2"].shape == (3,) and abs(grads["b2"]).min() > 1e-6
    assert grads["b2"].sum() == pytest.approx(0, abs=1e-12)


def test_softmax_is_applied_once():
    """mlxtend applies it twice: the same labels, but flatter probabilities."""
    params, X, _, cache = small_case()
    E = np.exp(cache["Z2"])
    output, _ = nn.forward(params, X, RELU_NET)
    assert np.allclose(output, E / E.sum(axis=1, keepdims=True))


def test_decay_counts_epochs_not_batches():
    """mlxtend's is documented per epoch and applied per batch."""
    params, X, Y, _ = small_case()
    for schedule, expected in ((nn.step_decay(2, 0.5), [1, 1, 0.5, 0.5, 0.25]),
                               (nn.exponential_decay(0.5), [1, 0.5, .25, .125, .0625])):
        _, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=5, batch_size=3,
                                         lr=1.0, schedule=schedule)
        assert history["lr"] == expected
        assert [schedule(epoch + 0.9) for epoch in range(5)] == expected


def test_schedule_sees_the_epochs_done():
    params, X, Y, _ = small_case()
    seen = []
    nn.gradient_descent(params, X, Y, RELU_NET, epochs=3, batch_size=2,
                        schedule=lambda epoch: seen.append(epoch) or 1.0)
    assert sorted(set(seen)) == [i / 4 for i in range(12)]


@pytest.mark.parametrize("output, loss", OUTPUTS)
def test_one_over_n_is_there_once(output, loss):
    """The same rows twice over: neither the loss nor its gradient may change."""
    activations = ("tanh", output)
    params, X, Y, cache = small_case(loss, activations)
    twice = np.concatenate([X, X]), np.concatenate([Y, Y])
    _, double = nn.forward(params, twice[0], activations)
    assert nn.compute_loss(params, double, twice[1], loss) == pytest.approx(
        nn.compute_loss(params, cache, Y, loss), rel=1e-12)
    grads = nn.backward(params, cache, Y, activations, loss)
    for key, gradient in nn.backward(params, double, twice[1], activations, loss).items():
        assert np.allclose(gradient, grads[key], rtol=1e-12)


def test_means_are_over_rows_or_over_entries():
    A, Y = np.array([[0.1, 0.9], [0.4, 0.6]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    params = {"W1": np.eye(2), "b1": np.zeros(2)}
    _, cache = nn.forward(params, A, ("linear",))
    expected = ((A - Y) ** 2).sum() / 4
    assert nn.compute_loss(params, cache, Y, "mse") == pytest.approx(expected)
    _, cache = nn.forward(params, np.log(A), ("softmax",))
    assert nn.compute_loss(params, cache, Y) == pytest.approx(-np.log(0.9 * 0.4) / 2)
    _, cache = nn.forward(params, np.log(A / (1 - A)), ("sigmoid",))
    expected = -np.log([[0.9, 0.9], [0.4, 0.4]]).sum() / 4
    loss = nn.compute_loss(params, cache, Y, "binary_cross_entropy")
    assert loss == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_are_exact_at_extreme_logits(dtype):
    """Naive softmax is NaN at a logit of 100 in float32; an epsilon bends the loss."""
    Z = np.array([[1000, -1000], [-1000, 1000], [100, 0], [0, 0]], dtype)
    params = {"W1": np.eye(2, dtype=dtype), "b1": np.zeros(2, dtype)}
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for labels, expected in (([0, 1, 0, 0], [0, 0, 0, np.log(2)]),
                                 ([1, 0, 1, 1], [2000, 2000, 100, np.log(2)])):
            for row in range(4):
                output, cache = nn.forward(params, Z[row:row + 1], ("softmax",))
                Y = nn.one_hot(labels[row:row + 1], 2, dtype)
                assert output.sum() == 1 and np.isfinite(output).all()
                assert nn.compute_loss(params, cache, Y) == dtype(expected[row])
                grads = nn.backward(params, cache, Y, ("softmax",), wrt_input=True)
                assert np.array_equal(grads["X"], output - Y)
        Y = np.array([[1, 0], [1, 1], [1, 1], [0, 1]], dtype)
        _, cache = nn.forward(params, Z, ("sigmoid",))
        expected = dtype((1000 + np.log(2) + 2 * np.log(2)) / 8)
        loss = nn.compute_loss(params, cache, Y, "binary_cross_entropy")
        assert loss == pytest.approx(expected, rel=1e-6)
        assert np.isfinite(nn.backward(params, cache, Y, ("sigmoid",),
                                       "binary_cross_entropy")["W1"]).all()


def test_y_of_one_column_never_broadcasts():
    activations = ("tanh", "linear")
    params, X, Y, cache = small_case("mse", activations, (4, 5, 1))
    for function in (lambda y: nn.compute_loss(params, cache, y, "mse"),
                     lambda y: nn.backward(params, cache, y, activations, "mse")):
        with pytest.raises(ValueError, match=r"\(8,\).*\(8, 1\)"):
            function(Y[:, 0])
    flat, _ = nn.gradient_descent(params, X, Y[:, 0], activations, "mse", epochs=2)
    column, _ = nn.gradient_descent(params, X, Y, activations, "mse", epochs=2)
    assert_same_bits(flat, column)
    with pytest.raises(ValueError, match=r"\(5,\).*\(5, 1\)"):
        nn.accuracy(np.zeros(5), np.zeros((5, 1)))


def test_the_smaller_last_batch_is_used_and_weighted_by_its_size():
    params, X, Y, cache = small_case(n=10)
    updates = []

    def count(g, slots, t, lr):
        updates.append(t)
        return 0 * g, slots

    _, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=1, batch_size=4,
                                     optimizer=count)
    assert max(updates) == 3  # batches of 4, 4 and 2
    # Nothing was learned, so the epoch's mean is that of all ten examples.
    expected = nn.compute_loss(params, cache, Y)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-12)
    assert history["accuracy"][0] == pytest.approx(
        np.mean(cache["A2"].argmax(axis=1) == Y.argmax(axis=1)))


def test_x_and_y_are_shuffled_together_and_every_row_is_used_once():
    X = np.arange(20.0)[:, None]
    seen = []

    def spy(X_batch, rng):
        seen.append(X_batch[:, 0].copy())
        return X_batch

    params = {"W1": np.ones((1, 1)), "b1": np.zeros(1)}
    _, history = nn.gradient_descent(params, X, X, ("linear",), "mse", epochs=2,
                                     batch_size=6, augment=spy, lr=0.1)
    assert history["loss"] == [0, 0]  # y = x holds in every batch: rows and targets match
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    assert sorted(first) == sorted(second) == list(range(20))
    assert list(first) != list(second)
    assert list(first) == list(np.random.default_rng(0).permutation(20))


def test_dropout_is_off_in_prediction_and_validation():
    params, X, Y, _ = small_case()
    plain, _ = nn.forward(params, X, RELU_NET)
    assert_same_bits(nn.forward(params, X, RELU_NET, dropout=0.5)[0], plain)
    trained, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=3, dropout=0.5,
                                           validation=(X, Y))
    _, cache = nn.forward(trained, X, RELU_NET)
    assert history["val_loss"][-1] == pytest.approx(nn.compute_loss(trained, cache, Y))


def test_gradient_descent_drops_anew_in_every_step():
    params, X, Y, _ = small_case()
    still = lambda g, slots, t, lr: (0 * g, slots)  # learns nothing
    _, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=2, batch_size=None,
                                     dropout=0.5, optimizer=still)
    rng, expected = np.random.default_rng(0), []
    for _ in range(2):
        rows = rng.permutation(len(X))
        _, cache = nn.forward(params, X[rows], RELU_NET, 0.5, rng)
        expected.append(nn.compute_loss(params, cache, Y[rows]))
    assert history["loss"] == pytest.approx(expected, rel=1e-12)
    assert expected[0] != expected[1]


def test_dropout_keeps_the_expected_sum():
    params = {"W1": np.eye(50), "b1": np.zeros(50),
              "W2": np.ones((50, 1)), "b2": np.zeros(1)}
    X, activations = np.ones((4000, 50)), ("linear", "linear")
    output, cache = nn.forward(params, X, activations, 0.3, np.random.default_rng(0))
    assert output.mean() == pytest.approx(50, rel=0.005)
    assert (cache["mask1"] == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert "mask2" not in cache
    assert np.array_equal(cache["A1"], X)  # the activation before the mask


def test_no_generator_is_shared_between_calls():
    """A generator as a default argument would make the second call differ."""
    params, X, Y, _ = small_case()
    one, other = (nn.init_params((4, 6, 3), RELU_NET) for _ in range(2))
    assert_same_bits(one, other)
    one, other = (nn.gradient_descent(params, X, Y, RELU_NET, dropout=0.5)
                  for _ in range(2))
    assert_same_bits(one[0], other[0])
    assert one[1] == other[1]


def test_bytes_are_converted_before_arithmetic():
    """uint8 pixels wrap around at 256."""
    X = np.array([[200, 100], [255, 255]], np.uint8)
    params = {"W1": np.ones((2, 1), "f"), "b1": np.ones(1, "f")}
    output, _ = nn.forward(params, X, ("linear",))
    assert output.dtype == np.float32 and output[:, 0].tolist() == [301, 511]


# name: the changes for the gradients 1 and then 3, with lr 0.1, by hand
BY_HAND = {
    "sgd": [-0.1, -0.3],
    "momentum": [-0.1, -0.1 * (0.9 * 1 + 3)],
    "adagrad": [-0.1, -0.1 * 3 / (1 + 9) ** 0.5],
    "rmsprop": [-0.1 * 1 / 0.01 ** 0.5, -0.1 * 3 / (0.99 * 0.01 + 0.01 * 9) ** 0.5],
    "adam": [-0.1, -0.1 * ((0.9 * 0.1 + 0.1 * 3) / 0.19)
             / ((0.999 * 0.001 + 0.001 * 9) / 0.001999) ** 0.5],
}


@pytest.mark.parametrize("name", nn.OPTIMIZERS)
def test_two_steps_of_each_optimizer_by_hand(name):
    params, state = {"W1": np.zeros((1, 1)), "b1": np.zeros(1)}, {}
    for gradient, change in zip((1.0, 3.0), BY_HAND[name]):
        before = params["W1"][0, 0]
        grads = {key: np.full_like(p, gradient) for key, p in params.items()}
        params, state = nn.update(params, grads, state, 0.1, name)
        assert params["W1"][0, 0] - before == pytest.approx(change, rel=1e-6)
        assert params["b1"][0] == params["W1"][0, 0]


def test_schedule_and_penalty_reach_every_step():
    seen = []

    def spy(g, slots, t, lr):
        seen.append((lr, g.copy()))
        return 0 * g, slots

    params, X, Y, cache = small_case()
    nn.gradient_descent(params, X, Y, RELU_NET, epochs=1, batch_size=4, lr=2.0, l1=0.5,
                        l2=0.25, optimizer=spy, schedule=lambda epoch: 1 - epoch)
    n = len(params)
    assert [lr for lr, _ in seen] == [2.0] * n + [1.0] * n
    W = params["W1"]
    mean = (seen[0][1] + seen[n][1]) / 2  # of two batches of the same size
    plain = nn.backward(params, cache, Y, RELU_NET)["W1"]
    assert np.allclose(mean, plain + 0.5 * np.sign(W) + 0.25 * W)


# ---- The contract, line by line --------------------------------------------------------

def test_init_params_has_the_spread_of_he_and_of_glorot():
    params = nn.init_params((400, 300, 200, 100), ("relu", "tanh", "softmax"))
    for l, variance in ((1, 2 / 400), (2, 2 / 500), (3, 2 / 300)):
        assert params[f"W{l}"].var() == pytest.approx(variance, rel=0.03)
        assert abs(params[f"W{l}"].mean()) < 0.002
        assert not params[f"b{l}"].any()
        assert params[f"W{l}"].dtype == params[f"b{l}"].dtype == np.float32
    assert list(params) == ["W1", "b1", "W2", "b2", "W3", "b3"]


def test_seed_is_an_int_or_a_generator_which_is_consumed():
    params, X, Y, _ = small_case()
    rng = np.random.default_rng(7)
    assert_same_bits(nn.init_params((4, 3), ("softmax",), 7),
                     nn.init_params((4, 3), ("softmax",), rng))
    assert rng.random() != np.random.default_rng(7).random()
    with_int, _ = nn.gradient_descent(params, X, Y, RELU_NET, seed=7, batch_size=3)
    with_rng, _ = nn.gradient_descent(params, X, Y, RELU_NET, batch_size=3,
                                      seed=np.random.default_rng(7))
    other, _ = nn.gradient_descent(params, X, Y, RELU_NET, seed=8, batch_size=3)
    assert_same_bits(with_int, with_rng)
    assert not np.array_equal(with_int["W1"], other["W1"])


def test_cache_holds_what_the_legend_says():
    params, X, _, cache = small_case()
    assert list(cache) == ["A0", "Z1", "A1", "Z2", "A2"]
    assert np.array_equal(cache["A0"], X)
    for l in (1, 2):
        Z = cache[f"A{l - 1}"] @ params[f"W{l}"] + params[f"b{l}"]
        assert np.allclose(cache[f"Z{l}"], Z, rtol=1e-12)
        f, _ = nn.ACTIVATIONS[RELU_NET[l - 1]]
        assert np.allclose(cache[f"A{l}"], f(Z), rtol=1e-12)


@pytest.mark.parametrize("optimizer", nn.OPTIMIZERS)
def test_no_function_changes_what_it_is_given(optimizer):
    rng = np.random.default_rng(0)
    params, X, Y, cache = small_case()
    labels = Y.argmax(axis=1)
    grads = nn.backward(params, cache, Y, RELU_NET)
    _, state = nn.update(params, grads, {}, 0.1, optimizer)
    given = {"params": params, "X": X, "Y": Y, "labels": labels, "cache": cache,
             "grads": grads, "state": state}
    before = copies(given)
    nn.forward(params, X, RELU_NET, 0.5, rng)
    nn.compute_loss(params, cache, Y, l1=0.1, l2=0.1)
    nn.backward(params, cache, Y, RELU_NET, l1=0.1, l2=0.1, wrt_input=True)
    nn.update(params, grads, state, 0.1, optimizer)
    nn.predict(params, X, RELU_NET)
    nn.accuracy(labels, labels)
    nn.one_hot(labels, 3)
    for targets in (Y, labels):
        nn.gradient_descent(params, X, targets, RELU_NET, optimizer=optimizer,
                            dropout=0.2, batch_size=3, l1=0.1, l2=0.1,
                            validation=(X, targets), augment=lambda X, rng: X * 2)
    assert_same_bits(given, before)


def test_a_cache_with_masks_is_not_changed_either():
    params, X, Y, _ = small_case()
    for hidden in nn.ACTIVATIONS:
        activations = (hidden, "softmax")
        _, cache = nn.forward(params, X, activations, 0.5, np.random.default_rng(0))
        before = copies(cache)
        nn.backward(params, cache, Y, activations, wrt_input=True)
        assert_same_bits(cache, before)


def test_augment_may_write_into_its_batch():
    params, X, Y, _ = small_case()
    before = X.copy()

    def double(X_batch, rng):
        X_batch *= 2
        return X_batch

    nn.gradient_descent(params, X, Y, RELU_NET, augment=double, batch_size=None)
    assert_same_bits(X, before)


@pytest.mark.parametrize("optimizer", nn.OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_keeps_the_dtype_of_the_params(dtype, optimizer):
    """NumPy 2: one np.float64 among the numbers turns float32 arrays into float64."""
    params = nn.init_params((4, 6, 3), RELU_NET, dtype=dtype)
    X, Y = random_data(8, (4, 3), "cross_entropy")
    number = np.float64
    _, cache = nn.forward(params, X, RELU_NET, number(0.5), np.random.default_rng(0))
    grads = nn.backward(params, cache, Y, RELU_NET, l1=number(0.1), l2=number(0.1),
                        wrt_input=True)
    new, state = nn.update(params, grads, {}, number(0.1), optimizer)
    new, state = nn.update(new, grads, state, number(0.1), optimizer)
    slots = [array for key in params for array in state[key].values()]
    trained, _ = nn.gradient_descent(
        params, X, Y, RELU_NET, lr=number(0.1), l1=number(0.1), l2=number(0.1),
        dropout=number(0.1), optimizer=optimizer, schedule=lambda epoch: number(0.5),
        augment=lambda X_batch, rng: X_batch.astype(number) + number(1))
    for arrays in (cache.values(), grads.values(), new.values(), slots, trained.values()):
        assert {array.dtype for array in arrays} <= {np.dtype(dtype)}


def test_history_has_plain_floats_and_the_keys_that_belong():
    params, X, Y, _ = small_case()
    always, scores = {"loss", "lr"}, {"loss", "lr", "accuracy"}
    _, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=4, lr=np.float32(0.1))
    assert history.keys() == scores
    assert all(len(v) == 4 and all(type(x) is float for x in v) for v in history.values())
    _, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=1, validation=(X, Y))
    assert history.keys() == scores | {"val_loss", "val_accuracy"}
    _, history = nn.gradient_descent(params, X, Y, RELU_NET, "mse", epochs=1,
                                     validation=(X, Y))
    assert history.keys() == always | {"val_loss"}


def test_history_is_the_data_loss_without_penalty():
    params, X, Y, cache = small_case()
    _, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=1, lr=0.0,
                                     l1=1.0, l2=1.0, validation=(X, Y))
    expected = nn.compute_loss(params, cache, Y)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-12)
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-12)
    assert nn.compute_loss(params, cache, Y, l1=1.0) > expected + 1


def test_accuracy_of_several_yes_or_no_outputs_counts_each():
    params = {"W1": np.eye(3), "b1": np.zeros(3)}
    X = np.array([[9.0, 9.0, -9.0], [-9.0, -9.0, -9.0]])
    Y = np.array([[0, 1, 0], [0, 0, 0]])
    _, history = nn.gradient_descent(params, X, Y, ("sigmoid",), "binary_cross_entropy",
                                     epochs=1, lr=0.0)
    assert history["accuracy"] == [pytest.approx(5 / 6)]


def test_targets_come_as_labels_rows_or_one_column():
    params, X, Y, _ = small_case()
    rows, _ = nn.gradient_descent(params, X, Y, RELU_NET)
    labels = Y.argmax(axis=1)
    for labels in (labels, list(labels), labels.astype(np.uint8)):
        assert_same_bits(nn.gradient_descent(params, X, labels, RELU_NET)[0], rows)
    soft = 0.9 * Y + 0.1 / 3
    nn.gradient_descent(params, X, soft, RELU_NET)
    binary = ("tanh", "sigmoid")
    params, X, Y, _ = small_case("binary_cross_entropy", binary, (4, 5, 1))
    for y in (Y[:, 0], Y[:, 0].astype(int), Y[:, 0].astype(bool)):
        nn.gradient_descent(params, X, y, binary, "binary_cross_entropy")


def test_lists_are_as_good_as_arrays():
    params = nn.init_params((2, 4, 2), ("tanh", "softmax"))
    X, labels = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    trained, _ = nn.gradient_descent(params, X, labels, ("tanh", "softmax"), batch_size=4,
                                     epochs=300, lr=0.1, optimizer="adam")
    predicted = nn.predict(trained, X, ("tanh", "softmax"))
    assert nn.accuracy(labels, predicted) == 1.0


def test_full_batch_and_a_batch_larger_than_the_data_are_the_same():
    params, X, Y, _ = small_case()
    full, _ = nn.gradient_descent(params, X, Y, RELU_NET, batch_size=None)
    assert_same_bits(nn.gradient_descent(params, X, Y, RELU_NET, batch_size=99)[0], full)


def test_on_epoch_is_told_and_can_stop():
    params, X, Y, _ = small_case()
    calls = []

    def on_epoch(epoch, params, history):
        calls.append((epoch, params, len(history["loss"])))
        return epoch == 3

    trained, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=9,
                                           on_epoch=on_epoch)
    assert [call[0] for call in calls] == [call[2] for call in calls] == [1, 2, 3]
    assert len(history["loss"]) == 3
    assert_same_bits(trained, calls[-1][1])


def test_augment_is_given_copies_of_the_rows_and_the_generator():
    params, X, Y, _ = small_case()
    shapes, generators, noises = [], [], []

    def augment(X_batch, rng):
        noise = rng.normal(size=X_batch.shape)
        shapes.append(X_batch.shape)
        generators.append(rng)
        noises.append(noise[0, 0])
        return X_batch + noise

    one, _ = nn.gradient_descent(params, X, Y, RELU_NET, augment=augment, batch_size=5)
    other, _ = nn.gradient_descent(params, X, Y, RELU_NET, augment=augment, batch_size=5)
    assert shapes[:2] == [(5, 4), (3, 4)]
    assert_same_bits(one, other)
    half = len(noises) // 2
    assert len(set(noises[:half])) == half and noises[:half] == noises[half:]
    assert all(rng is generators[0] for rng in generators[:half])


def test_optimizer_is_a_name_or_any_rule():
    params, _, Y, cache = small_case()
    grads = nn.backward(params, cache, Y, RELU_NET)
    _, state = nn.update(params, grads, {}, 0.1, functools.partial(nn.adam, beta1=0.8))
    assert np.allclose(state["W1"]["m"], 0.2 * grads["W1"])
    signed, state = nn.update(params, grads, {}, 0.1, lambda g, slots, t, lr:
                              (-lr * np.sign(g), {"t": t}))
    assert np.allclose(signed["W1"], params["W1"] - 0.1 * np.sign(grads["W1"]))
    assert state["t"] == 1 and state["W1"] == {"t": 1}


def test_update_ignores_the_gradient_of_the_input():
    params, _, Y, cache = small_case()
    grads = nn.backward(params, cache, Y, RELU_NET, wrt_input=True)
    new, _ = nn.update(params, grads, {}, 0.1)
    assert new.keys() == params.keys()


def test_predict_takes_argmax_or_a_threshold():
    eye = {"W1": np.eye(2), "b1": np.zeros(2)}
    assert nn.predict(eye, [[3, 1], [1, 2]], ("linear",)).tolist() == [0, 1]
    one = {"W1": np.ones((1, 1)), "b1": np.zeros(1)}
    labels = nn.predict(one, [[-1], [1]], ("sigmoid",))
    assert labels.tolist() == [0, 1] and labels.dtype.kind == "i"


def test_one_hot_and_accuracy():
    assert nn.one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert nn.one_hot([1], 2).dtype == np.float32
    assert nn.one_hot(np.array([1], np.uint8), 2, np.float64).dtype == np.float64
    assert nn.one_hot([True, False], 2).tolist() == [[0, 1], [1, 0]]
    assert nn.accuracy([1, 2, 3, 4], [1, 2, 3, 0]) == 0.75
    assert type(nn.accuracy([1], [1])) is float


def test_zero_epochs_change_nothing():
    params, X, Y, _ = small_case()
    trained, history = nn.gradient_descent(params, X, Y, RELU_NET, epochs=0)
    assert_same_bits(trained, params)
    assert not any(history.values())


def test_nothing_is_printed(capsys):
    params, X, Y, _ = small_case()
    nn.gradient_descent(params, X, Y, RELU_NET, validation=(X, Y))
    assert capsys.readouterr() == ("", "")


def test_an_adam_step_keeps_no_temporaries():
    """At its peak a step holds the three arrays it returns and one that it divides by."""
    params = {"W1": np.ones((784, 800), np.float32), "b1": np.ones(800, np.float32)}
    _, state = nn.update(params, params, {}, 0.1, "adam")
    size = params["W1"].nbytes
    tracemalloc.start()
    nn.update(params, params, state, 0.1, "adam")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4.1 * size, peak / size


# ---- Bad input: one line that says what is wrong ---------------------------------------

NET = nn.init_params((4, 6, 3), RELU_NET)
ROWS, LABELS = np.ones((5, 4)), np.array([0, 1, 2, 1, 0])
BINARY = ("tanh", "sigmoid")
BINARY_NET = nn.init_params((4, 6, 1), BINARY)


def fit(X=ROWS, Y=LABELS, params=NET, activations=RELU_NET, loss="cross_entropy",
        **options):
    """Train for an epoch on data that is right but for what is given."""
    return nn.gradient_descent(params, X, Y, activations, loss, epochs=1, **options)


def with_cache(function, *args, **options):
    """Call compute_loss or backward after a forward pass that is right."""
    _, cache = nn.forward(NET, ROWS, RELU_NET)
    return function(NET, cache, *args, **options)


# (the call, what its message must contain)
BAD_INPUT = [
    (lambda: nn.init_params((4, 3), ("reluu",)), ["reluu", "relu", "tanh", "softmax"]),
    (lambda: nn.init_params((4, 6, 3), ("softmax",)), ["(4, 6, 3)", "softmax"]),
    (lambda: nn.init_params((4, 3), "softmax"), ["softmax"]),
    (lambda: nn.init_params((4,), ()), ["()"]),
    (lambda: nn.init_params((4, 0), ("relu",)), ["(4, 0)"]),
    (lambda: nn.init_params((4, 2.5), ("relu",)), ["2.5"]),
    (lambda: nn.init_params((4, 3), ("relu",), dtype=int), ["float"]),
    (lambda: nn.forward(NET, ROWS, ("relu", "sotfmax")), ["sotfmax", "softmax"]),
    (lambda: nn.forward(NET, ROWS, ("softmax",)), ["W2", "softmax"]),
    (lambda: nn.forward(NET, ROWS, ("relu", "relu", "softmax")), ["W2", "relu"]),
    (lambda: nn.forward(NET, ROWS[:, :3], RELU_NET), ["(5, 3)", "(4, 6)"]),
    (lambda: nn.forward(NET, ROWS[0], RELU_NET), ["(4,)"]),
    (lambda: nn.forward({**NET, "W2": NET["W1"]}, ROWS, RELU_NET), ["(4, 6)", "layer 2"]),
    (lambda: nn.forward({**NET, "b2": NET["b1"]}, ROWS, RELU_NET), ["(6,)", "layer 2"]),
    (lambda: nn.forward({**NET, "W2": NET["W2"].astype(int)}, ROWS, RELU_NET), ["float"]),
    (lambda: with_cache(nn.compute_loss, LABELS), ["(5,)", "(5, 3)", "one_hot"]),
    (lambda: with_cache(nn.compute_loss, np.ones((5, 3)), "crossentropy"),
     ["crossentropy", "mse", "cross_entropy", "binary_cross_entropy"]),
    (lambda: with_cache(nn.backward, LABELS, RELU_NET), ["(5,)", "(5, 3)", "one_hot"]),
    (lambda: with_cache(nn.backward, np.ones((5, 1)), RELU_NET), ["(5, 1)", "(5, 3)"]),
    (lambda: with_cache(nn.backward, np.ones((5, 3)), RELU_NET, "hinge"), ["hinge"]),
    (lambda: with_cache(nn.backward, np.ones((5, 3)), ("relu", "tanh")),
     ["cross_entropy", "softmax", "tanh"]),
    (lambda: with_cache(nn.backward, np.ones((5, 3)), RELU_NET, "binary_cross_entropy"),
     ["binary_cross_entropy", "sigmoid", "softmax"]),
    (lambda: with_cache(nn.backward, np.ones((5, 3)), ("softmax",)), ["W2"]),
    (lambda: nn.update(NET, NET, {}, 0.1, "adamm"), ["adamm", "sgd", "momentum", "adam"]),
    (lambda: nn.update(NET, NET, {}, 0.1, None), ["None", "adam"]),
    (lambda: fit(optimizer="Adam"), ["Adam", "adam"]),
    (lambda: fit(loss="logistic"), ["logistic", "binary_cross_entropy"]),
    (lambda: fit(activations=("relu", "tanh")), ["cross_entropy", "softmax", "tanh"]),
    (lambda: fit(loss="binary_cross_entropy"), ["binary_cross_entropy", "sigmoid"]),
    (lambda: fit(ROWS[:, :2]), ["(5, 2)"]),
    (lambda: fit(ROWS[:3]), ["(5, 3)", "(3, 3)"]),
    (lambda: fit(ROWS[:0], LABELS[:0]), ["labels", "(0,)"]),
    (lambda: fit(ROWS[:0], np.ones((0, 3))), ["X", "(0, 4)"]),
    (lambda: fit(np.where(np.eye(5, 4) > 0, np.nan, 1.0)), ["X", "NaN"]),
    (lambda: fit(np.full((5, 4), np.inf)), ["X", "infinite"]),
    (lambda: fit(np.full((5, 4), 1e300)), ["X", "infinite"]),
    (lambda: fit(np.full((5, 4), "1")), ["X"]),
    (lambda: fit(np.full((5, 4), None)), ["X", "object"]),
    (lambda: fit(5), ["X"]),
    (lambda: fit(Y=LABELS + 1), ["1..3", "0..2"]),
    (lambda: fit(Y=LABELS - 1), ["-1"]),
    (lambda: fit(Y=LABELS + 0.5), ["labels", "float64"]),
    (lambda: fit(Y=["a", "b", "c", "b", "a"]), ["labels"]),
    (lambda: fit(Y=np.full((5, 3), 0.5)), ["Y", "sum"]),
    (lambda: fit(Y=np.tile([2.0, -1.0, 0.0], (5, 1))), ["Y", "sum"]),
    (lambda: fit(Y=np.tile([0.5, -0.5, 0.0], (5, 1))), ["Y", "sum"]),
    (lambda: fit(Y=np.full((5, 3), np.nan)), ["Y", "NaN"]),
    (lambda: fit(Y=LABELS, loss="mse"), ["(5,)", "(5, 3)"]),
    (lambda: fit(Y=LABELS, params=BINARY_NET, activations=BINARY,
                 loss="binary_cross_entropy"), ["other than 0 and 1"]),
    (lambda: fit(Y=LABELS % 2 - 0.5, params=BINARY_NET, activations=BINARY,
                 loss="binary_cross_entropy"), ["-0.5", "other than 0"]),
    (lambda: fit(batch_size=0), ["batch_size", "0"]),
    (lambda: fit(batch_size=-3), ["batch_size", "-3"]),
    (lambda: fit(dropout=1.0), ["dropout", "1.0"]),
    (lambda: fit(dropout=-0.1), ["dropout", "-0.1"]),
    (lambda: fit(validation=(ROWS[:2], LABELS)), ["validation", "(5, 3)", "(2, 3)"]),
    (lambda: fit(validation=(ROWS * np.nan, LABELS)), ["validation", "NaN"]),
    (lambda: fit(augment=lambda X, rng: X[:2]), ["(5, 3)", "(2, 3)"]),
    (lambda: fit(augment=lambda X, rng: X[:, :2]), ["(5, 2)"]),
    (lambda: nn.predict(NET, ROWS * np.nan, RELU_NET), ["X", "NaN"]),
    (lambda: nn.predict(NET, ROWS[:0], RELU_NET), ["X"]),
    (lambda: nn.predict(NET, [["a"] * 4], RELU_NET), ["X"]),
    (lambda: nn.one_hot([0, 1, 5], 3), ["0..5", "0..2"]),
    (lambda: nn.one_hot([-1], 3), ["-1"]),
    (lambda: nn.one_hot([0.5], 3), ["float"]),
    (lambda: nn.one_hot([[0, 1]], 3), ["(1, 2)"]),
    (lambda: nn.one_hot([], 3), ["(0,)"]),
    (lambda: nn.accuracy([0, 1], [0, 1, 1]), ["(2,)", "(3,)"]),
    (lambda: nn.accuracy([], []), ["(0,)"]),
]


@pytest.mark.parametrize("number", range(len(BAD_INPUT)))
def test_bad_input_is_one_clear_line(number):
    call, fragments = BAD_INPUT[number]
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message, message


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop"])
def test_divergence_is_one_clear_error_without_warnings(optimizer):
    X, Y = random_data(20, (4, 1), "mse")
    params = random_network((4, 6, 1), ("relu", "linear"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError, match=r"epoch \d+.*1e\+200.*smaller lr"):
            nn.gradient_descent(params, X, Y, ("relu", "linear"), "mse", lr=1e200,
                                epochs=50, optimizer=optimizer)


def test_divergence_in_the_last_step_is_seen():
    X, Y = random_data(4, (2, 1), "mse")
    params = {"W1": np.ones((2, 1), np.float32), "b1": np.ones(1, np.float32)}
    with pytest.raises(FloatingPointError, match="epoch 1"):
        nn.gradient_descent(params, X, Y, ("linear",), "mse", lr=1e39, epochs=1,
                            batch_size=None)


def test_nan_from_augment_ends_training():
    with pytest.raises(FloatingPointError, match="epoch 1"):
        fit(augment=lambda X, rng: X * np.nan)


# ---- On its own, on data it was not written for ----------------------------------------

def copied_alone(folder):
    """Return nn.py as a module loaded from a copy in an otherwise empty folder."""
    shutil.copy(HERE / "nn.py", folder)
    spec = importlib.util.spec_from_file_location("nn_copy", folder / "nn.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "digits", "friedman1"])
def test_a_copy_is_level_with_scikit_learn(name, tmp_path):
    """Same size, optimizer, batches, epochs; means of five runs on held-out rows."""
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    alone = copied_alone(tmp_path)
    regression, epochs = name == "friedman1", 60
    if regression:
        X, Y = datasets.make_friedman1(800, random_state=0)
        Y = (Y - Y.mean()) / Y.std()
    else:
        X, Y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)
    output, loss, width = {"breast_cancer": ("sigmoid", "binary_cross_entropy", 1),
                           "friedman1": ("linear", "mse", 1)}.get(
                               name, ("softmax", "cross_entropy", Y.max() + 1))
    # tanh, where both begin with the spread of Glorot; for relu nn.py takes that of He.
    activations, ours, theirs = ("tanh", output), [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = order[len(X) // 4:], order[:len(X) // 4]
        params = alone.init_params((X.shape[1], 32, width), activations, seed)
        params, _ = alone.gradient_descent(
            params, X[train], Y[train], activations, loss, epochs=epochs, batch_size=32,
            lr=0.003, optimizer="adam", seed=seed)
        model = (MLPRegressor if regression else MLPClassifier)(
            hidden_layer_sizes=32, activation="tanh", alpha=0.0, batch_size=32,
            learning_rate_init=0.003, max_iter=epochs, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged yet
            model.fit(X[train], Y[train])
        theirs.append(model.score(X[test], Y[test]))
        if regression:
            predicted, _ = alone.forward(params, X[test], activations)
            errors = ((predicted[:, 0] - Y[test]) ** 2).sum()
            ours.append(1 - errors / ((Y[test] - Y[test].mean()) ** 2).sum())
        else:
            predicted = alone.predict(params, X[test], activations)
            ours.append(alone.accuracy(Y[test], predicted))
    assert np.mean(ours) > np.mean(theirs) - 0.03, (ours, theirs)


# ---- Files -----------------------------------------------------------------------------

def test_saved_networks_come_back_bit_for_bit(tmp_path):
    for dtype in (np.float32, np.float64):
        params = random_network((4, 6, 3), RELU_NET, dtype=dtype)
        for path in (tmp_path / "net.npz", str(tmp_path / "no_suffix")):
            nn.save_params(path, params, RELU_NET)
            loaded, activations = nn.load_params(path)
            assert activations == RELU_NET
            assert_same_bits(loaded, params)
    assert sorted(os.listdir(tmp_path)) == ["net.npz", "no_suffix"]


def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    nn.save_params(path, NET, RELU_NET)
    before = path.read_bytes()

    def crash(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", crash)
    with pytest.raises(OSError):
        nn.save_params(path, NET, RELU_NET)
    assert path.read_bytes() == before


def test_a_network_that_does_not_fit_is_not_saved(tmp_path):
    with pytest.raises(ValueError):
        nn.save_params(tmp_path / "net.npz", NET, ("softmax",))
    assert os.listdir(tmp_path) == []


# name: what is in the file instead
DAMAGED_ARRAYS = {
    "a layer is missing": {**NET, "W2": None, "activations": RELU_NET},
    "no activations": {**NET},
    "too many activations": {**NET, "activations": ("relu", "relu", "softmax")},
    "an unknown activation": {**NET, "activations": ("relu", "swish")},
    "activations are one text": {**NET, "activations": "softmax"},
    "activations are numbers": {**NET, "activations": (1.0, 2.0)},
    "an array too many": {**NET, "W9": NET["W1"], "activations": RELU_NET},
    "layers do not fit": {**NET, "W2": NET["W1"], "activations": RELU_NET},
    "a bias does not fit": {**NET, "b1": NET["b2"], "activations": RELU_NET},
    "a weight is text": {**NET, "W1": np.full((4, 6), "1"), "activations": RELU_NET},
    "integer weights": {**NET, "W2": np.ones((6, 3), int), "activations": RELU_NET},
    "a weight is an object": {**NET, "W1": np.full((4, 6), {}), "activations": RELU_NET},
    "a weight is a number": {**NET, "W1": np.float32(1), "activations": RELU_NET},
    "nothing": {},
}


@pytest.mark.parametrize("what", DAMAGED_ARRAYS)
def test_files_with_wrong_arrays_are_refused(what, tmp_path):
    path = tmp_path / "net.npz"
    arrays = DAMAGED_ARRAYS[what].items()
    np.savez(path, **{key: array for key, array in arrays if array is not None})
    with pytest.raises(ValueError) as error:
        nn.load_params(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_pickles_are_not_even_opened(tmp_path):
    """A pickle in a file of weights could run any code."""
    path = tmp_path / "net.npz"
    np.savez(path, **DAMAGED_ARRAYS["a weight is an object"])
    with pytest.raises(ValueError, match="allow_pickle=False"):
        nn.load_params(path)


def test_damaged_bytes_are_refused_or_harmless(tmp_path):
    path = tmp_path / "net.npz"
    nn.save_params(path, NET, RELU_NET)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    contents = [whole[:cut] for cut in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1)]
    contents += [b"<html>404</html>", rng.bytes(1000), whole[50:]]
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        contents.append(bytes(flipped))
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            loaded, _ = nn.load_params(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert_same_bits(loaded, NET)  # the flipped bit was one that nobody reads
    assert refused > 100


def test_other_numpy_files_are_refused(tmp_path):
    path = tmp_path / "net.npy"
    np.save(path, NET["W1"])
    with pytest.raises(ValueError, match="net.npy"):
        nn.load_params(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz"):
        nn.load_params(tmp_path / "none.npz")


# ---- train_mnist.py: data --------------------------------------------------------------

def idx_bytes(array):
    """Return the array of bytes as an idx file."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def few_digits():
    """240 training and 40 test digits as the bytes of the four idx files, by name."""
    files = {}
    for part, n in (("train", 240), ("t10k", 40)):
        X, labels = train_mnist.draw_digits(["DejaVuSans"], n, np.random.default_rng(n))
        images = (255 * X).astype(np.uint8).reshape(-1, 28, 28)
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(images))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx_bytes(labels))
    return files


@pytest.fixture
def folder(few_digits, tmp_path, monkeypatch):
    """A current folder with those four files in data/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name, content in few_digits.items():
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path


def run_mnist(*arguments):
    """Run train_mnist.py in this process; return the exit code."""
    try:
        return train_mnist.main([str(argument) for argument in arguments])
    except SystemExit as error:
        return error.code


QUICK = ("--hidden", 8, "--epochs", 1)


def test_training_writes_weights_and_a_picture(folder, capsys):
    assert run_mnist("--data", "data", "--hidden", 30, 20, "--epochs", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data      data: 220 to train, 20 to validate, 40 to test"
    assert lines[1] == "network   784-30-20-10, relu, relu, softmax: 24,380 parameters"
    for epoch, line in ((1, lines[3]), (2, lines[4])):
        assert line.startswith(f"epoch {epoch}/2 | ")
        assert re.fullmatch(r".* \| loss \d\.\d{4} \| val loss \d\.\d{4} "
                            r"\| val accuracy +\d+\.\d\d% \| \d+\.\d s", line)
    assert re.fullmatch(r"test accuracy \d+\.\d\d% \(\d+ of 40 wrong\)", lines[5])
    assert lines[6] == "wrote mnist.npz and mnist.png" and len(lines) == 7
    params, activations = nn.load_params("mnist.npz")
    assert activations == ("relu", "relu", "softmax") and params["W2"].shape == (30, 20)
    assert Image.open("mnist.png").size == (1400, 1100)
    assert sorted(os.listdir()) == ["data", "mnist.npz", "mnist.png"]


def test_every_option_is_taken(folder, monkeypatch):
    real, taken = nn.gradient_descent, {}

    def spy(params, X, Y, activations, **options):
        taken.update(options, Y=Y, params=params)
        return real(params, X, Y, activations, **options)

    monkeypatch.setattr(nn, "gradient_descent", spy)
    assert run_mnist("--data", "data", *QUICK, "--activation", "tanh", "--batch-size", 50,
                     "--lr", 0.1, "--optimizer", "sgd", "--l1", 1e-5, "--l2", 1e-4,
                     "--dropout", 0.1, "--smooth", 0.1, "--augment", 0.5, "--seed", 3,
                     "--schedule", "inverse:1",
                     "--weights", "w.npz", "--plot", "p.png") == 0
    expected = {"epochs": 1, "batch_size": 50, "lr": 0.1, "optimizer": "sgd", "l1": 1e-5,
                "l2": 1e-4, "dropout": 0.1, "seed": 3}
    assert {key: taken[key] for key in expected} == expected
    assert taken["schedule"](1.0) == 0.5
    assert taken["augment"].keywords == {"strength": 0.5}
    assert np.allclose(np.unique(taken["Y"]), [0.01, 0.91])
    first = nn.init_params((784, 8, 10), ("tanh", "softmax"), seed=3)
    assert_same_bits(taken["params"], first)
    assert nn.load_params("w.npz")[1] == ("tanh", "softmax")
    assert os.path.exists("p.png") and not os.path.exists("mnist.npz")
    assert run_mnist("--data", "data", "--hidden", "--epochs", 1, "--augment") == 0
    assert nn.load_params("mnist.npz")[1] == ("softmax",)


def test_schedules_by_name():
    at = [0.0, 0.5, 1.0, 5.0]
    expected = {"linear": [1, 0.95, 0.9, 0.5], "step:5": [1, 1, 1, 0.1],
                "step:1:0.5": [1, 1, 0.5, 1 / 32], "exponential:0.5": [1, 1, 0.5, 1 / 32],
                "inverse:2": [1, 0.5, 1 / 3, 1 / 11]}
    for text, factors in expected.items():
        assert [train_mnist.schedule(text, 10)(e) for e in at] == pytest.approx(factors)
    assert train_mnist.schedule("constant", 10)(7.5) == 1


@pytest.mark.parametrize("arguments", [
    ("--epochs", 0), ("--batch-size", -1), ("--lr", "fast"), ("--optimizer", "adamm"),
    ("--hidden", 0), ("--nonsense",), ("--predict",), ("--dropout", 1), ("--l1", -0.1),
    ("--smooth", 1), ("--l2", -5), ("--augment", "nan"), ("--seed", -1), ("--lr", "inf")])
def test_wrong_usage_is_exit_code_two(arguments, capsys):
    assert run_mnist(*arguments) == 2
    assert "usage:" in capsys.readouterr().err


def assert_complains(capsys, *fragments):
    """Fail unless stderr is one line that has the fragments."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.endswith("\n"), error
    assert "Traceback" not in error
    for fragment in fragments:
        assert fragment in error, error


@pytest.mark.parametrize("arguments, fragments", [
    (("--schedule", "cosine"), ["cosine", "linear"]),
    (("--schedule", "step:0"), ["step:0"]),
    (("--schedule", "step"), ["step"]), (("--schedule", "step:x"), ["step:x"]),
    (("--schedule", "inverse:-1"), ["inverse:-1"]), (("--plot", "picture"), ["picture"]),
    (("--weights", "a.png"), ["a.png", "both"]),
    (("--weights", "data"), ["data", "folder"]),
    (("--lr", 1e30, "--optimizer", "sgd"), ["smaller lr"]),
    (("--weights", "none/w.npz"), ["none/w.npz"]),
    (("--plot", "none/p.png"), ["none/p.png"]),
    (("--plot", "p.nonsense"), ["nonsense"])])
def test_bad_settings_are_one_line(arguments, fragments, folder, capsys):
    assert run_mnist("--data", "data", *QUICK, *arguments) == 1
    assert_complains(capsys, *fragments)


IMAGES, LABELS_FILE = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def flipped(content, at):
    """Return the bytes with one bit changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]


# what: (the file, a function from the right bytes to the wrong ones, what is said of it)
DAMAGED_DATA = {
    "truncated gzip": (IMAGES, lambda b: b[:len(b) // 2], "damaged gzip"),
    "gzip header only": (IMAGES, lambda b: b[:10], "damaged gzip"),
    "html as gzip": (IMAGES, lambda b: b"<html>404 Not Found</html>", "not an idx file"),
    "html inside gzip": (IMAGES, lambda b: gzip.compress(b"<html></html>"), "not an idx"),
    "flipped byte": (IMAGES, lambda b: flipped(b, len(b) // 2), "damaged gzip"),
    "flipped checksum": (IMAGES, lambda b: flipped(b, len(b) - 6), "damaged gzip"),
    "wrong magic": (IMAGES, lambda b: idx_bytes(np.ones((9, 28, 28)))[1:], "not an idx"),
    "floats": (IMAGES, lambda b: b"\0\0\x0d\x03" + bytes(5000), "not an idx file of b"),
    "empty": (IMAGES, lambda b: b"", "not an idx file"),
    "only a magic": (IMAGES, lambda b: b"\0\0\x08\x03\0", "not an idx file"),
    "too few images": (IMAGES, lambda b: gzip.decompress(b)[:-784], "bytes of data"),
    "too many bytes": (IMAGES, lambda b: gzip.decompress(b) + b"0", "bytes of data"),
    "other size": (IMAGES, lambda b: idx_bytes(np.ones((240, 27, 28))), "(n, 28, 28)"),
    "labels for images": (IMAGES, lambda b: idx_bytes(np.ones(240)), "(n, 28, 28)"),
    "fewer labels": (LABELS_FILE, lambda b: idx_bytes(np.ones(239)), "240 images"),
    "label 10": (LABELS_FILE, lambda b: idx_bytes(np.arange(240) % 11), "0 to 10"),
    "binary rubbish": (LABELS_FILE, lambda b: bytes(range(255, 0, -1)), "not an idx"),
    "missing": (LABELS_FILE, None, "no such file"),
}


@pytest.mark.parametrize("what", DAMAGED_DATA)
def test_damaged_idx_files_are_one_line(what, folder, capsys):
    name, damage, fragment = DAMAGED_DATA[what]
    path = folder / "data" / name
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    assert run_mnist("--data", "data", *QUICK) == 1
    assert_complains(capsys, os.path.join("data", name), fragment)
    assert os.listdir() == ["data"]


def test_idx_files_under_their_other_names(folder):
    for path in list((folder / "data").iterdir()):
        plain = path.name.removesuffix(".gz").replace("-idx", ".idx")
        path.with_name(plain).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert run_mnist("--data", "data", *QUICK) == 0


def csv_text(n=60, header="", end="\n"):
    """Return n lines of label and pixels."""
    X, labels = train_mnist.draw_digits(["DejaVuSans"], n, np.random.default_rng(0))
    rows = np.column_stack([labels, (255 * X).astype(int)])
    return header + "".join(",".join(map(str, row)) + end for row in rows)


def test_csv_with_and_without_header_and_with_any_line_end(tmp_path):
    header = "label," + ",".join(f"pixel{i}" for i in range(784))
    path = tmp_path / "digits.csv"
    read = []
    for text in (csv_text(), csv_text(header=header + "\n"),
                 csv_text(header=header + "\r\n", end="\r\n"), "\ufeff" + csv_text(),
                 csv_text(header="\ufeff" + header + "\n"), csv_text()[:-1]):
        path.write_bytes(text.encode())
        read.append(train_mnist.read_csv(path))
    assert read[0][0].shape == (60, 784) and read[0][0].dtype == np.uint8
    for X, labels in read:
        assert np.array_equal(X, read[0][0]) and np.array_equal(labels, read[0][1])


def test_csv_is_split_80_10_10_without_overlap(tmp_path):
    path = tmp_path / "digits.csv"
    rows = [f"{i % 10}," + ",".join([str(i % 251)] * 784) for i in range(200)]
    path.write_text("\n".join(rows))
    _, *parts = train_mnist.load(str(path))
    assert [len(X) for X, _ in parts] == [160, 20, 20]
    together = np.concatenate([X[:, 0] for X, _ in parts])
    assert np.array_equal(np.sort(np.rint(together * 255)), np.arange(200))
    for X, labels in parts:
        assert X.dtype == np.float32 and X.max() <= 1
        assert np.array_equal(np.rint(X[:, 0] * 255) % 10, labels)


# what: (the text, what is said of it)
DAMAGED_CSV = {
    "empty": ("", "0 examples"),
    "header only": ("label,pixel0\n", "0 examples"),
    "few rows": ("1" + ",0" * 784 + "\n", "1 examples"),
    "ragged": ("1" + ",0" * 784 + "\n1,2,3\n", "not a CSV of whole"),
    "text": ("1" + ",0" * 783 + ",dog\n", "dog"),
    "783 pixels": (("1" + ",0" * 783 + "\n") * 30, "784 columns"),
    "label 10": (("10" + ",0" * 784 + "\n") * 30, "labels 10 to 10"),
    "pixel 256": (("1" + ",256" * 784 + "\n") * 30, "256"),
    "pixel -1": (("1" + ",-1" * 784 + "\n") * 30, "-1"),
    "semicolons": (("1" + ";0" * 784 + "\n") * 30, "not a CSV of whole"),
    "binary rubbish": (bytes(range(256)) * 10, "not a CSV of whole"),
}


@pytest.mark.parametrize("what", DAMAGED_CSV)
def test_damaged_csv_is_one_line(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text, fragment = DAMAGED_CSV[what]
    pathlib.Path("my.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert run_mnist("--data", "./my.csv", *QUICK) == 1
    assert_complains(capsys, "./my.csv", fragment)


def test_data_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_mnist("--data", "nowhere/mnist.csv") == 1
    assert_complains(capsys, "nowhere/mnist.csv", "No such file")


# ---- train_mnist.py: download, from servers that misbehave -----------------------------

def serve(answer):
    """Serve answer(connection, name) on a free port; return (url, names asked)."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def loop():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536).split()
                asked.append(request[1].decode().strip("/") if request else "")
                try:
                    answer(connection, asked[-1])
                except OSError:
                    pass  # the client has hung up

    threading.Thread(target=loop, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/", asked


def respond(connection, body, status="200 OK", length=None):
    """Send one HTTP answer."""
    length = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + body)


@pytest.fixture
def cloud(few_digits, tmp_path, monkeypatch):
    """The small data set as if it were MNIST, with data/ empty; return its files."""
    files = {name: (len(content), hashlib.sha256(content).hexdigest())
             for name, content in few_digits.items()}
    monkeypatch.setattr(train_mnist, "FILES", files)
    monkeypatch.setattr(train_mnist, "FOLDER", str(tmp_path / "data"))
    monkeypatch.setattr(train_mnist, "TIMEOUT", 1)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    return few_digits


def drip(connection, body):
    """Send a byte now and then, so that no single read times out."""
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    for i in range(100):
        connection.sendall(body[i:i + 1])
        time.sleep(0.1)


# what: (how the server answers, what is said of it)
MISBEHAVIOUR = {
    "404": (lambda c, body: respond(c, b"not here", "404 Not Found"), "404"),
    "503": (lambda c, body: respond(c, b"busy", "503 Service Unavailable"), "503"),
    "html": (lambda c, body: respond(c, b"<html>log in first</html>"), "sent 25 bytes"),
    "dies half-way": (lambda c, body: respond(c, body[:1000], length=len(body)), "bytes"),
    "sends too much": (lambda c, body: respond(c, body + bytes(9_999_999)), "bytes that"),
    "sends another file": (lambda c, body: respond(c, flipped(body, 100)), "bytes that"),
    "says nothing": (lambda c, body: time.sleep(4), "timed out"),
    "drips": (drip, "slower than 20 kB/s"),
    "speaks no http": (lambda c, body: c.sendall(b"hello\n"), "hello"),
    "hangs up": (lambda c, body: None, ""),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_a_mirror_that_fails_is_not_asked_again(what, cloud, monkeypatch, capsys):
    answer, reason = MISBEHAVIOUR[what]
    bad, asked_bad = serve(lambda c, name: answer(c, cloud[name]))
    good, asked_good = serve(lambda c, name: respond(c, cloud[name]))
    monkeypatch.setattr(train_mnist, "MIRRORS", [bad, good])
    folder = train_mnist.download()
    assert folder == train_mnist.FOLDER and train_mnist.damaged(folder) == []
    assert sorted(os.listdir(folder)) == sorted(cloud)
    assert len(asked_bad) == 1 and asked_good == list(cloud)
    out = capsys.readouterr().out
    assert out.count(f"failed: {bad}") == 1 and out.count("failed") == 1
    assert reason in out


def test_a_server_that_sends_too_much_is_cut_off(cloud, monkeypatch):
    name = list(cloud)[0]
    size, digest = train_mnist.FILES[name]
    url, _ = serve(lambda c, name: respond(c, cloud[name] + bytes(10_000_000)))
    with pytest.raises(OSError, match=f"sent {size + 1:,} bytes that are not"):
        train_mnist.fetch(url + name, size, digest)


def test_only_missing_and_broken_files_are_fetched(cloud, monkeypatch):
    good, asked = serve(lambda c, name: respond(c, cloud[name]))
    monkeypatch.setattr(train_mnist, "MIRRORS", [good])
    train_mnist.download()
    assert len(asked) == 4
    train_mnist.download()
    assert len(asked) == 4
    names = list(cloud)
    path = pathlib.Path(train_mnist.FOLDER) / names[0]
    path.write_bytes(path.read_bytes()[:100])
    (path.parent / names[3]).unlink()
    assert train_mnist.download() == train_mnist.FOLDER
    assert asked[4:] == [names[0], names[3]]
    assert path.read_bytes() == cloud[names[0]]


def test_a_certificate_error_says_what_to_do(cloud, monkeypatch, capsys):
    def refuse(url, timeout):
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "verify failed"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(OSError, match="root certificates.*Install Certificates.command"):
        train_mnist.download()


def test_a_temporary_folder_serves_if_data_is_read_only(cloud, monkeypatch, tmp_path):
    good, _ = serve(lambda c, name: respond(c, cloud[name]))
    monkeypatch.setattr(train_mnist, "MIRRORS", [good])
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(train_mnist, "FOLDER", str(tmp_path / "file" / "data"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = train_mnist.download()
    assert folder.startswith(str(tmp_path / "tmp")) and train_mnist.damaged(folder) == []


def test_offline_trains_on_synthetic_digits_and_says_so(cloud, monkeypatch, capsys):
    monkeypatch.setattr(train_mnist, "MIRRORS", ["http://127.0.0.1:9/"])
    pathlib.Path("mnist.npz").write_bytes(b"good weights")
    assert run_mnist("--hidden", 64, "--epochs", 2) == 0
    out, err = capsys.readouterr()
    assert "could not be had" in out and "http://127.0.0.1:9/" in out
    assert train_mnist.FOLDER in out and "SYNTHETIC" in out and err == ""
    result = re.search(r"test accuracy (.*)% .* on synthetic digits, not MNIST\n", out)
    assert float(result[1]) > 90
    assert "wrote synthetic.npz and synthetic.png" in out
    assert pathlib.Path("mnist.npz").read_bytes() == b"good weights"


def test_test_faces_are_unseen_and_every_digit_is_drawn():
    faces = train_mnist.FACES, train_mnist.VALIDATION_FACES, train_mnist.TEST_FACES
    assert len(set().union(*faces)) == sum(map(len, faces)) == 21
    for part in faces:
        X, labels = train_mnist.draw_digits(part, 500, np.random.default_rng(0))
        assert set(labels) == set(range(10)) and X.shape == (500, 784)
        assert (X.max(axis=1) > 0.5).all() and X.min() >= 0 and X.max() <= 1


# ---- train_mnist.py: augment -----------------------------------------------------------

def test_augment_of_no_strength_is_the_identity():
    X = np.random.default_rng(0).random((5, 784), dtype=np.float32)
    result = train_mnist.augment(X, np.random.default_rng(0), 0.0)
    assert result.dtype == np.float32 and np.array_equal(result, X)


def shifted(X, y, x, angle=0, slant=0, scale=0, bend=0):
    """Augment by these alone: look the image up y pixels below and x to the right, ..."""
    draws = iter([angle, slant, scale, y, x])
    rng = types.SimpleNamespace(
        uniform=lambda low, high, size: np.full(size, next(draws)),
        normal=lambda mean, sigma, size: np.broadcast_to(bend, size))
    return train_mnist.augment(X, rng)


def test_augment_shifts_the_right_way_and_never_wraps_around():
    image = np.arange(784, dtype=np.float32).reshape(28, 28) + 1
    X = image.reshape(1, 784)
    below = shifted(X, 1, 0).reshape(28, 28)
    assert np.array_equal(below[:-1], image[1:]) and not below[-1].any()
    right = shifted(X, 0, 2).reshape(28, 28)
    assert np.array_equal(right[:, :-2], image[:, 2:]) and not right[:, -2:].any()
    above = shifted(X, -3, -1).reshape(28, 28)
    assert np.array_equal(above[3:, 1:], image[:-3, :-1])
    assert not above[:3].any() and not above[:, 0].any()
    half = shifted(X, 0.5, 0).reshape(28, 28)
    assert np.allclose(half[:-1], (image[1:] + image[:-1]) / 2)
    for far in (40, -40):
        assert not shifted(X, far, 0).any() and not shifted(X, 0, far).any()


def test_augment_turns_scales_and_slants_about_the_middle():
    image = np.random.default_rng(0).random((28, 28), dtype=np.float32)
    X = image.reshape(1, 784)
    turned = shifted(X, 0, 0, angle=np.pi / 2).reshape(28, 28)
    assert np.allclose(turned, np.rot90(image), atol=1e-4)
    upside_down = shifted(X, 0, 0, angle=np.pi).reshape(28, 28)
    assert np.allclose(upside_down, image[::-1, ::-1], atol=1e-4)
    smaller = shifted(np.ones((1, 784), np.float32), 0, 0, scale=1.0).reshape(28, 28)
    assert (smaller[7:21, 7:21] == 1).all() and not smaller[:6].any()
    slanted = shifted(X, 0, 0, slant=2.0).reshape(28, 28)
    assert np.allclose(slanted[14, :-1], image[14, 1:], atol=1e-4)  # by a pixel
    assert np.allclose(slanted[13, 1:], image[13, :-1], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_augment_bends_around_a_point_of_the_grid_and_not_elsewhere(axis):
    image = np.random.default_rng(0).random((28, 28), dtype=np.float32)
    bend = np.zeros((2, 1, 4, 4))
    bend[axis, 0, 1, 2] = 3.0  # the points are 9 pixels apart: this one is (9, 18)
    bent = shifted(image.reshape(1, 784), 0, 0, bend=bend.reshape(2, 1, 16))
    moved = bent.reshape(28, 28)
    for (row, column), by in (((9, 18), 3), ((9, 21), 2), ((6, 18), 2), ((9, 12), 1)):
        source = (row + by, column) if axis == 0 else (row, column + by)
        assert moved[row, column] == pytest.approx(image[source], abs=1e-4)
    moved[1:18, 10:27] = image[1:18, 10:27]  # within 9 pixels
    assert np.allclose(moved, image, atol=1e-4)


def test_augment_varies_each_image_by_itself_and_keeps_its_ink():
    X, _ = train_mnist.draw_digits(["DejaVuSans"], 200, np.random.default_rng(0))
    same = np.repeat(X[:1], 200, axis=0)
    result = train_mnist.augment(same, np.random.default_rng(1))
    assert len(np.unique(result, axis=0)) == 200
    assert result.min() >= 0 and result.max() <= 1
    assert result.sum(axis=1).mean() == pytest.approx(X[0].sum(), rel=0.05)
    assert np.array_equal(result, train_mnist.augment(same, np.random.default_rng(1)))


# ---- train_mnist.py: your own digit ----------------------------------------------------

def test_prepare_centres_and_scales_as_mnist_does():
    page = Image.new("RGB", (500, 400), (200, 190, 150))
    page.paste((90, 20, 20), (350, 40, 380, 160))  # a bar of 30 x 120 in a corner
    result = train_mnist.prepare(page).reshape(28, 28)
    rows, columns = np.flatnonzero(result.max(axis=1)), np.flatnonzero(result.max(axis=0))
    assert len(rows) == 20 and 5 <= len(columns) <= 6
    assert abs(rows.mean() - 13.5) <= 0.5 and abs(columns.mean() - 13.5) <= 0.5
    assert result.max() == 1 and result.dtype == np.float32


def test_prepare_reads_images_of_every_kind():
    page = Image.new("L", (120, 160), 255)
    seven = [(30, 20), (90, 20), (50, 140)]
    ImageDraw.Draw(page).line(seven, fill=0, width=12)
    expected = train_mnist.prepare(page)
    ink = ImageOps.invert(page)
    see_through = Image.new("RGBA", page.size, (0, 0, 0, 0))
    see_through.putalpha(ink)
    deep = Image.fromarray(np.asarray(page).astype(np.uint16) * 257)
    faint = Image.eval(page, lambda grey: 150 + grey // 4)
    turned = page.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright: turn it back
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    kinds = [ink, see_through, deep, faint, Image.open(file), page.convert("RGB"),
             page.convert("CMYK"), page.convert("P"), page.convert("1"),
             page.resize((60, 80)), ImageOps.expand(page, 100, 255)]
    for image in kinds:
        assert np.corrcoef(train_mnist.prepare(image), expected)[0, 1] > 0.9, image


def test_predict_names_blank_and_unreadable_images_and_reads_the_rest(folder, capsys):
    assert run_mnist("--data", "data", "--epochs", 30, "--hidden", 64) == 0
    X, labels = train_mnist.draw_digits(["DejaVuSans"], 3, np.random.default_rng(5))
    for i, x in enumerate(X):
        Image.fromarray((255 - 255 * x.reshape(28, 28)).astype(np.uint8)).save(f"{i}.png")
    Image.new("L", (50, 50), 255).save("blank.png")
    pathlib.Path("text.png").write_text("no image")
    pathlib.Path("half.png").write_bytes(pathlib.Path("0.png").read_bytes()[:100])
    capsys.readouterr()
    assert run_mnist("--predict", "0.png", "blank.png", "1.png", "text.png", "half.png",
                     "none.png", "2.png") == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    for i, line in zip(range(3), lines):
        assert re.fullmatch(rf"{i}\.png: {labels[i]} \(\d+\.\d%\), \d \(\d+\.\d%\), "
                            r"\d \(\d+\.\d%\)", line)
    assert lines[3:] == ["wrote predictions.png"]
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        "blank.png", "text.png", "half.png", "none.png"]
    assert os.path.exists("predictions.png")
    assert run_mnist("--predict", "0.png") == 0


def test_predict_without_weights_says_to_train_first(folder, capsys):
    assert run_mnist("--predict", "a.png") == 1
    assert_complains(capsys, "mnist.npz", "train first")
    nn.save_params("mnist.npz", NET, RELU_NET)
    assert run_mnist("--predict", "a.png") == 1
    assert_complains(capsys, "mnist.npz", "784 pixels")
    pathlib.Path("mnist.npz").write_bytes(b"rubbish")
    assert run_mnist("--predict", "a.png") == 1
    assert_complains(capsys, "mnist.npz")


def test_control_c_keeps_the_last_finished_epoch(folder, monkeypatch, capsys):
    real, seen = nn.gradient_descent, {}

    def interrupted(*args, on_epoch, **options):
        def stop(epoch, params, history):
            on_epoch(epoch, params, history)
            seen[epoch] = params
            if epoch == 2:
                raise KeyboardInterrupt
        return real(*args, on_epoch=stop, **options)

    monkeypatch.setattr(nn, "gradient_descent", interrupted)
    assert run_mnist("--data", "data", "--hidden", 8, "--epochs", 5) == 0
    assert "interrupted: keeping the weights of epoch 2" in capsys.readouterr().out
    kept, _ = nn.load_params("mnist.npz")
    assert_same_bits(kept, seen[2])
    monkeypatch.setattr(nn, "gradient_descent", real)

    def at_once(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(nn, "gradient_descent", at_once)
    assert run_mnist("--data", "data", "--weights", "other.npz") == 130
    assert_complains(capsys, "interrupted")
    assert not os.path.exists("other.npz")


def test_weights_are_written_before_the_picture(folder, monkeypatch, capsys):
    def fail(*args):
        raise OSError("no picture")

    monkeypatch.setattr(train_mnist, "draw", fail)
    assert run_mnist("--data", "data", *QUICK) == 1
    assert_complains(capsys, "no picture")
    assert nn.load_params("mnist.npz")[1] == RELU_NET


def test_the_script_runs_as_a_user_runs_it(folder):
    """From another folder, without a display, warnings being errors."""
    environment = {**os.environ, "DISPLAY": "", "MPLBACKEND": ""}
    script = [sys.executable, "-W", "error", HERE / "train_mnist.py"]
    done = subprocess.run([*script, "--data", "data", "--hidden", "8", "--epochs", "1"],
                          capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.isascii() and "wrote mnist.npz and mnist.png" in done.stdout
    done = subprocess.run([*script, "--data", "nowhere"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


# ---- train_xor.py ----------------------------------------------------------------------

def run_xor(*arguments):
    """Run train_xor.py in this process; return the exit code."""
    try:
        return train_xor.main([str(argument) for argument in arguments])
    except SystemExit as error:
        return error.code


def test_xor_is_solved_for_every_seed_of_a_thousand():
    assert [seed for seed in range(1000) if not train_xor.xor(seed=seed)["solved"]] == []


def test_xor_with_two_relu_units_often_fails_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    solved = [train_xor.xor((2,), "relu", seed=seed)["solved"] for seed in range(50)]
    assert 0 < sum(solved) < 40
    seed = solved.index(False)
    assert run_xor("--hidden", 2, "--activation", "relu", "--seed", seed) == 1
    out = capsys.readouterr().out
    assert "NOT solved" in out and "WRONG" in out and os.path.exists("xor.png")


@pytest.mark.parametrize("decay", ["constant", "step:400:0.5", "exponential:0.999"])
def test_the_historic_setting_of_xor_runs(decay, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_xor("--hidden", 4, "--activation", "tanh", "--output", "tanh", "--loss",
                   "mse", "--lr", 0.1, "--epochs", 1000, "--batch-size", 4,
                   "--schedule", decay) == 0
    assert "after 1000 epochs: solved" in capsys.readouterr().out


@pytest.mark.parametrize("output", nn.ACTIVATIONS)
def test_xor_runs_with_every_output_and_its_loss(output):
    assert train_xor.xor(output=output, epochs=300)["solved"] or output == "relu"


def test_step_shows_what_backward_and_update_do():
    lines = train_xor.step(lr=0.5)
    shown = {}
    for name, formula, value in lines:
        shown.setdefault(name, []).append(value)
    params, X, Y = train_xor.STEP_PARAMS, train_xor.STEP_X, train_xor.STEP_Y
    activations, loss = ("relu", "sigmoid"), "binary_cross_entropy"
    _, cache = nn.forward(params, X, activations)
    grads = nn.backward(params, cache, Y, activations, loss)
    new, _ = nn.update(params, grads, {}, 0.5)
    _, after = nn.forward(new, X, activations)
    assert shown["z"] == [pytest.approx(cache["Z1"][0, 0], rel=1e-12)] * 3
    for key in params:
        assert np.allclose(shown[key][0], params[key])
        assert np.allclose(shown["d" + key][0], grads[key], rtol=1e-12)
        assert np.allclose(shown[key][1], new[key], rtol=1e-12)
    for key in ("Z1", "A1", "Z2", "A2"):
        assert np.array_equal(shown[key][0], cache[key])
    assert shown["loss"] == [nn.compute_loss(params, cache, Y, loss),
                             nn.compute_loss(new, after, Y, loss)]
    dA1 = (cache["A2"] - Y) / 2 @ params["W2"].T
    assert np.allclose(shown["dA1"][0], dA1)
    assert np.allclose(shown["dZ1"][0], nn.ACTIVATIONS["relu"][1](dA1, cache["A1"]))
    assert away_from_kinks(params, X, activations)


@pytest.mark.parametrize("seed", range(20))
def test_spiral_is_learned_as_a_shape(seed):
    assert train_xor.spiral(seed=seed)["held_out"] >= 0.99


def test_spiral_shows_over_fitting_and_its_cure():
    def mean_accuracies(**options):
        runs = [train_xor.spiral(points=30, noise=0.6, epochs=500, seed=seed, **options)
                for seed in range(3)]
        return [np.mean([run[key] for run in runs]) for key in ("training", "held_out")]

    training, held_out = mean_accuracies()
    assert training > held_out + 0.1
    cured_training, cured_held_out = mean_accuracies(l2=0.003)
    assert cured_held_out > held_out and cured_training < training


def test_search_finds_that_gradients_win():
    (_, guesses), (_, nudges), (_, descent) = train_xor.search()["ends"].values()
    assert descent > 0.95 > nudges + 0.2 and descent > guesses + 0.3


def test_optimizers_all_learn_from_the_same_start():
    found = train_xor.optimizers(epochs=100)
    assert list(found) == list(nn.OPTIMIZERS)
    assert len({losses[0] for _, losses in found.values()}) == 1
    assert all(losses[-1] < 0.8 * losses[0] for _, losses in found.values())


def test_gradients_vanish_in_deep_sigmoid_networks_only():
    ratios = {name: norms[-1] / norms[0] for name, norms in train_xor.vanishing().items()}
    assert ratios["sigmoid"] > 1e4 and ratios["tanh"] < 10 and ratios["relu"] < 10


@pytest.mark.parametrize("name", train_xor.EXPERIMENTS)
def test_each_experiment_runs_as_a_user_runs_it(name, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", HERE / "train_xor.py", name],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.isascii()
    assert os.listdir(tmp_path) == ([] if name == "step" else [f"{name}.png"])


def test_the_film_of_the_spiral(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_xor("spiral", "--epochs", 5, "--gif", "--plot", "s.png") == 0
    assert sorted(os.listdir()) == ["s.png", "spiral.gif"]
    assert Image.open("spiral.gif").n_frames > 5


@pytest.mark.parametrize("arguments, code, fragment", [
    (("zor",), 2, "zor"), (("--lr", "x"), 2, "--lr"), (("xor", "--gif"), 2, "--gif"),
    (("step", "--hidden", 3), 2, "--hidden"),
    (("vanishing", "--epochs", 3), 2, "--epochs"),
    (("--output", "tanh", "--loss", "cross_entropy"), 1, "softmax"),
    (("--schedule", "cosine"), 1, "cosine"), (("--plot", "x"), 1, "picture"),
    (("--plot", "none/x.png"), 1, "none/x.png"),
    (("spiral", "--dropout", 1), 2, "dropout"), (("step", "--plot", "x"), 2, "--plot"),
    (("spiral", "--gif", "none/x.gif"), 1, "none/x.gif"),
    (("--lr", "1e300", "--optimizer", "sgd"), 1, "smaller lr")])
def test_bad_options_of_the_experiments(arguments, code, fragment, tmp_path, monkeypatch,
                                        capsys):
    monkeypatch.chdir(tmp_path)
    assert run_xor(*arguments) == code
    error = capsys.readouterr().err
    assert fragment in error and "Traceback" not in error
    assert error.count("\n") == 1 or code == 2


# ---- The real thing --------------------------------------------------------------------

@pytest.fixture(scope="session")
def mnist_run(tmp_path_factory):
    """The default network trained on MNIST: (its folder, what the script printed)."""
    if train_mnist.damaged(train_mnist.FOLDER):
        pytest.skip("MNIST is not in data/: python train_mnist.py fetches it")
    folder = tmp_path_factory.mktemp("mnist")
    done = subprocess.run([sys.executable, HERE / "train_mnist.py"], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return folder, done.stdout


def test_the_default_network_reaches_98_percent(mnist_run):
    _, out = mnist_run
    assert "55,000 to train, 5,000 to validate, 10,000 to test" in out
    assert float(re.search(r"test accuracy (\d+\.\d+)%", out)[1]) > 98


def test_ten_hidden_neurons_reach_92_percent(mnist_run, tmp_path):
    done = subprocess.run([sys.executable, HERE / "train_mnist.py", "--hidden", "10",
                           "--dropout", "0"], cwd=tmp_path, capture_output=True,
                          text=True)
    assert float(re.search(r"test accuracy (\d+\.\d+)%", done.stdout)[1]) > 92


def as_a_person_draws(x, style, rng):
    """Return MNIST's digit x as a picture in one of twelve styles."""
    def picture(side, paper, pen, size=None, at=(0, 0), noise=0):
        image = Image.fromarray(x.reshape(28, 28)).resize((side, side), Image.BICUBIC)
        ink = np.zeros(size or (side, side, 1))
        ink[at[0]:at[0] + side, at[1]:at[1] + side, 0] = np.asarray(image) / 255
        pixels = np.array(paper) * (1 - ink) + np.array(pen) * ink
        pixels = pixels + rng.normal(0, noise, pixels.shape)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    def see_through(image):
        black = Image.new("RGBA", image.size, (0, 0, 0, 0))
        black.putalpha(ImageOps.invert(image.convert("L")))
        return black

    def jpeg(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=30)
        return Image.open(file)

    white, black = (255, 255, 255), (0, 0, 0)
    return [lambda: picture(200, white, black),
            lambda: picture(112, black, white),
            lambda: picture(28, white, (30, 30, 30)),
            lambda: picture(1400, (250, 250, 245), (20, 30, 120)),
            lambda: picture(300, (250, 240, 180), (160, 20, 60)),
            lambda: picture(600, (165, 160, 150), (70, 70, 75), noise=8),
            lambda: picture(120, white, black, (400, 600, 1), (250, 20)),
            lambda: see_through(picture(200, white, black)),
            lambda: jpeg(picture(240, (240, 240, 240), (40, 40, 40), noise=5)),
            lambda: picture(280, (200, 200, 200), (40, 40, 40), noise=20),
            lambda: picture(90, (20, 60, 40), (240, 240, 230), (500, 300, 1), (30, 180)),
            lambda: picture(200, white, black).convert("P")][style]()


def test_pictures_of_test_digits_are_read(mnist_run):
    folder, _ = mnist_run
    params, activations = nn.load_params(folder / "mnist.npz")
    X, labels = train_mnist.read_pair(train_mnist.FOLDER, *list(train_mnist.FILES)[2:])
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(X), 60, replace=False)
    prepared = [train_mnist.prepare(as_a_person_draws(X[i], style % 12, rng))
                for style, i in enumerate(chosen)]
    predicted = nn.predict(params, np.array(prepared), activations)
    assert (predicted == labels[chosen]).sum() >= 57


# ---- README.md -------------------------------------------------------------------------

README = (HERE / "README.md").read_text(encoding="utf-8")
JAX_DEVICES = "--xla_force_host_platform_device_count=4"
# Each block of Python, with the block of output that may follow it.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:```\n(.*?)```)?", README, re.DOTALL)
JAX_BLOCK, = (code for code, _ in BLOCKS if "import jax" in code)
TOUR = ['"""nn.py', "# ---- Activations", "# ---- Losses", "# ---- Parameters",
        "# ---- Forward", "def compute_loss", "# ---- Backward", "# ---- Optimizers",
        "# ---- Labels", "# ---- Training"]


def test_the_reading_tour_names_the_right_lines():
    lines = (HERE / "nn.py").read_text().splitlines()
    found = [next(i for i, line in enumerate(lines, 1) if line.startswith(start))
             for start in TOUR]
    assert re.findall(r"\| \[(\d+)\]\(nn\.py#L(\d+)\) \|", README) == [
        (str(line), str(line)) for line in found]


def run_block(code, folder, **environment):
    """Run Python code as a user would who has nn.py in reach; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu",
                   "XLA_FLAGS": JAX_DEVICES, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, text=True,
                          capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_python_block_of_the_readme_prints_what_it_says(number, tmp_path):
    code, output = BLOCKS[number]
    if "import jax" in code:
        pytest.importorskip("jax")
    assert run_block(code, tmp_path) == output


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-10)])
def test_the_jax_recipe_gives_the_parameters_of_numpy(dtype, tolerance, tmp_path):
    pytest.importorskip("jax")
    compare = f"""
nn.np = np
expected, state = nn.init_params((784, 128, 10), activations, dtype=dtype), {{}}
X, Y = np.asarray(X), np.asarray(Y)
for _ in range(10):
    _, cache = nn.forward(expected, X, activations)
    grads = nn.backward(expected, cache, Y, activations)
    expected, state = nn.update(expected, grads, state, 0.001, "adam")
for key in expected:
    assert params[key].dtype == expected[key].dtype == dtype
    assert len(params[key].sharding.device_set) == 4
    assert abs(np.asarray(params[key]) - expected[key]).max() < {tolerance}, key
"""
    run_block(JAX_BLOCK.replace("np.float32", f"np.{dtype}") + compare, tmp_path,
              JAX_ENABLE_X64=str(dtype == "float64"))


COMMANDS = sorted(set(re.findall(r"`python (train_\w+\.py[^`]*)`", README)))


def test_the_readme_has_commands_and_blocks():
    assert len(COMMANDS) >= 10 and len(BLOCKS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_runs(command, folder):
    """Those that train on MNIST run for one epoch on few digits."""
    (folder / ".github").mkdir()
    (folder / "train.csv").write_text(csv_text())
    if "--predict" in command:
        assert run_mnist("--data", "data", *QUICK) == 0
        picture = Image.open(HERE / ".github" / "mnist.png")
        picture.crop((720, 75, 800, 155)).save("digit.png")
    script, *arguments = command.split()
    if script == "train_mnist.py" and "--predict" not in arguments:
        arguments += ["--epochs", "1"]
        arguments += ["--data", "data"] if "--data" not in arguments else []
    done = subprocess.run([sys.executable, HERE / script, *arguments], text=True,
                          capture_output=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_the_pictures_of_the_readme_are_there_and_small():
    pictures = re.findall(r"!\[.+?\]\((.*?)\)", README)
    assert len(pictures) >= 3
    for picture in pictures:
        assert picture.startswith(".github/")
        assert (HERE / picture).stat().st_size < 1_500_000


def test_the_benchmark_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[__name__], "BENCHMARK_LAYERS", (10,))
    benchmark(rounds=1)
    out = capsys.readouterr().out
    assert all(f"H=10   {rule}" in out for rule in BENCHMARK_RULES)


@pytest.mark.parametrize("name", ["nn.py", "PyTorch", "tutorial", "sklearn", "JAX",
                                  "products"])
def test_each_contestant_of_the_benchmark_trains_as_many_epochs(name):
    contestant, module = CONTESTANTS[name]
    pytest.importorskip(module)
    X, labels = train_mnist.draw_digits(["cmr10"], 2 * BATCH, np.random.default_rng(0))
    params, ticks = nn.init_params((784, 10, 10), RELU_NET), []
    contestant(X, labels, params, "adam", lambda: ticks.append(name))
    assert len(ticks) == EPOCHS


def test_size_width_and_imports_keep_their_promise():
    text = (HERE / "nn.py").read_text()
    assert text.isascii() and text.count("\n") <= 350
    for name in ("nn.py", "train_mnist.py", "train_xor.py", "test_nn.py"):
        source = (HERE / name).read_text()
        assert max(map(len, source.splitlines())) <= 90, name
        assert "SPDX-License-Identifier: MIT" in source
        nodes = list(ast.walk(ast.parse(source)))
        assert not any(isinstance(node, ast.ClassDef) for node in nodes)
    imported = re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
    assert imported == ["os", "numpy"]


# ---- Benchmark: python test_nn.py --benchmark ------------------------------------------

BENCHMARK_LAYERS = (10, 128, 256, 512, 800)
BENCHMARK_RULES = ("sgd", "momentum", "adam")
BATCH, EPOCHS = 128, 3


# Each contestant trains for EPOCHS epochs and calls tick after each.

def nn_epochs(X, labels, params, rule, tick):
    """gradient_descent, its checks, loss and accuracy included."""
    nn.gradient_descent(params, X, labels, RELU_NET, epochs=EPOCHS, batch_size=BATCH,
                        lr=1e-3, optimizer=rule, on_epoch=lambda *_: tick())


def bare_epochs(X, labels, params, rule, tick):
    """Only the five matrix products of each step, with which NumPy cannot dispense."""
    W1, W2 = params["W1"], params["W2"]
    A1, dZ2 = X[:BATCH] @ W1, X[:BATCH, :10].copy()
    for _ in range(EPOCHS):
        for start in range(0, len(X) - BATCH + 1, BATCH):
            batch = X[start:start + BATCH]
            batch @ W1, A1 @ W2, A1.T @ dZ2, dZ2 @ W2.T, batch.T @ A1
        tick()


def torch_model(params, rule, **options):
    """Return (model, optimizer) of PyTorch with the same first weights."""
    import torch
    model = torch.nn.Sequential(torch.nn.Linear(784, len(params["b1"])), torch.nn.ReLU(),
                                torch.nn.Linear(len(params["b1"]), 10))
    with torch.no_grad():
        for layer, l in ((model[0], 1), (model[2], 2)):
            layer.weight.copy_(torch.from_numpy(params[f"W{l}"].T))
            layer.bias.copy_(torch.from_numpy(params[f"b{l}"]))
    if rule == "adam":
        return model, torch.optim.Adam(model.parameters(), lr=1e-3, **options)
    return model, torch.optim.SGD(model.parameters(), lr=1e-3, **options,
                                  momentum=0.9 if rule == "momentum" else 0.0)


def torch_steps(model, optimizer, batches, n):
    """Train on the batches, keeping loss and accuracy as gradient_descent does."""
    import torch
    loss_sum, hits = 0.0, 0
    for X, labels in batches:
        output = model(X)
        loss = torch.nn.functional.cross_entropy(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(X) / n
        hits += (output.argmax(1) == labels).sum().item()


def torch_tuned_epochs(X, labels, params, rule, tick):
    """PyTorch at its best: tensors in memory, no DataLoader, a fused optimizer."""
    import torch
    X, labels = torch.from_numpy(X), torch.from_numpy(labels)
    model, optimizer = torch_model(params, rule, fused=True)
    for _ in range(EPOCHS):
        order = torch.randperm(len(X))
        batches = ((X[rows], labels[rows]) for rows in order.split(BATCH))
        torch_steps(model, optimizer, batches, len(X))
        tick()


def torch_tutorial_epochs(X, labels, params, rule, tick):
    """PyTorch as its tutorials write it: a DataLoader, the default optimizer."""
    import torch
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)
    model, optimizer = torch_model(params, rule)
    for _ in range(EPOCHS):
        torch_steps(model, optimizer, loader, len(X))
        tick()


def sklearn_epochs(X, labels, params, rule, tick):
    """scikit-learn's MLPClassifier."""
    from sklearn.neural_network import MLPClassifier
    solver = {"solver": "adam"} if rule == "adam" else {
        "solver": "sgd", "momentum": 0.9 if rule == "momentum" else 0.0,
        "nesterovs_momentum": False}
    model = MLPClassifier(len(params["b1"]), batch_size=BATCH, alpha=0.0, **solver)
    for _ in range(EPOCHS):
        model.partial_fit(X, labels, classes=np.arange(10))
        tick()


@functools.lru_cache(maxsize=None)
def jax_step(rule):
    """Return a jitted step of nn.py under jax.numpy: forward, loss, backward, update."""
    import jax

    def step(params, state, X, Y):
        numpy, nn.np = nn.np, jax.numpy  # while JAX traces, once for each shape
        try:
            output, cache = nn.forward(params, X, RELU_NET)
            loss = nn.compute_loss(params, cache, Y)
            grads = nn.backward(params, cache, Y, RELU_NET)
            hits = (output.argmax(axis=1) == Y.argmax(axis=1)).sum()
            return *nn.update(params, grads, state, 1e-3, rule), loss * len(X), hits
        finally:
            nn.np = numpy
    return jax.jit(step)


def jax_epochs(X, labels, params, rule, tick):
    """The jitted step."""
    Y, state, rng = nn.one_hot(labels, 10), {}, np.random.default_rng(0)
    for _ in range(EPOCHS):
        order, totals = rng.permutation(len(X)), []
        for start in range(0, len(X), BATCH):
            rows = order[start:start + BATCH]
            params, state, *scores = jax_step(rule)(params, state, X[rows], Y[rows])
            totals.append(scores)
        np.sum([[float(score) for score in scores] for scores in totals], axis=0)
        tick()


def page_faults_of_a_step(rule, H=800, steps=200):
    """Return the mean number of minor page faults of a training step once it is warm."""
    import resource
    X, labels = train_mnist.draw_digits(["cmr10"], BATCH, np.random.default_rng(0))
    params, state = nn.init_params((784, H, 10), RELU_NET), {}
    Y = nn.one_hot(labels, 10)
    for step in range(2 * steps):
        if step == steps:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        _, cache = nn.forward(params, X, RELU_NET)
        params, state = nn.update(params, nn.backward(params, cache, Y, RELU_NET), state,
                                  1e-3, rule)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / steps


CONTESTANTS = {"nn.py": (nn_epochs, "numpy"), "PyTorch": (torch_tuned_epochs, "torch"),
               "tutorial": (torch_tutorial_epochs, "torch"),
               "sklearn": (sklearn_epochs, "sklearn"), "JAX": (jax_epochs, "jax"),
               "products": (bare_epochs, "numpy")}


def benchmark(rounds=5):
    """Print seconds per epoch, medians of interleaved rounds, and ratios."""
    names = [name for name, (_, module) in CONTESTANTS.items()
             if importlib.util.find_spec(module)]
    rng = np.random.default_rng(0)
    X, labels = train_mnist.draw_digits(train_mnist.FACES, 20_000, rng)
    print(f"seconds per epoch of {len(X):,} digits, 784-H-10, batches of {BATCH}, "
          f"{os.cpu_count()} cores, medians of {rounds} interleaved rounds")
    print(" " * 17 + "".join(f"{name:>10}" for name in names)
          + "   nn.py/PyTorch   nn.py/products (+- half the quartile distance)")
    ratios = []
    for H in BENCHMARK_LAYERS:
        params = nn.init_params((784, H, 10), RELU_NET)
        for rule in BENCHMARK_RULES:
            times = {name: [] for name in names}
            for turn in range(rounds):
                for name in names:
                    time.sleep(0.15)  # until the threads of the one before stop spinning
                    ticks = []
                    CONTESTANTS[name][0](X, labels, params, rule,
                                         lambda: ticks.append(time.perf_counter()))
                    # From tick to tick: set-up and the first epoch, a warm-up, go free.
                    times[name].append((ticks[-1] - ticks[0]) / (EPOCHS - 1))
            seconds = {name: np.median(times[name]) for name in names}
            line = f"H={H:<4} {rule:9} " + "".join(f"{s:10.3f}" for s in seconds.values())
            for rival in ("PyTorch", "products"):
                if rival in names:
                    ratio = np.array(times["nn.py"]) / times[rival]
                    low, high = np.quantile(ratio, (0.25, 0.75))
                    line += f"   {np.median(ratio):6.2f} +- {(high - low) / 2:.2f}"
                    ratios += [np.median(ratio)] if rival == "PyTorch" else []
            print(line, flush=True)
    if ratios:
        print(f"geometric mean of nn.py/PyTorch: {np.exp(np.mean(np.log(ratios))):.2f}")
    if importlib.util.find_spec("resource"):
        print("page faults of a step, H=800: " + ", ".join(
            f"{rule} {page_faults_of_a_step(rule):.1f}" for rule in BENCHMARK_RULES)
            + " (one array of 784x800 has 613 pages)")


if __name__ == "__main__":
    if "--benchmark" in sys.argv:
        benchmark()
    else:
        sys.exit(pytest.main([__file__, *sys.argv[1:]]))
