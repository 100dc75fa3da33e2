/* The lease of a folder. Read vj_lease_take() first. */
#include "base/lease.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FIELD = 80,
    RENEWALS = 9
}; /* number of renewals within the time after which a lease counts as left by its holder */

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
    struct timespec touched;
    holder by;
} sight;

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

/* When a process began, in ticks since the node's start; -1: there is none, or only its exit code is left. */
static long long start_of(long long pid)
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

/* Process numbers mean the same for two processes only on the same start of a node and in the same namespace. */
static void find_place(char boot[FIELD], char space[FIELD])
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
    char host[FIELD / 2] = "", boot[FIELD], space[FIELD], since[32];
    uint64_t token = 0;
    const time_t now = time(NULL);
    struct tm utc;
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') strcpy(host, "unknown");
    find_place(boot, space);
    strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    if (getrandom(&token, sizeof token, 0) != (ssize_t)sizeof token)
        token = (uint64_t)(1e9 * vj_now()) ^ (uint64_t)getpid() << 40;
    snprintf(text, bytes, "host %s\npid %lld\nstarted %lld\nboot %s\nnamespace %s\njob %s\nsince %s\ntoken %016llx\n",
             host, (long long)getpid(), start_of((long long)getpid()), boot, space, vj_lease_batch_job(), since,
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

typedef enum { ALIVE, DEAD, ELSEWHERE } whereabouts;

static whereabouts look_up(const holder *h)
{
    char boot[FIELD], space[FIELD];
    find_place(boot, space);
    if (!h->known || strcmp(h->boot, boot) != 0 || strcmp(h->space, space) != 0 || strcmp(boot, "unknown") == 0 ||
        strcmp(space, "unknown") == 0)
        return ELSEWHERE;
    return start_of(h->pid) == h->started ? ALIVE : DEAD;
}

/* ------------------------------------------------------------------------------------------------ the file */

/* Look at the file; false with errno when it is not there or cannot be read. It is opened anew, so NFS asks. */
static bool look_at(const char *path, sight *s)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const int64_t bytes = vj_read_at(fd, s->text, (int64_t)sizeof s->text - 1, 0);
    const bool good = bytes >= 0 && fstat(fd, &info) == 0;
    const int error = errno;
    (void)close(fd); /* only read */
    errno = error;
    if (!good) return false;
    s->text[bytes] = '\0';
    s->touched = info.st_mtim;
    parse_holder(s->text, &s->by);
    return true;
}

/* Create a file with a text, unless it is there (EEXIST); touched by the file system's clock. */
static bool create(const char *path, const char *text, struct timespec *touched)
{
    struct stat info;
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return false;
    const bool good = vj_write_at(fd, text, (int64_t)strlen(text), 0) && fsync(fd) == 0 && futimens(fd, NULL) == 0 &&
                      fstat(fd, &info) == 0;
    const int error = errno;
    const bool closed = close(fd) == 0;
    if (good && closed) {
        if (touched) *touched = info.st_mtim;
        return true;
    }
    if (!good) errno = error;
    const int first = errno;
    (void)unlink(path); /* what cannot be written may not be removable either */
    errno = first == EEXIST ? EIO : first;
    return false;
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

/* How long ago by the file system's clock, which a file of our own tells. False with errno: it cannot be told. */
static bool age_of(const vj_lease_seal *seal, struct timespec touched, double *age_s)
{
    char path[VJ_FILE_PATH + 64];
    struct timespec now;
    const char *token = strstr(seal->text, "token ");
    snprintf(path, sizeof path, "%s.%.16s.clock", seal->path, token + 6);
    if (!create(path, "", &now)) return false;
    (void)unlink(path); /* an empty file; the next holder removes what stays */
    *age_s = seconds_between(touched, now);
    return true;
}

/* ------------------------------------------------------------------------------------------------ taking */

static void pause_s(double seconds)
{
    const struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&t, NULL);
}

static vj_status refuse(const vj_lease_seal *seal, const holder *h)
{
    char text[4 * FIELD];
    return vj_raise(VJ_ERR_STATE,
                    "another job is at work in this folder: %s is held by %s. Wait for its end or stop it, or choose "
                    "another folder",
                    seal->path, name_holder(h, text));
}

/*
 * Put our lease in the place of one that was left. Two newcomers may have found it left: the right to replace that very
 * lease is a file whose name has its token, and who made it looks whether it is still that lease. *taken: false, look
 * again.
 */
static vj_status succeed(const vj_lease_seal *seal, const sight *left, bool *taken)
{
    char right[VJ_FILE_PATH + 2 * FIELD];
    sight now, other;
    double age_s;
    *taken = false;
    snprintf(right, sizeof right, "%s.%s.next", seal->path, left->by.known ? left->by.token : "unknown");
    if (!create(right, seal->text, NULL)) {
        if (errno != EEXIST) return vj_raise(VJ_ERR_IO, "create %s", right);
        /* Another newcomer is about to; it takes milliseconds, unless it died. */
        if (look_at(right, &other) &&
            (look_up(&other.by) == DEAD || (age_of(seal, other.touched, &age_s) && age_s > lease_time())))
            (void)unlink(right);
        pause_s(0.05);
        return VJ_OK;
    }
    vj_status status = VJ_OK;
    if (look_at(seal->path, &now) && strcmp(now.text, left->text) == 0) {
        status = vj_file_put_text(seal->path, seal->text);
        *taken = status == VJ_OK;
    }
    (void)unlink(right);
    return status;
}

/* The holder is on another node, or says nothing: does the file's time change? */
static vj_status wait_for_holder(const vj_lease_seal *seal, const sight *found)
{
    const double limit_s = lease_time(), begin_s = vj_now(), look_s = limit_s / 90.0 < 1.0 ? limit_s / 90.0 : 1.0;
    char text[4 * FIELD];
    double age_s = 0.0;
    bool said = false;
    sight now;
    for (;; pause_s(look_s)) {
        if (!look_at(seal->path, &now)) return errno == ENOENT ? VJ_OK : vj_raise(VJ_ERR_IO, "read %s", seal->path);
        if (strcmp(now.text, found->text) != 0) return VJ_OK; /* another holder: look anew */
        if (!same_time(now.touched, found->touched)) return refuse(seal, &now.by);
        if (!age_of(seal, now.touched, &age_s)) return vj_raise(VJ_ERR_IO, "create a file beside %s", seal->path);
        /* A time that lies ahead, after the clock was set, must not be waited for: our own waiting counts as well. */
        if (age_s > limit_s || vj_now() - begin_s > 1.5 * limit_s) return VJ_OK;
        if (!said)
            vj_log("%s is held by %s, which cannot be looked up from here: waiting up to %.0f s to see whether it is "
                   "still at work",
                   seal->path, name_holder(&now.by, text), limit_s - age_s > 0.0 ? limit_s - age_s : limit_s);
        said = true;
    }
}

static vj_status take(const vj_lease_seal *seal)
{
    char text[4 * FIELD];
    for (bool taken = false; !taken;) {
        sight found, after;
        if (create(seal->path, seal->text, NULL)) return VJ_OK;
        if (errno != EEXIST) return vj_raise(VJ_ERR_IO, "create %s", seal->path);
        if (!look_at(seal->path, &found)) {
            if (errno == ENOENT) continue; /* released in between */
            return vj_raise(VJ_ERR_IO, "read %s", seal->path);
        }
        const whereabouts is = look_up(&found.by);
        if (is == ALIVE) return refuse(seal, &found.by);
        if (is == ELSEWHERE) VJ_TRY(wait_for_holder(seal, &found));
        if (!look_at(seal->path, &after) || strcmp(after.text, found.text) != 0) continue;
        VJ_TRY(succeed(seal, &found, &taken));
        if (taken) vj_log("%s was left by %s: taken over", seal->path, name_holder(&found.by, text));
    }
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ holding */

vj_status vj_lease_check(const vj_lease_seal *seal)
{
    char text[4 * FIELD];
    sight now = {.by.known = false};
    if (seal->path[0] == '\0') return VJ_OK;
    const bool there = look_at(seal->path, &now);
    if (there && strcmp(now.text, seal->text) == 0) return VJ_OK;
    if (!there && errno != ENOENT) return vj_raise(VJ_ERR_IO, "read %s", seal->path);
    return vj_raise(VJ_ERR_STATE,
                    "%s is not this job's any more: %s. This job was cut off from the file system for too long, or the "
                    "file was removed; it stops and publishes nothing more",
                    seal->path, there ? name_holder(&now.by, text) : "it is gone");
}

/* Touch the file if it is ours. What fails is tried again at the next turn: before publishing it is checked anyway. */
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
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        const int64_t ns = until.tv_nsec + (int64_t)(1e9 * l->renew_s);
        until.tv_sec += (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        if (pthread_cond_timedwait(&l->changed, &l->lock, &until) != ETIMEDOUT) continue;
        pthread_mutex_unlock(&l->lock);
        renew(&l->seal);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Signals are for the program's own thread. */
static bool start_thread(vj_lease *l)
{
    sigset_t all, before;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&l->thread, NULL, renew_regularly, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

/* Remove the lease if it is ours. */
static void give_back(const vj_lease_seal *seal)
{
    sight now;
    if (look_at(seal->path, &now) && strcmp(now.text, seal->text) == 0 && unlink(seal->path) != 0 && errno != ENOENT)
        vj_warn("%s cannot be removed: %s; the next job finds that this one has ended", seal->path, strerror(errno));
}

/* What processes that were killed while they took the lease left; whoever is about to take it finds that it is ours. */
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

vj_status vj_lease_take(vj_lease **lease, const char *folder)
{
    *lease = NULL;
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
        give_back(&l->seal);
        status = vj_raise(VJ_ERR_MEMORY, "no thread to renew %s", l->seal.path);
    }
    if (status == VJ_OK)
        *lease = l;
    else
        free(l);
    return status;
}

vj_lease_view vj_lease_look(const char *folder)
{
    vj_lease_view view = {.state = VJ_LEASE_FREE};
    char path[VJ_FILE_PATH], text[4 * FIELD];
    struct stat info;
    struct timespec now;
    struct tm utc = {0};
    sight found;
    snprintf(path, sizeof path, "%s/lease", folder);
    /* Anybody may have put it there: a FIFO would wait for a writer. */
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || !look_at(path, &found)) return view;
    snprintf(view.holder, sizeof view.holder, "%s", name_holder(&found.by, text));
    if (strptime(found.by.since, "%Y-%m-%dT%H:%M:%SZ", &utc)) view.since_s = (double)timegm(&utc);
    whereabouts is = look_up(&found.by);
    clock_gettime(CLOCK_REALTIME, &now);
    if (is == ELSEWHERE) is = seconds_between(found.touched, now) > lease_time() ? DEAD : ALIVE;
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
    give_back(&l->seal);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
