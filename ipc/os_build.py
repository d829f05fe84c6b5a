"""Build ``mixline.ipc._os``: the few system calls that the standard library does not offer, through cffi's API mode.

API mode compiles against the system's headers, so a wrong signature is a compile error and not a crash at night.
"""

from cffi import FFI

ffibuilder = FFI()
ffibuilder.cdef(
    """
    int mx_set_death_signal(int signal);
    int mx_set_name(const char *name);
    """
)
ffibuilder.set_source(
    "mixline.ipc._os",
    """
    #include <errno.h>
    #include <sys/prctl.h>

    static int mx_set_death_signal(int signal) { return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) == 0 ? 0 : errno; }
    static int mx_set_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0) == 0 ? 0 : errno; }
    """,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
