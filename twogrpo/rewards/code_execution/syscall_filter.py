"""The system calls that a judged program may not make, as a seccomp filter for bubblewrap.

Denied are the ways out of the namespaces (socket families other than UNIX, keys, new user
namespaces, tracing), the kernel's largest surfaces (io_uring, bpf, userfaultfd, perf), and memory
that belongs to no process, which nobody could count (memfd, System V IPC, shared anonymous
mappings, pages given to a pipe, larger buffers of sockets, those of TCP). Written by hand:
libseccomp's own Python bindings are not on PyPI.
"""

from __future__ import annotations

import errno
import platform
import struct

# The numbers of Linux's headers, x86_64's (asm/unistd_64.h) and aarch64's (asm-generic/unistd.h).
_DENIED = {
    "ptrace": (101, 117), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "unshare": (272, 97),
    "setns": (308, 268), "vmsplice": (278, 75), "perf_event_open": (298, 241), "bpf": (321, 280),
    "userfaultfd": (323, 282), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
_SOCKET, _SOCKETPAIR, _CLONE, _MMAP, _CLONE3 = (41, 198), (53, 199), (56, 220), (9, 222), 435
_SETSOCKOPT, _BUFFERS = (54, 208), (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF and their FORCE
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_UNIX = 1
_NEW_USER, _SHARED_ANONYMOUS = 0x10000000, 0x21

# An instruction: its code, how many to skip if its condition holds and if not, and its operand.
_LOAD, _AND, _RETURN, _EQUALS, _HAS_BITS, _AT_LEAST = 0x20, 0x54, 0x06, 0x15, 0x45, 0x35
_NUMBER, _ARCH = (_LOAD, 0, 0, 0), (_LOAD, 0, 0, 4)
# Lower halves: little-endian.
_ARGUMENT_0, _ARGUMENT_2, _ARGUMENT_3 = (_LOAD, 0, 0, 16), (_LOAD, 0, 0, 32), (_LOAD, 0, 0, 40)
_ALLOW, _KILL = (_RETURN, 0, 0, 0x7FFF0000), (_RETURN, 0, 0, 0x80000000)


def syscall_filter() -> bytes:
    """The filter as the kernel reads it; raises ValueError for another kind of processor."""
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise ValueError(f"no sandbox works here: its filter of system calls knows no {machine}")
    column = list(_AUDIT_ARCH).index(machine)
    family = [_ARGUMENT_0, (_EQUALS, 1, 0, _UNIX), _fail(errno.EAFNOSUPPORT)]
    options = [(_EQUALS, 0, 1, option) for option in _BUFFERS]
    options = [step for option in options for step in (option, _fail(errno.EPERM))]
    is_shared = [(_AND, 0, 0, _SHARED_ANONYMOUS), (_EQUALS, 0, 1, _SHARED_ANONYMOUS)]
    rules = [
        (_CLONE3, [_fail(errno.ENOSYS)]),  # its flags are out of sight; libc then calls clone
        (_CLONE[column], [_ARGUMENT_0, (_HAS_BITS, 0, 1, _NEW_USER), _fail(errno.EPERM)]),
        (_MMAP[column], [_ARGUMENT_3, *is_shared, _fail(errno.EPERM)]),
        (_SOCKET[column], family),
        (_SOCKETPAIR[column], family),
        (_SETSOCKOPT[column], [_ARGUMENT_2, *options]),
        *((numbers[column], [_fail(errno.EPERM)]) for numbers in _DENIED.values()),
    ]
    steps = [_ARCH, (_EQUALS, 1, 0, _AUDIT_ARCH[machine]), _KILL]
    steps += [_NUMBER, (_AT_LEAST, 0, 1, 0x40000000), _KILL]  # x86_64's third set, of x32
    for number, rule in rules:
        steps += [(_EQUALS, 0, len(rule) + 1, number), *rule, _ALLOW]
    return b"".join(struct.pack("=HBBI", *step) for step in [*steps, _ALLOW])


def _fail(error: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, 0x00050000 | error)
