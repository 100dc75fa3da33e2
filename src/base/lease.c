/* The lease of a folder. Read take() first. */
#include "base/lease.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"

enum {
    FIELD = 80,
    RENEWALS = 9, /* number of renewals within the time after which a lease counts as left by its holder */
    WATCHED = 3   /* number of renewals that a holder must miss while it is watched */
};

struct vj_lease {
    vj_lease_seal seal;
    double renew_s;
    pthread_t thread;
    pthread_mutex_t lock; /* guards quit */
    pthread_cond_t changed;
    bool quit;
};

/* The content of a lease file. */
typedef struct {
    char host[FIELD], boot[FIELD], space[FIELD], job[FIELD], since[FIELD], token[FIELD];
    long long pid, started;
    bool known; /* no field was missing */
} holder;

/* A lease file as it was found. */
typedef struct {
    char text[sizeof((vj_lease_seal *)0)->text];
    struct timespec modified;
    holder holder;
} lease_file;

/* ------------------------------------------------------------------------------------------------ who */

static void read_line(const char *path, char text[FIELD])
{
    FILE *f = fopen(path, "r");
    text[0] = '\0';
    if (f && !fgets(text, FIELD, f)) text[0] = '\0';
    if (f) fclose(f); /* only read */
    text[strcspn(text, "\n")] = '\0';
    if (text[0] == '\0') strcpy(text, "unknown");
}

/*
 * Return when a process began, in ticks since the node was started; -1 if there is no such process or it has ended and
 * only its exit code is left.
 */
static long long start_time_of(long long pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    const size_t bytes = fread(text, 1, sizeof text - 1, f);
    fclose(f); /* only read */
    text[bytes] = '\0';
    char state;
    long long started;
    const char *after_name = strrchr(text, ')'); /* a name may hold anything */
    if (!after_name ||
        sscanf(after_name + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld",
               &state, &started) != 2)
        return -1;
    return state == 'Z' || state == 'X' ? -1 : started;
}

/*
 * Find the identity of this start of the node and of this process's namespace of process numbers: only if both are the
 * same for two processes do process numbers mean the same to them.
 */
static void find_boot_and_namespace(char boot[FIELD], char space[FIELD])
{
    read_line("/proc/sys/kernel/random/boot_id", boot);
    const ssize_t bytes = readlink("/proc/self/ns/pid", space, FIELD - 1);
    space[bytes > 0 ? bytes : 0] = '\0';
    if (bytes <= 0) strcpy(space, "unknown");
}

const char *vj_lease_batch_job(void)
{
    static const char *const names[] = {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && *value && strlen(value) < FIELD / 2 && !strpbrk(value, " \n")) return value;
    }
    return "none";
}

static void describe_self(char *text, size_t bytes)
{
    char host[FIELD] = "", boot[FIELD], space[FIELD], since[32];
    uint64_t token = 0;
    const time_t now = time(NULL);
    struct tm utc;
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') strcpy(host, "unknown");
    for (char *c = host; *c; c++) /* a name with blanks would not be read back as one word */
        if (isspace((unsigned char)*c)) *c = '_';
    find_boot_and_namespace(boot, space);
    strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    if (getrandom(&token, sizeof token, 0) != (ssize_t)sizeof token)
        token = (uint64_t)(1e9 * vj_now()) ^ (uint64_t)getpid() << 40;
    snprintf(text, bytes, "host %s\npid %lld\nstarted %lld\nboot %s\nnamespace %s\njob %s\nsince %s\ntoken %016llx\n",
             host, (long long)getpid(), start_time_of((long long)getpid()), boot, space, vj_lease_batch_job(), since,
             (unsigned long long)token);
}

static void parse_holder(const char *text, holder *h)
{
    *h = (holder){.host = "an unknown host", .pid = -1, .started = -1};
    h->known = sscanf(text, "host %79s pid %lld started %lld boot %79s namespace %79s job %79s since %79s token %79s",
                      h->host, &h->pid, &h->started, h->boot, h->space, h->job, h->since, h->token) == 8;
}

static const char *name_holder(const holder *h, char text[4 * FIELD])
{
    if (!h->known) return "a process that has not said who it is";
    const bool batch = strcmp(h->job, "none") != 0;
    snprintf(text, 4 * FIELD, "process %lld on %s%s%s, since %s", h->pid, h->host, batch ? ", batch job " : "",
             batch ? h->job : "", h->since);
    return text;
}

typedef enum { ALIVE, DEAD, ELSEWHERE } liveness;

static liveness liveness_of(const holder *h)
{
    char boot[FIELD], space[FIELD];
    find_boot_and_namespace(boot, space);
    if (!h->known || strcmp(h->boot, boot) != 0 || strcmp(h->space, space) != 0 || strcmp(boot, "unknown") == 0 ||
        strcmp(space, "unknown") == 0)
        return ELSEWHERE;
    return start_time_of(h->pid) == h->started ? ALIVE : DEAD;
}

/* ------------------------------------------------------------------------------------------------ the file */

/*
 * Read a lease file; false with errno if it does not exist or cannot be read. It is opened anew each time, because only
 * then does NFS ask its server.
 */
static bool read_lease(const char *path, lease_file *s)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO would wait for a writer */
    if (fd < 0) return false;
    const int64_t bytes = vj_read_at(fd, s->text, (int64_t)sizeof s->text - 1, 0);
    const bool good = bytes >= 0 && fstat(fd, &info) == 0;
    const int error = errno;
    (void)close(fd); /* only read */
    errno = error;
    if (!good) return false;
    s->text[bytes] = '\0';
    s->modified = info.st_mtim;
    parse_holder(s->text, &s->holder);
    return true;
}

/*
 * Create a file with a text; false with errno, EEXIST if it exists. *modified is its modification time by the clock of
 * the file system.
 */
static bool create(const char *path, const char *text, struct timespec *modified)
{
    struct stat info;
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return false;
    const bool good = vj_write_at(fd, text, (int64_t)strlen(text), 0) && fsync(fd) == 0 && futimens(fd, NULL) == 0 &&
                      fstat(fd, &info) == 0;
    const int error = errno;
    const bool closed = close(fd) == 0;
    if (good && closed) {
        if (modified) *modified = info.st_mtim;
        return true;
    }
    if (!good) errno = error;
    const int first = errno;
    (void)unlink(path); /* if the file could not be written, perhaps it cannot be removed either */
    errno = first == EEXIST ? EIO : first;
    return false;
}

/* Report that a file by which a job takes the folder cannot be made. */
static vj_status refuse_to_create(const char *path)
{
    const int error = errno;
    const char *advice = "choose another folder";
    if (error == ENOSPC || error == EDQUOT) advice = "make room there, or choose another folder";
    if (error == EACCES || error == EPERM || error == EROFS) advice = "choose a folder where you may write";
    errno = error;
    return vj_raise(VJ_ERR_IO, "%s cannot be created, by which a job keeps others out of the folder (%s)", path,
                    advice);
}

static double lease_time(void)
{
    enum { USUAL_S = 90 };
    const char *text = getenv("VJEPA_LEASE_S");
    const double seconds = text ? atof(text) : 0.0;
    return seconds > 0.0 ? seconds : USUAL_S;
}

static double seconds_between(struct timespec from, struct timespec to)
{
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/*
 * Compute the age of a modification time by the file system's clock, which is read by creating a file. False with errno
 * if that fails.
 */
static bool age_of_lease(const vj_lease_seal *seal, struct timespec modified, double *age_s)
{
    char path[VJ_FILE_PATH + 64];
    struct timespec now;
    const char *token = strstr(seal->text, "token ");
    snprintf(path, sizeof path, "%s.%.16s.clock", seal->path, token + 6);
    if (!create(path, "", &now)) return false;
    (void)unlink(path); /* if this fails, an empty file stays, which the next holder of the lease removes */
    *age_s = seconds_between(modified, now);
    return true;
}

/* ------------------------------------------------------------------------------------------------ taking */

static vj_status refuse(const vj_lease_seal *seal, const holder *h)
{
    char text[4 * FIELD];
    return vj_raise(VJ_ERR_STATE,
                    "another job is at work in this folder: %s is held by %s. Wait for its end or stop it, or choose "
                    "another folder",
                    seal->path, name_holder(h, text));
}

/*
 * Replace a lease whose holder is dead by ours. Two processes may try this at once, so the one that creates the file
 * "claim", whose name contains the token of the dead holder, may replace it, after checking that the lease is still
 * that of the dead holder. *taken is false if another process was faster; then look at the lease again.
 */
static vj_status take_over(const vj_lease_seal *seal, const lease_file *found, bool *taken)
{
    char claim[VJ_FILE_PATH + 2 * FIELD];
    lease_file now, other;
    double age_s;
    *taken = false;
    snprintf(claim, sizeof claim, "%s.%s.next", seal->path, found->holder.known ? found->holder.token : "unknown");
    if (!create(claim, seal->text, NULL)) {
        if (errno != EEXIST) return refuse_to_create(claim);
        /* Another process is replacing the lease, which takes milliseconds, unless that process died meanwhile. */
        const liveness is = read_lease(claim, &other) ? liveness_of(&other.holder) : ALIVE;
        if (is == DEAD || (is == ELSEWHERE && age_of_lease(seal, other.modified, &age_s) && age_s > lease_time()))
            (void)unlink(claim);
        vj_sleep(0.05);
        return VJ_OK;
    }
    vj_status status = VJ_OK;
    if (read_lease(seal->path, &now) && strcmp(now.text, found->text) == 0) {
        status = vj_file_put_text(seal->path, seal->text);
        *taken = status == VJ_OK;
    }
    (void)unlink(claim);
    return status;
}

/*
 * Find out whether a holder that cannot be looked up from this node is alive, by watching whether the modification time
 * of its lease changes. An old lease is watched for some renewals too, because the clock of the file system may have
 * been set. Returns VJ_OK if the lease may be taken over, or has changed and must be read again.
 */
static vj_status wait_for_holder(const vj_lease_seal *seal, const lease_file *found)
{
    const double limit_s = lease_time(), begin_s = vj_now(), interval_s = limit_s / 90.0 < 1.0 ? limit_s / 90.0 : 1.0;
    const double watch_s = limit_s / RENEWALS * WATCHED;
    char text[4 * FIELD];
    double age_s = 0.0;
    bool logged = false;
    lease_file now;
    for (;; vj_sleep(interval_s)) {
        if (!read_lease(seal->path, &now)) return errno == ENOENT ? VJ_OK : vj_raise(VJ_ERR_IO, "read %s", seal->path);
        if (strcmp(now.text, found->text) != 0) return VJ_OK; /* another holder: look anew */
        if (!same_time(now.modified, found->modified)) return refuse(seal, &now.holder);
        if (!age_of_lease(seal, now.modified, &age_s))
            return vj_raise(VJ_ERR_IO, "create a file beside %s", seal->path);
        /*
         * If the modification time lies in the future, since a clock was set, age_s never reaches the limit; so the
         * time that we have watched is enough, if it is long.
         */
        const double watched_s = vj_now() - begin_s;
        if ((age_s > limit_s && watched_s > watch_s) || watched_s > 1.5 * limit_s) return VJ_OK;
        if (!logged)
            vj_log("%s is held by %s, which cannot be looked up from here: waiting up to %.0f s to see whether it is "
                   "still at work",
                   seal->path, name_holder(&now.holder, text), fmin(fmax(limit_s - age_s, watch_s), 1.5 * limit_s));
        logged = true;
    }
}

static vj_status take(const vj_lease_seal *seal)
{
    char text[4 * FIELD];
    for (bool taken = false; !taken;) {
        lease_file found, after;
        if (create(seal->path, seal->text, NULL)) return VJ_OK;
        if (errno != EEXIST) return refuse_to_create(seal->path);
        if (!read_lease(seal->path, &found)) {
            if (errno == ENOENT) continue; /* released in between */
            return vj_raise(VJ_ERR_IO, "read %s", seal->path);
        }
        const liveness is = liveness_of(&found.holder);
        if (is == ALIVE) return refuse(seal, &found.holder);
        if (is == ELSEWHERE) VJ_TRY(wait_for_holder(seal, &found));
        if (!read_lease(seal->path, &after) || strcmp(after.text, found.text) != 0) continue;
        VJ_TRY(take_over(seal, &found, &taken));
        if (taken) vj_log("%s was left by %s: taken over", seal->path, name_holder(&found.holder, text));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ holding */

vj_status vj_lease_check(const vj_lease_seal *seal)
{
    char text[4 * FIELD];
    lease_file now = {.holder.known = false};
    if (seal->path[0] == '\0') return VJ_OK;
    const bool there = read_lease(seal->path, &now);
    if (there && strcmp(now.text, seal->text) == 0) return VJ_OK;
    if (!there && errno != ENOENT) return vj_raise(VJ_ERR_IO, "read %s", seal->path);
    return vj_raise(VJ_ERR_STATE,
                    "%s is not this job's any more: %s. This job was cut off from the file system for too long, or the "
                    "file was removed; it stops and publishes nothing more",
                    seal->path, there ? name_holder(&now.holder, text) : "it is gone");
}

/*
 * Update the modification time of the lease if it is still ours. A failure is ignored here: the next turn tries again,
 * and vj_lease_check() is called before anything is published.
 */
static void renew(const vj_lease_seal *seal)
{
    char text[sizeof seal->text];
    const int fd = open(seal->path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    const int64_t bytes = vj_read_at(fd, text, (int64_t)sizeof text - 1, 0);
    if (bytes == (int64_t)strlen(seal->text) && memcmp(text, seal->text, (size_t)bytes) == 0)
        (void)futimens(fd, NULL); /* see above */
    (void)close(fd);
}

static void *renew_regularly(void *argument)
{
    vj_lease *l = argument;
    pthread_mutex_lock(&l->lock);
    while (!l->quit) {
        if (vj_cond_wait_s(&l->changed, &l->lock, l->renew_s)) continue;
        pthread_mutex_unlock(&l->lock);
        renew(&l->seal);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static bool start_thread(vj_lease *l)
{
    pthread_mutex_init(&l->lock, NULL);
    vj_cond_init(&l->changed);
    return vj_thread_start(&l->thread, renew_regularly, l);
}

/* Remove the lease if it is ours. */
static void remove_lease(const vj_lease_seal *seal)
{
    lease_file now;
    if (read_lease(seal->path, &now) && strcmp(now.text, seal->text) == 0 && unlink(seal->path) != 0 && errno != ENOENT)
        vj_warn("%s cannot be removed: %s; the next job finds that this one has ended", seal->path, strerror(errno));
}

/*
 * Remove files of processes that were killed while they took the lease. A living process that is just trying to take it
 * finds that it is ours now, whether its files are there or not.
 */
static void remove_leftovers(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir) return; /* they take little room */
    for (const struct dirent *item = readdir(dir); item; item = readdir(dir)) {
        const char *end = strrchr(item->d_name, '.');
        if (strncmp(item->d_name, "lease.", 6) == 0 &&
            (strcmp(end, ".part") == 0 || strcmp(end, ".next") == 0 || strcmp(end, ".clock") == 0))
            (void)unlinkat(dirfd(dir), item->d_name, 0); /* they take little room */
    }
    (void)closedir(dir); /* only read */
}

vj_status vj_lease_acquire(vj_lease **lease, const char *folder)
{
    const char *text = getenv("VJEPA_LEASE_S");
    *lease = NULL;
    if (text && !(atof(text) > 0.0))
        return vj_raise(VJ_ERR_USAGE, "VJEPA_LEASE_S=%s: expected the seconds, above 0, after which a lease is old",
                        text);
    vj_lease *l = vj_calloc(1, sizeof *l);
    if (!l) return vj_raise(VJ_ERR_MEMORY, "no memory for the lease of %s", folder);
    l->renew_s = lease_time() / RENEWALS;
    if (snprintf(l->seal.path, sizeof l->seal.path, "%s/lease", folder) >= (int)sizeof l->seal.path) {
        free(l);
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", folder);
    }
    describe_self(l->seal.text, sizeof l->seal.text);
    vj_status status = take(&l->seal);
    if (status == VJ_OK) remove_leftovers(folder);
    if (status == VJ_OK && !start_thread(l)) {
        remove_lease(&l->seal);
        status = vj_raise(VJ_ERR_MEMORY, "no thread to renew %s", l->seal.path);
    }
    if (status == VJ_OK)
        *lease = l;
    else
        free(l);
    return status;
}

vj_lease_view vj_lease_inspect(const char *folder)
{
    vj_lease_view view = {.state = VJ_LEASE_FREE};
    char path[VJ_FILE_PATH], text[4 * FIELD];
    struct stat info;
    struct timespec now;
    struct tm utc = {0};
    lease_file found;
    snprintf(path, sizeof path, "%s/lease", folder);
    /* Open regular files only: opening a FIFO would wait for a writer. */
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || !read_lease(path, &found)) return view;
    snprintf(view.holder, sizeof view.holder, "%s", name_holder(&found.holder, text));
    if (strptime(found.holder.since, "%Y-%m-%dT%H:%M:%SZ", &utc)) view.since_s = (double)timegm(&utc);
    liveness is = liveness_of(&found.holder);
    clock_gettime(CLOCK_REALTIME, &now);
    if (is == ELSEWHERE) is = seconds_between(found.modified, now) > lease_time() ? DEAD : ALIVE;
    view.state = is == ALIVE ? VJ_LEASE_HELD : VJ_LEASE_LEFT;
    return view;
}

vj_lease_seal vj_lease_seal_of(const vj_lease *lease)
{
    return lease ? lease->seal : (vj_lease_seal){.path = ""};
}

void vj_lease_release(vj_lease *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    remove_lease(&l->seal);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
