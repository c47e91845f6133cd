"""Run `benchmarks.cameras.check` in a virtual machine with Debian's kernel and its driver vivid.

    apt-get install qemu-system-x86 busybox-static kmod
    python -m benchmarks.cameras.boot BUNDLE

The machine has this machine's files, read-only. The kernel is downloaded by apt, without being
installed. It takes two to eight minutes, without hardware virtualisation.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for module in $($b cat /order); do $b insmod /modules/$module; done
$b insmod /modules/vivid.ko n_devs=2 node_types=0x1,0x1 num_inputs=1,1 input_types=0x0,0x0
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=1048576 host /host
$b mount -t tmpfs tmp /own; $b mkdir /own/upper /own/work /own/root
$b mount -t overlay -o lowerdir=/host,upperdir=/own/upper,workdir=/own/work overlay /own/root
for folder in dev proc sys; do $b mount --bind /$folder /own/root/$folder; done
$b chroot /own/root /bin/sh -c 'cd {folder} && PATH=/usr/bin:/bin {command}' && $b echo PASSED
$b poweroff -f
"""
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "vivid")
_LONGEST = 600  # s


def main(bundle: str) -> int:
    """Boot the machine and run the check; 0 when it passed."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        kernel = unpacked_kernel(place)
        initrd = place / "initrd.gz"
        check = f"{sys.executable} -m benchmarks.cameras.check {Path(bundle).absolute()}"
        initrd.write_bytes(gzip.compress(first_files(place, kernel, check), 1))
        machine = [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-nographic",
            "-no-reboot", "-kernel", str(next((place / "kernel/boot").glob("vmlinuz-*"))),
            "-initrd", str(initrd), "-append", "console=ttyS0 loglevel=3 no_timer_check panic=1",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,"
            "multidevs=remap",
        ]  # fmt: skip
        done = subprocess.run(
            machine, stdin=subprocess.DEVNULL, stdout=-1, timeout=_LONGEST, check=True
        )
    output = done.stdout.decode(errors="replace")
    print(output)
    return 0 if "PASSED" in output else 1


def unpacked_kernel(place: Path) -> str:
    """Download and unpack Debian's kernel; returns its version."""
    depends = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True
    ).stdout
    package = depends.split("Depends:")[1].split()[0]
    subprocess.run(["apt-get", "-q", "download", package], cwd=place, check=True)
    (archive,) = place.glob("linux-image-*.deb")
    subprocess.run(["dpkg", "-x", archive, place / "kernel"], check=True)
    version = package.removeprefix("linux-image-")
    subprocess.run(["/sbin/depmod", "-b", place / "kernel", version], check=True)
    return version


def first_files(place: Path, version: str, command: str) -> bytes:
    """The file system that the kernel starts with: busybox, modules and a script."""
    root = place / "first"
    for folder in ("bin", "modules", "proc", "sys", "dev", "host", "own"):
        (root / folder).mkdir(parents=True)
    order: dict[str, None] = {}
    for module in _MODULES:
        shown = subprocess.run(
            ["/sbin/modprobe", "-d", place / "kernel", "-S", version, "--show-depends", module],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        for line in shown.splitlines():
            if line.startswith("insmod"):
                path = Path(line.split()[1])
                (root / "modules" / path.name).write_bytes(path.read_bytes())
                order[path.name] = None
    del order["vivid.ko"]
    (root / "order").write_text("\n".join(order))
    (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    script = _INIT.replace("{folder}", str(Path.cwd())).replace("{command}", command)
    (root / "init").write_text(script)
    for file in ("bin/busybox", "init"):
        (root / file).chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    return subprocess.run(
        ["cpio", "-o", "-H", "newc"],
        cwd=root,
        input=names.encode(),
        capture_output=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
