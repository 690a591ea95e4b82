# SPDX-License-Identifier: GPL-2.0-or-later
#
# For gdb-multiarch to source before it connects to an armprobe machine:
#
#     gdb-multiarch -x gdbinit -ex 'target remote 127.0.0.1:1234'
#
# It loads the proxy that makes armprobe's commands gdb's own and, where gdb was given no program, fetches the guest's
# symbols as it connects. It changes no setting of gdb: the stub describes the machine, so gdb needs none. Settings of
# taste belong in the user's own .gdbinit.

python
def load_armprobe():
    import importlib.util
    import os
    import sys

    # gdb does not say which file it is sourcing; `armprobe gdb` does, through the environment.
    for path in filter(None, (os.environ.get("ARMPROBE_GDB_PROXY"), os.path.abspath("commands/gdb_proxy.py"))):
        if os.path.isfile(path):
            break
    else:
        gdb.write(  # an exception would be shown as a traceback here
            "armprobe's gdb_proxy.py is not found: set ARMPROBE_GDB_PROXY to its path, or start gdb with `armprobe gdb`\n",
            gdb.STDERR,
        )
        return
    # Loaded as a module, to keep its names apart from the user's own Python, which shares one namespace.
    if "armprobe_proxy" not in sys.modules:
        spec = importlib.util.spec_from_file_location("armprobe_proxy", path)
        sys.modules["armprobe_proxy"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["armprobe_proxy"])


load_armprobe()
del load_armprobe
end
