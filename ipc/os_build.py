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
    int64_t mx_forget_code(void);
    int64_t mx_resident_pages(int fd, int64_t bytes);
    int mx_populate(int fd, int64_t from, int64_t bytes, int huge);
    int mx_hold(int fd, int64_t bytes);
    """
)
ffibuilder.set_source(
    "mixline.ipc._os",
    """
    #include <errno.h>
    #include <link.h>
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
    static int mx_has_text_relocations(const struct dl_phdr_info *object) {
        for (int at = 0; at < object->dlpi_phnum; at++) {
            if (object->dlpi_phdr[at].p_type != PT_DYNAMIC) continue;
            const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[at].p_vaddr);
            for (; entry->d_tag != DT_NULL; entry++)
                if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL)))
                    return 1;
        }
        return 0;
    }

    static int mx_forget_segments(struct dl_phdr_info *object, size_t size, void *given) {
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
        (void)size;
        if (mx_has_text_relocations(object)) return 0;
        for (int at = 0; at < object->dlpi_phnum; at++) {
            const ElfW(Phdr) *segment = &object->dlpi_phdr[at];
            if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
            uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
            uintptr_t stop = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz) & ~(page - 1);
            if (start < stop && madvise((void *)start, stop - start, MADV_DONTNEED) == 0)
                *(int64_t *)given += (int64_t)(stop - start);
        }
        return 0;
    }

    /* Unmap the pages of all code and constants, which nobody wrote: what runs again comes back from the page cache.
       The bytes that were looked at. */
    static int64_t mx_forget_code(void) {
        int64_t given = 0;
        dl_iterate_phdr(mx_forget_segments, &given);
        return given;
    }
    static int mx_set_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0) == 0 ? 0 : errno; }

    #ifndef MADV_POPULATE_READ
    #define MADV_POPULATE_READ 22
    #endif

    /* Have `bytes` of a file from `from` on, which is a multiple of the page, read into the page cache. 0, or errno:
       EINVAL where the kernel cannot (before 5.14, or without huge pages for files when they are asked for). */
    static int mx_populate(int fd, int64_t from, int64_t bytes, int huge) {
        void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, from);
        if (map == MAP_FAILED) return errno;
        int failure = 0;
        if (huge && madvise(map, bytes, MADV_HUGEPAGE) != 0) failure = errno;
        if (!failure && madvise(map, bytes, MADV_POPULATE_READ) != 0) failure = errno;
        munmap(map, bytes);
        return failure;
    }

    /* Map a file and lock it in memory until this process ends. 0, or errno. */
    static int mx_hold(int fd, int64_t bytes) {
        void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) return errno;
        if (mlock(map, bytes) == 0) return 0;
        int failure = errno;
        munmap(map, bytes);
        return failure;
    }

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
