"""What launchers' variables say."""

import json

import pytest

from grpo.ranks import here, world
from grpo.ranks.launch import LISTS, RANKS, SIZES, first_address, place


@pytest.fixture
def launcher(monkeypatch):
    for name in [*SIZES, *LISTS, *RANKS, "MLX_JACCL_COORDINATOR", "NCCL_HOST_IP"]:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_without_a_launcher_a_process_is_alone(launcher):
    assert world() == 1 and place() == (0, 1) and here().size == 1 and first_address() is None


def test_a_ring(launcher, tmp_path):
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps([["10.0.0.1:5000", "10.0.0.1:5001"], ["10.0.0.2:5002"]]))
    launcher("MLX_RANK", "1")
    launcher("MLX_HOSTFILE", str(hosts))
    assert world() == 2 and place() == (1, 2) and first_address() == "10.0.0.1"


def test_mlx_launch_of_one_process(launcher, tmp_path):
    hosts = tmp_path / "hosts.json"
    hosts.write_text("\n")  # as mlx.launch -n 1 writes it
    launcher("MLX_RANK", "0")
    launcher("MLX_HOSTFILE", str(hosts))
    assert world() == 1


def test_jaccl(launcher, tmp_path):
    devices = tmp_path / "devices.json"
    devices.write_text(json.dumps([[None, "rdma_en5"], ["rdma_en5", None]]))
    launcher("MLX_RANK", "0")
    launcher("MLX_IBV_DEVICES", str(devices))
    launcher("MLX_JACCL_COORDINATOR", "192.168.1.2:32323")
    assert world() == 2 and first_address() == "192.168.1.2"


def test_nccl_and_mpi(launcher):
    launcher("MLX_WORLD_SIZE", "4")
    launcher("MLX_RANK", "3")
    launcher("NCCL_HOST_IP", "10.0.0.7")
    assert place() == (3, 4) and first_address() == "10.0.0.7"
    launcher("MLX_WORLD_SIZE", "")
    launcher("MLX_RANK", "")
    launcher("OMPI_COMM_WORLD_SIZE", "8")
    launcher("OMPI_COMM_WORLD_RANK", "5")
    assert place() == (5, 8)
