"""Runs inside a sandbox before its program: takes the limits on, then reports that it did."""

import os
import resource
import sys

if __name__ == "__main__":
    report, user, *limits = sys.argv[1:]
    if os.getuid() == 0:  # for root there is no bound on processes, and other users share theirs
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    for limit in limits:
        name, _, value = limit.partition("=")
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(value), int(value)))
    sys.set_int_max_str_digits(0)
    os.write(int(report), b"started")
    os.close(int(report))
    sys.argv = ["/code/main.py"]
    module = sys.modules["__main__"] = type(sys)("__main__")
    module.__file__ = sys.argv[0]
    with open(sys.argv[0], "rb") as stream:
        exec(compile(stream.read(), sys.argv[0], "exec", dont_inherit=True), vars(module))
