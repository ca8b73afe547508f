/* File operations below a folder, counted, and one of them failed: loaded by LD_PRELOAD.

   The functions of libc that change files are put in front of libc's own. While a process is armed
   each call that concerns a path below the folder is an operation, numbered from 1; number `at`
   ends the process or fails. What was counted lies in memory that is shared with the process that
   called shim_share, so it outlives one that was killed. Writes of stdio's own buffers never pass
   here (libc calls its inner names): of a FILE only fopen and fclose are operations. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN, WRITE, SYNC, RENAME, UNLINK, MKDIR, TRUNCATE, LINK, CLOSE };
enum how { COUNT, KILL, HALF, ERROR, FULL };
enum { KEPT = 8192, NAME = 200 };

struct shared {
  long seen;
  int hit; /* whether the operation was reached */
  unsigned char kinds[KEPT];
  char names[KEPT][NAME];
};

static struct shared *shared;
static int armed, how, code;
static long at;
static char root[PATH_MAX];
static size_t length;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

struct shared *shim_share(void) {
  if (!shared)
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return shared == MAP_FAILED ? 0 : shared;
}

/* Arm this process: operation `number` below `folder` is failed in a way; 0: none is. */
void shim_arm(const char *folder, long number, int way, int error) {
  snprintf(root, sizeof root, "%s", folder);
  length = strlen(root);
  at = number, how = way, code = error;
  shared->seen = 0, shared->hit = 0;
  armed = 1;
}

long shim_seen(void) { return shared->seen; }
int shim_hit(void) { return shared->hit; }
int shim_kind(long number) { return shared->kinds[number % KEPT]; }
const char *shim_name(long number) { return shared->names[number % KEPT]; }

static int below(const char *path) {
  return !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static const char *path_of(int handle, char *into) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  ssize_t n = readlink(link, into, PATH_MAX - 1);
  into[n < 0 ? 0 : n] = 0;
  return into;
}

/* The path that a call means, made absolute. */
static const char *absolute(int folder, const char *path, char *into) {
  if (!path) return "";
  if (path[0] == '/') return path;
  char start[PATH_MAX];
  if (folder == AT_FDCWD) {
    if (!getcwd(start, sizeof start)) return "";
  } else
    path_of(folder, start);
  snprintf(into, PATH_MAX, "%.*s/%.*s", 2000, start, 2000, path);
  return into;
}

static void end(void) {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) pause();
}

/* Count an operation; 0: carry it out, 1: fail it with errno, 2: do half of it and end. */
static int counted(enum kind kind, const char *path) {
  if (!armed || !below(path)) return 0;
  long number = __atomic_add_fetch(&shared->seen, 1, __ATOMIC_SEQ_CST);
  if (number < KEPT) {
    shared->kinds[number] = kind;
    snprintf(shared->names[number], NAME, "%s", path + length);
  }
  int grows = kind == OPEN || kind == WRITE || kind == MKDIR || kind == LINK;
  if (how == FULL && at && number >= at && grows) {
    shared->hit = 1;
    errno = ENOSPC;
    return 1;
  }
  if (number != at || how == COUNT || how == FULL) return 0;
  shared->hit = 1;
  if (how == HALF && kind == WRITE) return 2;
  if (how != ERROR) end();
  errno = code;
  return 1;
}

static int counted_at(enum kind kind, int folder, const char *path) {
  char place[PATH_MAX];
  return armed ? counted(kind, absolute(folder, path, place)) : 0;
}

static int counted_fd(enum kind kind, int handle) {
  char place[PATH_MAX];
  return armed ? counted(kind, path_of(handle, place)) : 0;
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define MODE(flags)                          \
  mode_t mode = 0;                           \
  if (flags & (O_CREAT | __O_TMPFILE)) {     \
    va_list rest;                            \
    va_start(rest, flags);                   \
    mode = va_arg(rest, mode_t);             \
    va_end(rest);                            \
  }

#define OPENS(name)                                                              \
  int name(const char *path, int flags, ...) {                                   \
    MODE(flags)                                                                  \
    if (writes(flags) && counted_at(OPEN, AT_FDCWD, path)) return -1;            \
    return REAL(name)(path, flags, mode);                                        \
  }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                           \
  int name(int folder, const char *path, int flags, ...) {                       \
    MODE(flags)                                                                  \
    if (writes(flags) && counted_at(OPEN, folder, path)) return -1;              \
    return REAL(name)(folder, path, flags, mode);                                \
  }
OPENS_AT(openat)
OPENS_AT(openat64)

#define CREATS(name)                                                             \
  int name(const char *path, mode_t mode) {                                      \
    if (counted_at(OPEN, AT_FDCWD, path)) return -1;                             \
    return REAL(name)(path, mode);                                               \
  }
CREATS(creat)
CREATS(creat64)

#define FOPENS(name)                                                             \
  FILE *name(const char *path, const char *mode) {                               \
    if (strpbrk(mode, "wa+") && counted_at(OPEN, AT_FDCWD, path)) return 0;      \
    return REAL(name)(path, mode);                                               \
  }
FOPENS(fopen)
FOPENS(fopen64)

int fclose(FILE *file) {
  int handle = fileno(file);
  int fails = armed && handle >= 0 && writes(fcntl(handle, F_GETFL)) && counted_fd(CLOSE, handle);
  int kept = errno, result = REAL(fclose)(file);
  if (!fails) return result;
  errno = kept;
  return EOF;
}

ssize_t write(int handle, const void *data, size_t size) {
  int how = counted_fd(WRITE, handle);
  if (how == 1) return -1;
  if (how == 2) REAL(write)(handle, data, size / 2), end();
  return REAL(write)(handle, data, size);
}

#define PWRITES(name, offset)                                                    \
  ssize_t name(int handle, const void *data, size_t size, offset start) {        \
    int how = counted_fd(WRITE, handle);                                         \
    if (how == 1) return -1;                                                     \
    if (how == 2) REAL(name)(handle, data, size / 2, start), end();              \
    return REAL(name)(handle, data, size, start);                                \
  }
PWRITES(pwrite, off_t)
PWRITES(pwrite64, off64_t)

ssize_t writev(int handle, const struct iovec *parts, int count) {
  int how = counted_fd(WRITE, handle);
  if (how == 1) return -1;
  if (how == 2) REAL(writev)(handle, parts, count / 2), end();
  return REAL(writev)(handle, parts, count);
}

#define SENDS(name, offset)                                                      \
  ssize_t name(int to, int from, offset *start, size_t size) {                   \
    int how = counted_fd(WRITE, to);                                             \
    if (how == 1) return -1;                                                     \
    if (how == 2) REAL(name)(to, from, start, size / 2), end();                  \
    return REAL(name)(to, from, start, size);                                    \
  }
SENDS(sendfile, off_t)
SENDS(sendfile64, off64_t)

ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
  int how = counted_fd(WRITE, to);
  if (how == 1) return -1;
  if (how == 2) REAL(copy_file_range)(from, a, to, b, size / 2, flags), end();
  return REAL(copy_file_range)(from, a, to, b, size, flags);
}

int fsync(int handle) { return counted_fd(SYNC, handle) ? -1 : REAL(fsync)(handle); }
int fdatasync(int handle) { return counted_fd(SYNC, handle) ? -1 : REAL(fdatasync)(handle); }

int rename(const char *old, const char *new) {
  return counted_at(RENAME, AT_FDCWD, new) ? -1 : REAL(rename)(old, new);
}
int renameat(int a, const char *old, int b, const char *new) {
  return counted_at(RENAME, b, new) ? -1 : REAL(renameat)(a, old, b, new);
}
int renameat2(int a, const char *old, int b, const char *new, unsigned flags) {
  return counted_at(RENAME, b, new) ? -1 : REAL(renameat2)(a, old, b, new, flags);
}

int unlink(const char *path) {
  return counted_at(UNLINK, AT_FDCWD, path) ? -1 : REAL(unlink)(path);
}
int unlinkat(int folder, const char *path, int flags) {
  return counted_at(UNLINK, folder, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}
int remove(const char *path) {
  return counted_at(UNLINK, AT_FDCWD, path) ? -1 : REAL(remove)(path);
}
int rmdir(const char *path) { return counted_at(UNLINK, AT_FDCWD, path) ? -1 : REAL(rmdir)(path); }

int mkdir(const char *path, mode_t mode) {
  return counted_at(MKDIR, AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
  return counted_at(MKDIR, folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}

int truncate(const char *path, off_t size) {
  return counted_at(TRUNCATE, AT_FDCWD, path) ? -1 : REAL(truncate)(path, size);
}
int ftruncate(int handle, off_t size) {
  return counted_fd(TRUNCATE, handle) ? -1 : REAL(ftruncate)(handle, size);
}
int ftruncate64(int handle, off64_t size) {
  return counted_fd(TRUNCATE, handle) ? -1 : REAL(ftruncate64)(handle, size);
}

int link(const char *old, const char *new) {
  return counted_at(LINK, AT_FDCWD, new) ? -1 : REAL(link)(old, new);
}
int linkat(int a, const char *old, int b, const char *new, int flags) {
  return counted_at(LINK, b, new) ? -1 : REAL(linkat)(a, old, b, new, flags);
}
int symlink(const char *to, const char *path) {
  return counted_at(LINK, AT_FDCWD, path) ? -1 : REAL(symlink)(to, path);
}
