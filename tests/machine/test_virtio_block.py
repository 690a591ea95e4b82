# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtio block device, driven as a guest's driver does (Virtual I/O Device 1.2, sections 2.7, 3.1, 4.2 and 5.2)."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import fdt
import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError, board
from armprobe.machine.devices import VirtioBlock
from armprobe.machine.memory import disk_image

SECTORS = 100
QUEUE = board.RAM_BASE + (128 << 20)  # where the driver below has its queue: descriptors, available and used ring
AVAIL, USED, HEADER, STATUS, DATA = (QUEUE + page * 0x1000 for page in range(1, 6))
NEXT, WRITE, INDIRECT = 1, 2, 4
IN, OUT, FLUSH, GET_ID = 0, 1, 4, 8
ACKNOWLEDGE_AND_DRIVER, FEATURES_OK, DRIVER_OK, NEEDS_RESET = 3, 8, 4, 64
STEPS = 200_000 if "ARMPROBE_FUZZ" in os.environ else 3_000

Descriptor = tuple[int, int, int, int]


class Driver:
    """A driver that waits for each request."""

    def __init__(self, machine: Machine) -> None:
        disk = machine.disk
        assert disk is not None
        assert disk.base is not None
        self.machine, self.disk, self.base = machine, disk, disk.base

    @property
    def line(self) -> bool:
        """Whether the device asserts its interrupt."""
        return bool(self.machine.gic.level >> int(self.disk.interrupt) & 1)

    def get(self, offset: int) -> int:
        return int.from_bytes(self.machine.memory.physical.read(self.base + offset, 4), "little")

    def put(self, offset: int, value: int) -> None:
        self.machine.memory.physical.write(self.base + offset, struct.pack("<I", value))

    def start(self, num: int = 8, features: int = 1 << 32) -> None:
        """3.1.1."""
        self.put(0x70, 0)
        self.put(0x70, ACKNOWLEDGE_AND_DRIVER)
        for half in (0, 1):
            self.put(0x24, half)
            self.put(0x20, features >> 32 * half & 0xFFFF_FFFF)
        self.put(0x70, ACKNOWLEDGE_AND_DRIVER | FEATURES_OK)
        self.num, self.index = num, 0
        self.machine.memory.physical.write(QUEUE, bytes(0x6000))
        self.put(0x30, 0)
        self.put(0x38, num)
        for offset, address in ((0x80, QUEUE), (0x90, AVAIL), (0xA0, USED)):
            self.put(offset, address & 0xFFFF_FFFF)
            self.put(offset + 4, address >> 32)
        self.put(0x44, 1)
        self.put(0x70, ACKNOWLEDGE_AND_DRIVER | FEATURES_OK | DRIVER_OK)

    def offer(self, *descriptors: Descriptor, head: int = 0) -> None:
        """Make a chain available and notify the device."""
        memory = self.machine.memory.physical
        for number, descriptor in enumerate(descriptors):
            memory.write(QUEUE + 16 * number, struct.pack("<QIHH", *descriptor))
        memory.write(AVAIL + 4 + 2 * (self.index % self.num), struct.pack("<H", head))
        self.index = self.index + 1 & 0xFFFF
        memory.write(AVAIL + 2, struct.pack("<H", self.index))
        self.put(0x50, 0)

    def request(self, kind: int, sector: int, data: bytes = b"", wanted: int = 0) -> tuple[int, bytes]:
        """The status of a request and what it has read."""
        memory = self.machine.memory.physical
        memory.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
        memory.write(DATA, data)
        memory.write(STATUS, b"\xff")
        buffer = (DATA, wanted, NEXT | WRITE, 2) if wanted else (DATA, len(data), NEXT, 2)
        self.offer((HEADER, 16, NEXT, 1 if wanted or data else 2), buffer, (STATUS, 1, WRITE, 0))
        used, number, length = struct.unpack("<HII", memory.read(USED + 2, 2) + self._used(self.index - 1))
        assert (used, number, length) == (self.index, 0, wanted + 1)
        assert (self.get(0x60), self.line) == (1, True)
        self.put(0x64, 1)
        assert (self.get(0x60), self.line) == (0, False)
        return memory.read(STATUS, 1)[0], memory.read(DATA, wanted)

    def _used(self, index: int) -> bytes:
        return self.machine.memory.physical.read(USED + 4 + 8 * (index % self.num), 8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(random.Random(1).randbytes(SECTORS * 512))
    return path


@pytest.fixture
def driver(image: Path) -> Driver:
    driver = Driver(machine.load("demo", disk=image))
    driver.start()
    return driver


def test_identification_and_configuration(driver: Driver) -> None:
    """4.2.2, 5.2.4: magic, version 2, device 2; VIRTIO_F_VERSION_1; the capacity in sectors."""
    assert [driver.get(offset) for offset in (0x00, 0x04, 0x08)] == [0x74726976, 2, 2]
    driver.put(0x14, 1)
    assert driver.get(0x10) & 1
    assert (driver.get(0x100), driver.get(0x104)) == (SECTORS, 0)
    driver.put(0x30, 1)
    assert driver.get(0x34) == 0  # there is no second queue


def test_node_in_the_device_tree(driver: Driver) -> None:
    """As Documentation/devicetree/bindings/virtio/mmio.yaml has it."""
    node = fdt.parse_dtb(driver.machine.guest.device_tree).get_node(f"/virtio_mmio@{driver.base:x}")
    assert node.get_property("compatible").value == "virtio,mmio"
    assert list(node.get_property("interrupts")) == [0, driver.disk.interrupt - 32, 4]


def test_reads_and_writes(driver: Driver, image: Path) -> None:
    content = bytearray(image.read_bytes())
    before, generator = bytes(content), random.Random(2)
    for _ in range(200):
        sector, count = generator.randrange(SECTORS), generator.randrange(1, 8)
        inside = sector + count <= SECTORS
        at, size = sector * 512, count * 512
        if generator.random() < 0.5:
            data = generator.randbytes(size)
            assert driver.request(OUT, sector, data)[0] == (0 if inside else 1)
            if inside:
                content[at : at + size] = data
        else:
            status, found = driver.request(IN, sector, wanted=size)
            assert (status, found) == ((0, content[at : at + size]) if inside else (1, bytes(size)))
    assert driver.request(FLUSH, 0) == (0, b"")
    assert driver.request(GET_ID, 0, wanted=20) == (0, b"armprobe".ljust(20, b"\0"))
    assert driver.request(3, 0)[0] == 2  # VIRTIO_BLK_S_UNSUPP
    assert driver.request(IN, 0, wanted=100)[0] == 1  # no whole sector
    assert image.read_bytes() == before
    with (image.parent / "export").open("w+b") as out:
        driver.disk.image.export(out)
    assert (image.parent / "export").read_bytes() == content


def test_no_interrupt_where_the_driver_wants_none(driver: Driver) -> None:
    driver.machine.memory.physical.write(AVAIL, struct.pack("<H", 1))
    driver.offer((HEADER, 16, NEXT, 1), (STATUS, 1, WRITE, 0))
    assert driver.get(0x60) == 0
    assert driver.machine.memory.physical.read(USED + 2, 2) == b"\1\0"


def test_features_that_the_device_does_not_have(driver: Driver) -> None:
    """3.1.1, steps 5 and 6; a driver without VIRTIO_F_VERSION_1 is one of legacy devices."""
    for features in (1 << 32 | 1 << 5, 1 << 9, 0):
        driver.start(features=features)
        driver.put(0x70, ACKNOWLEDGE_AND_DRIVER | FEATURES_OK)
        assert driver.get(0x70) == ACKNOWLEDGE_AND_DRIVER


BAD: dict[str, tuple[Callable[[Driver], None], str]] = {
    "circle": (lambda driver: driver.offer((HEADER, 16, NEXT, 1), (DATA, 512, NEXT, 0)), "goes in a circle"),
    "head": (lambda driver: driver.offer((HEADER, 16, 0, 0), head=8), "there is no descriptor 8"),
    "next": (lambda driver: driver.offer((HEADER, 16, NEXT, 0xFFFF)), "there is no descriptor 65535"),
    "indirect": (lambda driver: driver.offer((HEADER, 16, INDIRECT, 0)), "is indirect"),
    "order": (lambda driver: driver.offer((STATUS, 1, WRITE | NEXT, 1), (HEADER, 16, 0, 0)), "behind a writable one"),
    "no header": (lambda driver: driver.offer((STATUS, 1, WRITE, 0)), "has no header"),
    "no status": (lambda driver: driver.offer((HEADER, 16, 0, 0)), "no room for its status"),
    "wild": (lambda driver: driver.offer((1 << 60, 16, NEXT, 1), (STATUS, 1, WRITE, 0)), "there is no memory for 16"),
    "device": (lambda driver: driver.offer((driver.base, 16, NEXT, 1), (STATUS, 1, WRITE, 0)), "there is no memory"),
    "large": (
        lambda driver: driver.offer((HEADER, 16, NEXT, 1), (QUEUE, 0xFFFF_FFFF, WRITE, 0)),
        "has 4,294,967,311 bytes",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_driver_that_makes_errors(driver: Driver, what: str) -> None:
    """2.1.2: the device asks for a reset, with a configuration change interrupt, and works again after it."""
    offer, why = BAD[what]
    offer(driver)
    assert driver.get(0x70) & NEEDS_RESET
    assert why in driver.disk.state["error"]
    assert driver.get(0x60) == 2
    used = driver.machine.memory.physical.read(USED + 2, 2)
    driver.put(0x50, 0)
    assert driver.machine.memory.physical.read(USED + 2, 2) == used == b"\0\0"
    driver.start()
    assert driver.request(IN, 0, wanted=512)[0] == 0


def test_more_requests_than_descriptors(driver: Driver) -> None:
    driver.machine.memory.physical.write(AVAIL + 2, struct.pack("<H", 9))
    driver.put(0x50, 0)
    assert "more requests are available" in driver.disk.state["error"]


@pytest.mark.parametrize("num", [0, 3, 256, 0xFFFF_FFFF])
def test_a_queue_of_another_size(driver: Driver, num: int) -> None:
    driver.start(num)
    assert "no power of 2" in driver.disk.state["error"]
    assert driver.get(0x44) == 0


def test_random_drivers(image: Path) -> None:
    """Whatever a driver does, no access raises, and the image's file stays as it is. A reset makes all well again."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    generator, before = random.Random(seed), image.read_bytes()
    driver = Driver(machine.load("demo", disk=image))
    memory = driver.machine.memory.physical
    driver.start()
    for _ in range(STEPS):
        match generator.randrange(8):
            case 0:
                driver.put(generator.randrange(0, 0x200, 4), generator.choice((0, 1, 8, generator.getrandbits(32))))
            case 1:
                driver.get(generator.randrange(0, 0x200, 4))
            case 2:
                memory.write(QUEUE + generator.randrange(0x5000), generator.randbytes(generator.randrange(1, 24)))
            case 3 | 4:
                places = (HEADER, STATUS, DATA, QUEUE, AVAIL, USED, generator.getrandbits(64))
                sizes = (0, 1, 16, 512, 4096, generator.getrandbits(32))
                chain = [
                    (generator.choice(places), generator.choice(sizes), generator.randrange(8), generator.randrange(9))
                    for _ in range(8)
                ]
                driver.offer(*chain, head=generator.randrange(9))
            case 5:
                memory.write(HEADER, struct.pack("<IIQ", generator.randrange(12), 0, generator.getrandbits(7)))
            case 6:
                driver.put(0x50, 0)
            case 7 if driver.get(0x70) & NEEDS_RESET or generator.random() < 0.1:
                driver.start(generator.choice((1, 2, 8, 128)))
    driver.start()
    assert driver.request(IN, 0, wanted=512)[0] == 0
    assert image.read_bytes() == before


def test_states_from_a_hostile_file(driver: Driver) -> None:
    """Values of the right type, which are all that `Devices` checks."""
    generator = random.Random(3)
    numbers = [name for name, value in driver.disk.state.items() if type(value) is int]
    for _ in range(300):
        driver.start()
        driver.offer((HEADER, 16, NEXT, 1), (STATUS, 1, WRITE, 0))
        values = (-1, 0, 1 << 16, 1 << 40, -(1 << 70))
        driver.disk.state |= {name: generator.choice(values) for name in generator.sample(numbers, 3)}
        for offset in (0x10, 0x44, 0x60, 0x70, 0x34):
            driver.get(offset)
        for offset in (0x20, 0x38, 0x50, 0x64, 0x44, 0x50):
            driver.put(offset, 0)


def test_snapshots_and_going_back(driver: Driver, image: Path) -> None:
    """The pages of the disk are as the other memory's: of each state there is its own."""
    first = image.read_bytes()[:512]
    states = []
    for number in range(4):
        states.append((driver.machine.snapshot(), driver.index, driver.request(IN, 0, wanted=512)[1]))
        driver.request(OUT, 0, bytes([number]) * 512)
        driver.request(OUT, 8 * number + 8, bytes([number]) * 512)
    assert states[0][2] == first
    for snapshot, index, expected in [*states, *reversed(states), states[2]]:
        driver.machine.restore(snapshot)
        driver.index = index
        assert driver.request(IN, 0, wanted=512) == (0, expected)
    driver.machine.reset()
    assert driver.get(0x70) == 0
    driver.start()
    assert driver.request(IN, 0, wanted=512) == (0, first)


def test_reset_without_checkpoints(image: Path) -> None:
    driver = Driver(machine.load("demo", disk=image, history=False))
    driver.start()
    driver.request(OUT, 0, b"x" * 512)
    driver.machine.reset()
    driver.start()
    assert driver.request(IN, 0, wanted=512) == (0, image.read_bytes()[:512])


def test_saved_files(driver: Driver, image: Path, tmp_path: Path) -> None:
    driver.request(OUT, 9, b"x" * 512)
    saved = tmp_path / "saved"
    driver.machine.save(saved)
    driver.request(OUT, 9, b"y" * 512)
    driver.request(OUT, 20, b"y" * 512)

    resumed = Driver(machine.load(saved, disk=image))
    resumed.num, resumed.index = 8, 1
    assert resumed.request(IN, 9, wanted=512) == (0, b"x" * 512)
    resumed.request(OUT, 9, b"z" * 512)
    resumed.machine.reset()
    resumed.index = 1
    assert resumed.request(IN, 9, wanted=512) == (0, b"x" * 512)

    driver.machine.resume(saved)
    driver.index = 1
    assert driver.request(IN, 9, wanted=512) == (0, b"x" * 512)
    assert driver.request(IN, 20, wanted=512) == (0, image.read_bytes()[20 * 512 :][:512])

    with pytest.raises(MachineError, match="has a disk: give its image"):
        machine.load(saved)
    machine.load("demo").save(tmp_path / "without")
    with pytest.raises(MachineError, match="was started without a disk"):
        machine.load(tmp_path / "without", disk=image)
    other = tmp_path / "other"
    other.write_bytes(image.read_bytes())
    os.utime(other, ns=(0, 0))
    with pytest.raises(MachineError, match="is not the disk image that the snapshot was made with"):
        machine.load(saved, disk=other)


def test_an_image_that_changes(driver: Driver, image: Path) -> None:
    """What was read repeats exactly, or nothing is read."""
    driver.request(OUT, 0, b"x" * 4096)
    os.utime(image, ns=(0, 0))
    with pytest.raises(MachineError, match="was changed while it is the guest's disk"):
        driver.request(IN, 50, wanted=512)


def test_as_much_as_is_kept(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_image, "MOST_WRITTEN", 2)
    assert [driver.request(OUT, sector, b"x" * 512)[0] for sector in (0, 8, 16, 1, 9)] == [0, 0, 1, 0, 0]
    assert "which is the limit" in driver.disk.state["error"]


@pytest.mark.parametrize(("size", "why"), [(0, "has 0 bytes"), (513, "has 513 bytes"), (100, "has 100 bytes")])
def test_what_is_no_image(tmp_path: Path, size: int, why: str) -> None:
    (tmp_path / "image").write_bytes(bytes(size))
    with pytest.raises(MachineError, match=why):
        machine.load("demo", disk=tmp_path / "image")


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path / "pipe", "is a pipe"), (tmp_path, "is a folder"), (tmp_path / "no", "No such file")):
        with pytest.raises(MachineError, match=why):
            machine.load("demo", disk=path)


def test_it_is_one_of_the_devices(driver: Driver) -> None:
    assert isinstance(driver.machine.devices["virtio_mmio"], VirtioBlock)
