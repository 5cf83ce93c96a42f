"""State dictionaries survive safetensors and JSON bit for bit, and nothing is pickled."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tunesmith.runtime.tensor_tree import load_tree, save_tree


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tree = {
        "state": {
            0: {"step": torch.tensor(3.0), "half": torch.tensor([1.5], dtype=torch.bfloat16), "view": shared[::2]},
            1: shared,
        },
        "groups": [{"betas": (0.9, 0.999), "lr": 1e-5, "fused": None, "on": True, "dtype": torch.float16}],
        "numbers": (np.float64(0.1), np.array([1, 2], dtype=np.uint32), math.inf, 2**70),
        ("odd", 1): "key",
    }
    save_tree(tmp_path / "optimizer", tree)
    found = load_tree(tmp_path / "optimizer")
    assert found.keys() == tree.keys()
    assert torch.equal(found["state"][0]["view"], torch.tensor([0.0, 2.0, 4.0]))
    assert found["state"][0]["half"].dtype is torch.bfloat16
    assert found["state"][0]["step"].shape == ()
    assert torch.equal(found["state"][1], shared)
    assert found["groups"] == tree["groups"]
    assert found["numbers"][0] == 0.1
    assert np.array_equal(found["numbers"][1], tree["numbers"][1])
    assert found["numbers"][1].dtype == np.uint32
    assert found["numbers"][2:] == (math.inf, 2**70)


def test_random_states_continue_where_they_were(tmp_path: Path) -> None:
    save_tree(tmp_path / "rng", {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()})
    expected = random.random(), np.random.rand(), torch.rand(())
    state = load_tree(tmp_path / "rng")
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    assert (random.random(), np.random.rand(), torch.rand(())) == expected


def test_what_only_pickle_could_save_is_refused_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"scheduler\.lambdas\[0\] is a function"):
        save_tree(tmp_path / "scheduler", {"lambdas": [lambda step: step]})
