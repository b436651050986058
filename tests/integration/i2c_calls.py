"""Runs under the preloaded library, started by test_nerveskey_sim.py: i2c-dev's interface call by call, with results and errno as the kernel documents them. Ends with status 0 or a traceback."""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import subprocess
import sys
import threading

SLAVE, SLAVE_FORCE, RETRIES, TIMEOUT, TENBIT, FUNCS, RDWR, PEC, SMBUS = 0x0703, 0x0706, 0x0701, 0x0702, 0x0704, 0x0705, 0x0707, 0x0708, 0x0720
WAKE_ANSWER = bytes.fromhex("04113343")
INFO_ANSWER = bytes.fromhex("070000600383bb")
INFO = bytes.fromhex("030730000000035D")
libc = ctypes.CDLL(None, use_errno=True)


class Message(ctypes.Structure):
    _fields_ = [("addr", ctypes.c_uint16), ("flags", ctypes.c_uint16), ("len", ctypes.c_uint16), ("buf", ctypes.c_void_p)]


class Transfer(ctypes.Structure):
    _fields_ = [("msgs", ctypes.POINTER(Message)), ("nmsgs", ctypes.c_uint32)]


class Smbus(ctypes.Structure):
    _fields_ = [("read_write", ctypes.c_uint8), ("command", ctypes.c_uint8), ("size", ctypes.c_uint32), ("data", ctypes.c_void_p)]


def ioctl(fd, request, argument):
    """As the C call; a negative errno instead of -1."""
    result = libc.ioctl(fd, ctypes.c_ulong(request), argument)
    return -ctypes.get_errno() if result < 0 else result


def rdwr(fd, *messages, count=None):
    buffers = [ctypes.create_string_buffer(m[2], len(m[2])) if isinstance(m[2], bytes) else ctypes.create_string_buffer(max(m[2], 1)) for m in messages]
    array = (Message * max(len(messages), 1))(*(Message(m[0], m[1], len(m[2]) if isinstance(m[2], bytes) else m[2], ctypes.addressof(b)) for m, b in zip(messages, buffers)))
    result = ioctl(fd, RDWR, ctypes.byref(Transfer(array, len(messages) if count is None else count)))
    return result, [b.raw for m, b in zip(messages, buffers) if m[1] & 1]


def smbus(fd, read, command, size, data=b""):
    block = ctypes.create_string_buffer(data, 34)
    return ioctl(fd, SMBUS, ctypes.byref(Smbus(read, command, size, ctypes.addressof(block)))), block.raw


def fails(error, call, *args):
    try:
        call(*args)
    except OSError as e:
        assert e.errno == error, (e.errno, error)
        return
    raise AssertionError(f"{call} did not fail")


def wake(fd):
    assert rdwr(fd, (0, 0, b"\0"))[0] == -errno.ENXIO
    result, (answer,) = rdwr(fd, (0x60, 1, 4))
    assert (result, answer) == (1, WAKE_ANSWER), (result, answer)


def sleep(fd):
    assert rdwr(fd, (0x60, 0, b"\1"))[0] == 1


def kinds(fd):
    """What the file is said to be."""
    for st in (os.stat("/dev/i2c-1"), os.lstat("/dev/i2c-1"), os.fstat(fd), os.stat(fd)):
        assert stat.S_ISCHR(st.st_mode) and os.major(st.st_rdev) == 89 and os.minor(st.st_rdev) == 1, st
    assert os.access("/dev/i2c-1", os.R_OK | os.W_OK) and not os.access("/dev/i2c-2", os.F_OK)
    fails(errno.ENOENT, os.stat, "/dev/i2c-2")
    fails(errno.ENOENT, os.open, "/dev/i2c-2", os.O_RDWR)
    fails(errno.ENOENT, os.open, "/dev/i2c-1x", os.O_RDWR)
    fails(errno.ENOENT, os.open, "/dev/i2c-", os.O_RDWR)
    assert not fcntl.fcntl(libc.open(b"/dev/i2c-1", os.O_RDWR), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def slave(fd):
    """read and write at the address of I2C_SLAVE."""
    wake(fd)
    assert ioctl(fd, SLAVE, 0x60) == 0 and os.write(fd, INFO) == len(INFO) and os.read(fd, 7)[:2] == b"\7\0"
    assert os.write(fd, b"\0") == 1 and os.read(fd, 1) == b"\7" and os.read(fd, 6) == INFO_ANSWER[1:], "the pointer goes on where the last read stopped"
    assert ioctl(fd, SLAVE_FORCE, 0x61) == 0
    fails(errno.ENXIO, os.read, fd, 1)
    fails(errno.ENXIO, os.write, fd, b"\3")
    assert ioctl(fd, SLAVE, 0x80) == -errno.EINVAL and ioctl(fd, SLAVE, 0x60) == 0
    assert os.write(fd, b"\1") == 1
    fails(errno.ENXIO, os.read, fd, 1)
    assert ioctl(fd, SLAVE, 0) == 0
    fails(errno.ENXIO, os.write, fd, b"\0")  # the general call
    assert ioctl(fd, SLAVE, 0x60) == 0 and os.read(fd, 4) == WAKE_ANSWER
    sleep(fd)


def numbers(fd):
    functions = ctypes.c_ulong(0)
    assert ioctl(fd, FUNCS, ctypes.byref(functions)) == 0 and functions.value & 1 and functions.value & 0x00010000 and not functions.value & 0x8
    assert ioctl(fd, FUNCS, None) == -errno.EFAULT
    assert ioctl(fd, RETRIES, 3) == 0 and ioctl(fd, TIMEOUT, 100) == 0 and ioctl(fd, TIMEOUT, ctypes.c_ulong(1 << 40)) == -errno.EINVAL
    assert ioctl(fd, TENBIT, 0) == 0 and ioctl(fd, TENBIT, 1) == -errno.EINVAL
    assert ioctl(fd, PEC, 0) == 0 and ioctl(fd, PEC, 1) == -errno.EINVAL
    assert ioctl(fd, 0x0799, 0) == -errno.ENOTTY


def combined(fd):
    wake(fd)
    result, (answer,) = rdwr(fd, (0x60, 0, INFO), (0x60, 1, 7))
    assert result == 2 and answer == INFO_ANSWER, (result, answer)
    result, _ = rdwr(fd, (0x61, 0, b"\3"), (0x60, 0, b"\1"))
    assert result == -errno.ENXIO
    assert rdwr(fd, (0x60, 1, 1))[0] == 1, "what follows a message that isn't acknowledged is not sent"
    assert rdwr(fd, (0x60, 0, b""))[0] == 1 and rdwr(fd, (0x61, 0, b""))[0] == -errno.ENXIO
    for messages, error in (([(0x60, 0x10, b"x")], errno.EINVAL), ([(0x80, 0, b"x")], errno.EINVAL), ([(0x60, 0x4000, b"x")], errno.EOPNOTSUPP), ([(0x60, 0x401, 2)], errno.EOPNOTSUPP),
                            ([(0x60, 1, 4097)], errno.EINVAL), ([(0x60, 0, b"\0")] * 43, errno.EINVAL)):
        assert rdwr(fd, *messages)[0] == -error, messages
    assert rdwr(fd, (0x60, 0, b"\0"), count=0)[0] == -errno.EINVAL
    assert rdwr(fd, *[(0x60, 0, b"\0")] * 42)[0] == 42
    assert ioctl(fd, RDWR, None) == -errno.EFAULT and ioctl(fd, RDWR, ctypes.byref(Transfer(None, 1))) == -errno.EINVAL
    assert rdwr(fd, (0x60, 1, 4096))[0] == 1
    sleep(fd)


def smbus_forms(fd):
    wake(fd)
    assert ioctl(fd, SLAVE, 0x60) == 0 and os.write(fd, INFO) == 8
    assert smbus(fd, 0, 0, 0)[0] == 0                                   # quick
    assert smbus(fd, 0, 0, 1)[0] == 0                                   # byte: word address 0, the pointer back
    assert smbus(fd, 1, 0, 1) == (0, b"\7" + bytes(33))                 # and the first byte
    assert smbus(fd, 1, 0, 2)[1][:1] == b"\7"                           # byte data: both in one
    assert smbus(fd, 1, 0, 3)[1][:2] == b"\7\0"                         # word data, low byte first
    assert smbus(fd, 1, 0, 8, b"\5")[1][:6] == b"\5" + INFO_ANSWER[:5]  # block of five
    assert smbus(fd, 1, 0, 6)[1][:8] == b"\x20" + INFO_ANSWER     # block of 32
    assert smbus(fd, 0, 3, 8, bytes([7]) + INFO[1:])[0] == 0            # a command packet is a block write at "register" 3
    assert os.read(fd, 1) == b"\7"
    assert smbus(fd, 0, 8, 8, b"\0")[0] == -errno.EINVAL and smbus(fd, 0, 8, 8, b"\x21")[0] == -errno.EINVAL
    assert smbus(fd, 1, 0, 5)[0] == -errno.EOPNOTSUPP and smbus(fd, 1, 0, 9)[0] == -errno.EINVAL
    assert ioctl(fd, SMBUS, None) == -errno.EFAULT and ioctl(fd, SMBUS, ctypes.byref(Smbus(1, 0, 2, None))) == -errno.EINVAL
    assert ioctl(fd, SLAVE, 0x61) == 0 and smbus(fd, 0, 0, 0)[0] == -errno.ENXIO
    sleep(fd)


def descriptors(fd):
    """Duplicates, children and executed programs share the address as they share a device's; others have their own."""
    wake(fd)
    twin = os.dup(fd)
    assert ioctl(twin, SLAVE, 0x60) == 0
    os.write(fd, INFO)
    assert os.read(twin, 1) == b"\7"
    other = os.open("/dev/i2c-1", os.O_RDWR)
    fails(errno.ENXIO, os.read, other, 1)
    child = os.fork()
    if child == 0:
        os._exit(0 if os.write(fd, b"\0") == 1 and os.read(fd, 7)[:1] == b"\7" and ioctl(fd, SLAVE, 0x61) == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    fails(errno.ENXIO, os.read, twin, 1)
    assert ioctl(fd, SLAVE, 0x60) == 0
    code = f"import os,fcntl; fcntl.ioctl({fd}, 0x0703, 0x60); os.write({fd}, b'\\0'); raise SystemExit(os.read({fd}, 1) != b'\\7')"
    assert subprocess.run([sys.executable, "-c", code], pass_fds=[fd], timeout=60).returncode == 0
    os.close(other)
    os.close(twin)
    # A number that came free belongs to somebody else afterwards.
    number = os.dup(fd)
    os.close(number)
    plain = os.open("/dev/null", os.O_RDWR)
    assert plain == number and os.write(plain, b"x") == 1 and os.read(plain, 5) == b""
    assert ioctl(plain, SLAVE, 0x60) == -errno.ENOTTY
    os.close(plain)
    sleep(fd)


def advisory(fd):
    other = os.open("/dev/i2c-1", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fails(errno.EAGAIN, fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fails(errno.ENXIO, os.read, other, 1)  # the chip sleeps; the lock keeps nobody from the bus
    fcntl.flock(fd, fcntl.LOCK_UN)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def threads(fd):
    """Combined transfers of many threads never mix: each reads back from the pointer that it set."""
    wake(fd)
    assert rdwr(fd, (0x60, 0, INFO))[0] == 1
    wrong = []

    def work():
        mine = os.open("/dev/i2c-1", os.O_RDWR)
        for _ in range(100):
            result, parts = rdwr(mine, (0x60, 0, b"\0"), (0x60, 1, 3), (0x60, 1, 4))
            if result != 3 or b"".join(parts) != INFO_ANSWER:
                wrong.append((result, parts))
        os.close(mine)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong[:3]
    sleep(fd)


def main():
    fd = os.open("/dev/i2c-1", os.O_RDWR)
    before = len(os.listdir("/proc/self/fd"))
    for test in (kinds, slave, numbers, combined, smbus_forms, descriptors, advisory, threads):
        test(fd)
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the one that kinds left open on purpose


main()
