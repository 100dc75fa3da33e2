/* The watchdog. Read watch() first. The main thread passes it a few numbers under one lock. */
#include "train/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "parallel/parallel.h"

/*
 * The automatic limit is longer than a file system takes to come back after a failover, in all places: where one rank
 * waits for it, the others wait for that rank in the middle of a step. SLOT_BYTES: no two ranks write to one page.
 */
enum { HOST_BYTES = 64, LINE_BYTES = 192, SLOT_BYTES = 64 << 10, AUTOMATIC_S = 3600, AUTOMATIC_STEPS = 20 };

struct vj_watchdog {
    double limit_s;     /* negative: automatic, */
    double automatic_s; /* which is never less than this */
    int rank, size;
    char path[VJ_PATH + 32];    /* the report: a line of LINE_BYTES bytes for each rank */
    char answers[VJ_PATH + 32]; /* the answers: a line for each rank, each in a slot of its own */
    char (*host)[HOST_BYTES];
    pthread_t thread;
    int running;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    int quit;
    vj_activity place;
    int64_t step, moves; /* updates done; changes of place so far */
    double longest_s;    /* step */
    const vj_backend *be;
};

/* What the thread observed last: where the main thread is, and for how long it has made no progress. */
typedef struct {
    vj_activity place;
    vj_phase phase;
    int64_t step, moves;
    double phase_began_s, limit_s, idle_s;
    bool waits; /* waiting for other ranks */
} observation;

/* ------------------------------------------------------------------------------------------------ looking */

/*
 * Return the time limit. The automatic one grows with the longest step, because ranks may wait in a step for a rank
 * that has more work.
 */
static double limit_of(const vj_watchdog *w)
{
    if (w->limit_s > 0.0) return w->limit_s;
    return AUTOMATIC_STEPS * w->longest_s > w->automatic_s ? AUTOMATIC_STEPS * w->longest_s : w->automatic_s;
}

static double tick_of(double limit_s)
{
    const double tick = limit_s / 20.0;
    return tick < 0.05 ? 0.05 : tick > 5.0 ? 5.0 : tick;
}

/*
 * Observe the main thread, waited_s after the last time. Called with the lock held. If the whole job was suspended, the
 * clock has moved far ahead meanwhile; so at most two ticks are counted.
 */
static void observe(const vj_watchdog *w, observation *s, double waited_s)
{
    const observation before = *s;
    s->phase_began_s = 0.0;
    s->phase = VJ_PHASE_OTHER;
    if (w->be) s->phase = vj_phase_now(w->be, &s->phase_began_s);
    s->place = w->place;
    s->step = w->step;
    s->moves = w->moves;
    s->waits = vj_waits_for_ranks() || (s->place == VJ_AT_STEP && s->phase == VJ_PHASE_REDUCE);
    s->limit_s = limit_of(w);
    const double max_s = 2.0 * tick_of(s->limit_s);
    const int moved = s->moves != before.moves || s->phase_began_s != before.phase_began_s;
    s->idle_s = moved ? 0.0 : before.idle_s + (waited_s < max_s ? waited_s : max_s);
}

static const char *place_name(const observation *s)
{
    static const char *const names[VJ_PLACES] = {[VJ_AT_OPEN] = "opening stores and the network",
                                                 [VJ_AT_LOAD] = "loading a checkpoint",
                                                 [VJ_AT_CLIPS] = "waiting for clips",
                                                 [VJ_AT_RECORD] = "writing metrics",
                                                 [VJ_AT_DIGEST] = "comparing replicas",
                                                 [VJ_AT_WATCH] = "measuring features (watch.every)",
                                                 [VJ_AT_WRITE] = "writing a checkpoint"};
    return s->place == VJ_AT_STEP ? vj_phase_name(s->phase) : names[s->place];
}

/* ------------------------------------------------------------------------------------------------ ending the job */

static const char *const waiting = " (waits for other ranks)";

/* Write this rank's line into the file of answers. */
static void answer(const vj_watchdog *w, const observation *s, int fd)
{
    char line[LINE_BYTES + 1];
    int used = snprintf(line, sizeof line, "rank %d on %.48s: %s%s after step %lld, for %.0f s", w->rank,
                        w->host[w->rank], place_name(s), s->waits ? waiting : "", (long long)s->step, s->idle_s);
    if (used > LINE_BYTES - 1) used = LINE_BYTES - 1;
    memset(line + used, ' ', (size_t)(LINE_BYTES - 1 - used));
    line[LINE_BYTES - 1] = '\n';
    if (!vj_write_at(fd, line, LINE_BYTES, (int64_t)w->rank * SLOT_BYTES))
        vj_warn("%s cannot be written; where the others are is in their own messages", w->answers);
}

/* Return the place in a line of the file of answers: the text between ": " and ", for". */
static const char *place_in(const char *line, int *length)
{
    const char *from = strstr(line, ": "), *to = from ? strstr(from, ", for ") : NULL;
    *length = to ? (int)(to - from - 2) : 0;
    return to ? from + 2 : line;
}

static int same_place(const char *a, const char *b)
{
    int x, y;
    const char *in_a = place_in(a, &x), *in_b = place_in(b, &y);
    return x == y && memcmp(in_a, in_b, (size_t)x) == 0;
}

static bool waits(const char *line)
{
    return strstr(line, waiting) != NULL;
}

/*
 * Find the place that most answers have in common (Boyer and Moore's majority vote); NULL: there was no answer. Ranks
 * that wait for others are not the cause of a hang, so if there are any, only they vote.
 */
static const char *most_common(const char (*line)[LINE_BYTES + 1], int size)
{
    const char *best = NULL;
    bool any = false;
    for (int i = 0; i < size; i++) any |= waits(line[i]);
    for (int i = 0, votes = 0; i < size; i++) {
        if (line[i][0] == '\0' || (any && !waits(line[i]))) continue;
        if (votes == 0) best = line[i];
        votes += same_place(best, line[i]) ? 1 : -1;
    }
    return best;
}

/* Report where the ranks are: the majority in one line, all others by name, those without an answer first. */
static void report(const vj_watchdog *w, const char (*line)[LINE_BYTES + 1])
{
    enum { NAMED = 8 };
    const char *common = most_common(line, w->size);
    int there = 0, named = 0, length;
    for (int i = 0; i < w->size; i++) {
        if (line[i][0] != '\0' && same_place(common, line[i]))
            there++;
        else if (named++ < NAMED && line[i][0] == '\0')
            vj_raise(VJ_ERR_STATE, "rank %d on %s gave no answer: it is stopped, dead, cut off or far behind", i,
                     w->host[i]);
        else if (named <= NAMED)
            vj_raise(VJ_ERR_STATE, "%.*s", (int)strcspn(line[i], "\n"), line[i]);
    }
    const char *place = common ? place_in(common, &length) : "";
    char who[48];
    snprintf(who, sizeof who, there == w->size ? "all %d ranks" : "the other %d of %d ranks", there, w->size);
    vj_raise(VJ_ERR_STATE,
             "%s are in: %.*s (all answers: %s). Look at the ranks named above; if there are none it is the file "
             "system, the network or the MPI library. Submit again: the run goes on from its last checkpoint",
             who, common ? length : 0, place, w->path);
}

static void read_and_report(const vj_watchdog *w, int fd)
{
    char(*line)[LINE_BYTES + 1] = vj_calloc(w->size, sizeof *line);
    FILE *text = fopen(w->path, "w");
    for (int i = 0; line && i < w->size; i++) {
        if (vj_read_at(fd, line[i], LINE_BYTES, (int64_t)i * SLOT_BYTES) != LINE_BYTES) line[i][0] = '\0';
        if (text && line[i][0] != '\0') fwrite(line[i], 1, LINE_BYTES, text);
    }
    if (!text || fclose(text) != 0) vj_warn("%s cannot be written", w->path);
    if (line) report(w, line);
    free(line);
}

/*
 * If a thousand ranks cannot reach the file of answers, only one per node says so: the first to bind an abstract socket
 * name that all ranks of one launcher know. The system frees the name when this process ends.
 */
static bool is_first_on_node(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "vjepa-watchdog-%ld", (long)getppid());
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 || bind(fd, (const struct sockaddr *)&name, sizeof name) == 0;
}

/*
 * The first rank to come here creates the file of answers and reports; the others see the file and answer. If something
 * below hangs, such as a file system, the alarm still ends this process.
 */
static _Noreturn void end_job(const vj_watchdog *w, const observation *s)
{
    const double grace_s = 2.0 + 2.0 * tick_of(s->limit_s);
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, SIGALRM);
    sigaction(SIGALRM, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    alarm((unsigned)(2.0 * grace_s) + 10);
    vj_status_keep(false); /* collective calls are impossible from now on, so kept messages are printed now */
    int fd = open(w->answers, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    const int first = fd >= 0;
    if (!first) fd = open(w->answers, O_WRONLY | O_CLOEXEC);
    if (first || (fd < 0 && is_first_on_node()))
        vj_raise(VJ_ERR_STATE,
                 "no progress for %.0f s (limit %.0f, run.watchdog_s) in: %s, after step %lld. This rank ends the job",
                 s->idle_s, s->limit_s, place_name(s), (long long)s->step);
    /*
     * Set the file's size first: on network file systems data beyond the end of a file may be lost when others write.
     */
    if (first && ftruncate(fd, (off_t)w->size * SLOT_BYTES) != 0) vj_warn("%s cannot be given its size", w->answers);
    if (fd >= 0) answer(w, s, fd);
    vj_sleep(grace_s);
    if (first) read_and_report(w, fd);
    /*
     * This is the only place besides main() that ends the process: this thread may not call MPI_Abort(), and the main
     * thread hangs.
     */
    _exit(VJ_EXIT_HUNG);
}

/* ------------------------------------------------------------------------------------------------ the thread */

/* A rank that waits, though not long enough to report, checks whether another rank asks for answers. */
static void answer_if_asked(const vj_watchdog *w, const observation *s, int *answered)
{
    if (*answered || s->idle_s < 0.5 * s->limit_s) return;
    const int fd = open(w->answers, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    answer(w, s, fd);
    (void)close(fd); /* written by pwrite; the job is ending */
    *answered = 1;
}

static void *watch(void *argument)
{
    vj_watchdog *w = argument;
    observation s = {.moves = -1};
    int answered = 0;
    double waited_from_s = vj_now();
    pthread_mutex_lock(&w->lock);
    while (!w->quit) {
        const double now = vj_now();
        observe(w, &s, now - waited_from_s);
        waited_from_s = now;
        pthread_mutex_unlock(&w->lock);
        if (s.idle_s >= s.limit_s) end_job(w, &s);
        answer_if_asked(w, &s, &answered);
        pthread_mutex_lock(&w->lock);
        if (!w->quit) (void)vj_cond_wait_s(&w->changed, &w->lock, tick_of(s.limit_s));
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static vj_status remove_old(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR) return VJ_OK;
    return vj_raise(VJ_ERR_IO, "remove %s of an earlier start", path);
}

static vj_status start_thread(vj_watchdog *w)
{
    pthread_mutex_init(&w->lock, NULL);
    vj_cond_init(&w->changed);
    w->running = vj_thread_start(&w->thread, watch, w);
    return w->running ? VJ_OK : vj_raise(VJ_ERR_IO, "start the watchdog's thread (run.watchdog_s=0 does without)");
}

/* ------------------------------------------------------------------------------------------------ life */

vj_status vj_watchdog_start(vj_watchdog **watchdog, const vj_config *config, MPI_Comm comm)
{
    *watchdog = NULL;
    if (config->run.watchdog_s == 0.0) return VJ_OK;
    vj_watchdog *w = *watchdog = vj_calloc(1, sizeof *w);
    if (!w) return vj_raise(VJ_ERR_MEMORY, "no memory for a watchdog");
    char host[HOST_BYTES] = "";
    MPI_Comm_rank(comm, &w->rank);
    MPI_Comm_size(comm, &w->size);
    const double patience_s = vj_config_io_patience_s(config); /* waiting for clips for so long is no hang */
    w->limit_s = config->run.watchdog_s;
    w->automatic_s = 2.0 * patience_s > AUTOMATIC_S ? 2.0 * patience_s : AUTOMATIC_S;
    snprintf(w->path, sizeof w->path, "%s/watchdog.txt", config->run.dir);
    snprintf(w->answers, sizeof w->answers, "%s/watchdog.answers", config->run.dir);
    if (gethostname(host, sizeof host - 1) != 0) strcpy(host, "unknown host");
    w->host = vj_calloc(w->size, sizeof *w->host);
    if (!w->host) return vj_raise(VJ_ERR_MEMORY, "no memory for %d host names", w->size);
    if (w->rank == 0) VJ_TRY(remove_old(w->path));
    if (w->rank == 0) VJ_TRY(remove_old(w->answers));
    MPI_Allgather(host, sizeof host, MPI_BYTE, w->host, sizeof host, MPI_BYTE, comm); /* after the file is gone */
    return start_thread(w);
}

void vj_watchdog_stop(vj_watchdog *w)
{
    if (!w) return;
    if (w->running) {
        pthread_mutex_lock(&w->lock);
        w->quit = 1;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
    }
    free(w->host);
    free(w);
}

void vj_watchdog_enter(vj_watchdog *w, vj_activity place, int64_t step)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->place = place;
    w->step = step;
    w->moves++;
    pthread_mutex_unlock(&w->lock);
}

void vj_watchdog_set_backend(vj_watchdog *w, const vj_backend *be)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->be = be;
    pthread_mutex_unlock(&w->lock);
}

void vj_watchdog_record_step(vj_watchdog *w, double step_s)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    if (step_s > w->longest_s) w->longest_s = step_s;
    pthread_mutex_unlock(&w->lock);
}
