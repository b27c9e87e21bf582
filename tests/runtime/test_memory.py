"""How much memory is free where containers and shells set limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spinmeround.runtime import memory


@pytest.mark.parametrize(
    ("line", "folder", "limit", "usage"),
    [
        ("0::/", "", "memory.max", "memory.current"),
        ("0::/user.slice/job", "user.slice", "memory.max", "memory.current"),
        ("0::/named/outside/the/container", "", "memory.max", "memory.current"),
        ("4:memory:/job", "memory/job", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_containers_limit_memory(tmp_path, line, folder, limit, usage):
    membership, group = tmp_path / "cgroup", tmp_path / "groups" / folder
    group.mkdir(parents=True)
    membership.write_text(f"12:cpu:/job\n{line}\n")
    (group / limit).write_text("max\n")
    (group / usage).write_text("600\n")
    (group / "memory.stat").write_text("anon 400\ninactive_file 150\n")
    assert memory._free_in_cgroups(tmp_path / "groups", membership) == []
    (group / limit).write_text("1000\n")
    assert memory._free_in_cgroups(tmp_path / "groups", membership) == [550]


def test_systems_without_control_groups(tmp_path):
    assert memory._free_in_cgroups(tmp_path, tmp_path / "nothing") == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no notice of this limit")
def test_a_shell_limits_memory():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from spinmeround.runtime.memory import free_bytes\n"
        "print(free_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2**31
