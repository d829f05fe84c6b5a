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
    int64_t mx_forget_code(int data_too);
    int64_t mx_resident_pages(int fd, int64_t bytes);
    int mx_populate(int fd, int64_t from, int64_t bytes, int huge);
    int mx_hold(int fd, int64_t bytes);
    """
)
ffibuilder.set_source(
    "mixline.ipc._os",
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <link.h>
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #endif
    #include <stdint.h>
    #include <string.h>
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

    struct mx_forgetting { int64_t given; int pagemap; uintptr_t page; };

    static void mx_forget(struct mx_forgetting *by, uintptr_t start, uintptr_t stop) {
        if (start < stop && madvise((void *)start, stop - start, MADV_DONTNEED) == 0)
            by->given += (int64_t)(stop - start);
    }

    /* Pages of a writable segment that are still the file's: present (bit 63) and no private copy (bit 61). */
    static void mx_forget_clean(struct mx_forgetting *by, uintptr_t start, uintptr_t stop) {
        uint64_t seen[512];
        for (uintptr_t at = start; at < stop; at += sizeof seen / 8 * by->page) {
            size_t many = (stop - at) / by->page < sizeof seen / 8 ? (stop - at) / by->page : sizeof seen / 8, from = 0;
            if (pread(by->pagemap, seen, many * 8, (off_t)(at / by->page * 8)) != (ssize_t)(many * 8)) return;
            for (size_t each = 0; each <= many; each++) {
                if (each < many && seen[each] >> 63 && seen[each] >> 61 & 1) continue;
                mx_forget(by, at + from * by->page, at + each * by->page);
                from = each + 1;
            }
        }
    }

    /* The last segment first, by a copy of the table: it lies in the first one, and to read it maps that again. */
    static int mx_forget_segments(struct dl_phdr_info *object, size_t size, void *context) {
        struct mx_forgetting *by = context;
        ElfW(Phdr) segments[64];
        int count = object->dlpi_phnum;
        (void)size;
        if (count > 64 || mx_has_text_relocations(object)) return 0;
        memcpy(segments, object->dlpi_phdr, (size_t)count * sizeof segments[0]);
        for (int at = count - 1; at >= 0; at--) {
            uintptr_t start = (object->dlpi_addr + segments[at].p_vaddr) & ~(by->page - 1);
            uintptr_t stop = (object->dlpi_addr + segments[at].p_vaddr + segments[at].p_filesz) & ~(by->page - 1);
            if (segments[at].p_type != PT_LOAD) continue;
            if (!(segments[at].p_flags & PF_W)) mx_forget(by, start, stop);
            else if (by->pagemap >= 0) mx_forget_clean(by, start, stop);
        }
        return 0;
    }

    /* Unmap the pages of all code and constants, which nobody wrote, and, where one thread alone runs (another could
       write between the look and the call), those of data that nobody has written yet: what is used again comes back
       from the page cache. The bytes that were looked at and given back. */
    static int64_t mx_forget_code(int data_too) {
        struct mx_forgetting by = {0, -1, (uintptr_t)sysconf(_SC_PAGESIZE)};
        if (data_too) by.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        dl_iterate_phdr(mx_forget_segments, &by);
        if (by.pagemap >= 0) close(by.pagemap);
        return by.given;
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
