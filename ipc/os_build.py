"""Build ``mixline.ipc._os``: the few system calls that the standard library does not offer, through cffi's API mode.

API mode compiles against the system's headers, so a wrong signature is a compile error and not a crash at night.
"""

from cffi import FFI

ffibuilder = FFI()
ffibuilder.cdef(
    """
    int mx_set_death_signal(int signal);
    int mx_set_name(const char *name);
    int mx_adopt_orphans(void);
    int mx_trim(void);
    int64_t mx_resident_pages(int fd, int64_t bytes);
    """
)
ffibuilder.set_source(
    "mixline.ipc._os",
    """
    #include <errno.h>
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #endif
    #include <stdint.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <unistd.h>

    static int mx_set_death_signal(int signal) { return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) == 0 ? 0 : errno; }
    static int mx_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 ? 0 : errno; }
    static int mx_trim(void) {
    #ifdef __GLIBC__
        return malloc_trim(0);
    #else
        return 0;
    #endif
    }
    static int mx_set_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0) == 0 ? 0 : errno; }

    /* Pages of a file's first `bytes` that are in memory, or -errno. Touches none of them: windows of the file (256 MiB
       with 4 KiB pages) are mapped without any right, asked about, and unmapped. */
    static int64_t mx_resident_pages(int fd, int64_t bytes) {
        unsigned char present[65536];
        int64_t page = sysconf(_SC_PAGESIZE), window = (int64_t)sizeof present * page, found = 0;
        for (int64_t at = 0; at < bytes; at += window) {
            int64_t length = bytes - at < window ? bytes - at : window;
            void *map = mmap(NULL, length, PROT_NONE, MAP_SHARED, fd, at);
            if (map == MAP_FAILED) return -errno;
            int failure = mincore(map, length, present) == 0 ? 0 : errno;
            munmap(map, length);
            if (failure) return -failure;
            for (int64_t at_page = 0; at_page < (length + page - 1) / page; at_page++) found += present[at_page] & 1;
        }
        return found;
    }
    """,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
