"""Two machines, one run: two network namespaces of this one, with a cable between them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tunesmith.testing.small_run import small_plan, small_plugins

ADDRESSES = ("192.0.2.1", "192.0.2.2")
#: The first machine is where the script runs; the second one is a namespace that a sleeping process holds open.
SCRIPT = """
set -e
ip link set lo up
unshare -n sleep 500 & other=$!
for _ in $(seq 50); do [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ] && break; sleep 0.1; done
ip link add cable0 type veth peer name cable1
ip link set cable1 netns $other
ip addr add {0}/24 dev cable0; ip link set cable0 up
there="nsenter -t $other -n"
$there ip link set lo up; $there ip addr add {1}/24 dev cable1; $there ip link set cable1 up
GLOO_SOCKET_IFNAME=cable1 $there {python} {launcher} {second} & second=$!
status=0
GLOO_SOCKET_IFNAME=cable0 {python} {launcher} {first} || status=$?
wait $second || status=$?
kill $other
exit $status
"""
TRY = "unshare -n true && ip link add cable0 type veth peer name cable1"


def why_not() -> str:
    """Why this machine cannot be two; nothing where it can."""
    lacking = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if lacking:
        return f"there is no {', '.join(lacking)}"
    tried = subprocess.run(["unshare", "-Urn", "sh", "-c", TRY], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"namespaces are not allowed: {tried.stderr.strip()}"


def test_two_machines_do_one_run(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    folders = [tmp_path / "first", tmp_path / "second"]
    for rank, folder in enumerate(folders):
        folder.mkdir()
        keys = {"nnodes": "2", "node_rank": rank, "master_addr": ADDRESSES[0], "nproc_per_node": 1}
        steps = {"max_steps": 3, "save_strategy": "steps", "save_steps": 3, "output_dir": str(tmp_path / "out")}
        plan = small_plan(folder, small_plugins(), "small", picked={"launchers": "torchrun"}, **keys, **steps)
        (folder / "plan.json").write_text(plan.to_json())
        (folder / "tunesmith_local.py").write_text("TUNESMITH_API = (1, 0)\n")
    launcher = Path(__file__).with_name("launch_small.py")
    script = SCRIPT.format(*ADDRESSES, python=sys.executable, launcher=launcher, first=folders[0], second=folders[1])
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(launcher.parent)}
    done = subprocess.run(
        ["unshare", "-Urn", "bash", "-c", script], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    held = json.loads((tmp_path / "out/checkpoint-3/manifest.json").read_text())["files"]
    assert {"rng-0.json", "rng-1.json"} <= set(held)
