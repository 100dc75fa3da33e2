/*
 * The parent's side: starts workers, gives them files, receives their replies, kills and replaces them. Every reply is
 * checked before it is used, and the shared memory is sealed, so the clips cannot change while they are in use.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "decode/message.h"

extern char **environ;

typedef enum { IDLE, BUSY, DONE } state;

typedef struct {
    pid_t process; /* 0: none */
    int socket;    /* -1: none */
    state state;
    int memory;       /* shared memory for the current file; -1: none */
    double began_s;   /* when the file was handed over */
    double so_far;    /* part of the file that is done, as the worker has told */
    vj_decoded *file; /* what is known of the current file; owned */
} worker;

struct vj_decoders {
    vj_decode_settings settings;
    char program[PATH_MAX];
    int count;
    int warned; /* a warning of restrictions that the sandbox lacks was logged */
    worker *worker;
    struct pollfd *poll; /* [count] */
};

void vj_decoded_free(vj_decoded *decoded)
{
    if (!decoded) return;
    if (decoded->data) munmap((void *)(uintptr_t)decoded->data, (size_t)decoded->data_bytes);
    free(decoded->clip);
    free(decoded);
}

int vj_decoders_idle(const vj_decoders *d)
{
    int idle = 0;
    for (int i = 0; i < d->count; i++) idle += d->worker[i].state == IDLE;
    return idle;
}

double vj_decoders_so_far(const vj_decoders *d)
{
    double sum = 0;
    for (int i = 0; i < d->count; i++)
        sum += d->worker[i].state == BUSY ? d->worker[i].so_far : d->worker[i].state == DONE ? 1.0 : 0.0;
    return sum;
}

int vj_decoders_process(const vj_decoders *d, int number)
{
    return (int)d->worker[number].process;
}

/* ------------------------------------------------------------------------------------------------ processes */

static vj_status find_program(vj_decoders *d)
{
    const char *named = getenv("VJEPA_DECODE");
    if (named && *named) {
        if (strlen(named) >= sizeof d->program) return vj_raise(VJ_ERR_USAGE, "VJEPA_DECODE is too long a path");
        strcpy(d->program, named);
    } else {
        static const char name[] = "vjepa-decode";
        ssize_t length = readlink("/proc/self/exe", d->program, sizeof d->program - sizeof name);
        if (length < 0) return vj_raise(VJ_ERR_IO, "read the link /proc/self/exe");
        d->program[length] = '\0';
        strcpy(strrchr(d->program, '/') + 1, name);
    }
    if (access(d->program, X_OK) != 0)
        return vj_raise(VJ_ERR_IO, "%s, which decodes files, cannot be run (VJEPA_DECODE names another)", d->program);
    return VJ_OK;
}

/* Start the program with the socket as its standard input. Signals get default handling, whatever MPI set here. */
static int spawn(const vj_decoders *d, int socket, pid_t *process)
{
    char *argv[] = {(char *)(uintptr_t)d->program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    error = posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
    if (!error) error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error) error = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!error) error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!error) error = posix_spawn(process, d->program, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* End a worker. Returns its wait status, or -1 if that is not known. */
static int end_worker(worker *w)
{
    int status = -1;
    if (w->socket >= 0) close(w->socket);
    if (w->memory >= 0) close(w->memory);
    w->socket = w->memory = -1;
    if (w->process > 0) {
        kill(w->process, SIGKILL); /* no effect if it has already ended */
        pid_t waited;
        do waited = waitpid(w->process, &status, 0);
        while (waited < 0 && errno == EINTR);
        if (waited < 0) status = -1;
    }
    w->process = 0;
    return status;
}

/* Start a process without waiting for it, so that several can start at the same time; greet() waits. */
static vj_status start_worker(const vj_decoders *d, worker *w)
{
    int pair[2];
    *w = (worker){.socket = -1, .memory = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return vj_raise(VJ_ERR_IO, "make a socket for %s", d->program);
    w->socket = pair[0];
    int error = spawn(d, pair[1], &w->process);
    close(pair[1]);
    if (error) {
        end_worker(w);
        errno = error;
        return vj_raise(VJ_ERR_IO, "start %s", d->program);
    }
    /* If this fails the process has ended, which greet() notices. */
    (void)vj_message_send(w->socket, &d->settings, sizeof d->settings, NULL, 0);
    return VJ_OK;
}

enum { PATIENCE_MS = 60000 }; /* long, because its libraries may come from a slow file system */

/* Receive a worker's hello. Returns 1; 0 if the worker has ended; -1 if it sent anything else or, with *ready 0,
 * nothing in time. */
static int hear(const worker *w, vj_decode_hello *hello, int *ready)
{
    struct pollfd p = {.fd = w->socket, .events = POLLIN};
    do *ready = poll(&p, 1, PATIENCE_MS);
    while (*ready < 0 && errno == EINTR);
    return *ready > 0 ? vj_message_receive(w->socket, hello, sizeof *hello, NULL, 0) : -1;
}

/*
 * Wait for a started worker. If it is killed before it says hello (the system ran out of memory) or does not answer (a
 * file server may be slow), start it again.
 */
static vj_status greet(vj_decoders *d, worker *w)
{
    enum { ATTEMPTS = 3 };
    vj_decode_hello hello;
    int ready, got = hear(w, &hello, &ready);
    for (int attempt = 1; (got == 0 || ready == 0) && attempt < ATTEMPTS; attempt++) {
        const int stood_still = ready == 0;
        int status = end_worker(w);
        int killed = status >= 0 && WIFSIGNALED(status);
        if (!killed && !stood_still) break; /* it ended by itself and has printed the reason */
        VJ_TRY(start_worker(d, w));
        got = hear(w, &hello, &ready);
    }
    if (got == 1 && hello.protocol == VJ_DECODE_PROTOCOL) {
        hello.sandbox[sizeof hello.sandbox - 1] = '\0';
        if (hello.sandbox[0] && !d->warned) vj_log("decoding is less protected than it could be: %s", hello.sandbox);
        d->warned = 1;
        return VJ_OK;
    }
    end_worker(w);
    if (ready == 0)
        return vj_raise(VJ_ERR_STATE, "%s did not answer within %d s of its start", d->program, PATIENCE_MS / 1000);
    return vj_raise(VJ_ERR_STATE, "%s %s", d->program,
                    got == 0 ? "ended at once: what it said is above" : "is of another version of vjepa");
}

/* Replace a worker's process by a new one. The worker's state and what is known of its file stay. */
static vj_status replace(vj_decoders *d, worker *w)
{
    const worker before = *w;
    end_worker(w);
    vj_status status = start_worker(d, w);
    if (status == VJ_OK) status = greet(d, w);
    w->file = before.file;
    w->state = before.state;
    return status;
}

vj_status vj_decoders_start(vj_decoders **decoders, const vj_decode_settings *settings, int workers)
{
    vj_decoders *d = calloc(1, sizeof *d);
    *decoders = d;
    if (!d) return vj_raise(VJ_ERR_MEMORY, "no memory for %d workers", workers);
    d->settings = *settings;
    d->worker = calloc((size_t)workers, sizeof *d->worker);
    d->poll = calloc((size_t)workers, sizeof *d->poll);
    vj_status status =
        d->worker && d->poll ? find_program(d) : vj_raise(VJ_ERR_MEMORY, "no memory for %d workers", workers);
    for (; status == VJ_OK && d->count < workers; d->count++) status = start_worker(d, &d->worker[d->count]);
    for (int i = 0; status == VJ_OK && i < workers; i++) status = greet(d, &d->worker[i]);
    if (status == VJ_OK) return VJ_OK;
    vj_decoders_stop(d);
    *decoders = NULL;
    return status;
}

void vj_decoders_stop(vj_decoders *d)
{
    if (!d) return;
    for (int i = 0; i < d->count; i++) {
        end_worker(&d->worker[i]);
        vj_decoded_free(d->worker[i].file);
    }
    free(d->worker);
    free(d->poll);
    free(d);
}

/* ------------------------------------------------------------------------------------------------ handing over */

static vj_status hand_over(vj_decoders *d, worker *w, const vj_decode_order *order, int fd)
{
    for (int attempt = 0;; attempt++) {
        w->memory = memfd_create("vjepa-clips", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (w->memory < 0) return vj_raise(VJ_ERR_IO, "make shared memory for clips");
        if (vj_message_send(w->socket, order, sizeof *order, (int[]){fd, w->memory}, 2) == 0) return VJ_OK;
        if (attempt > 0) return vj_raise(VJ_ERR_IO, "talk to %s", d->program);
        VJ_TRY(replace(d, w)); /* it died while it was idle */
    }
}

vj_status vj_decoders_submit(vj_decoders *d, const vj_decode_job *job)
{
    worker *w = d->worker;
    while (w < d->worker + d->count && w->state != IDLE) w++;
    VJ_ASSERT(w < d->worker + d->count && job->windows >= 0 && job->windows <= d->settings.windows);
    vj_decoded *file = calloc(1, sizeof *file);
    if (!file) return vj_raise(VJ_ERR_MEMORY, "no memory for %s", job->path);
    file->source = job->source;
    int fd;
    vj_status status =
        vj_regular_open(job->path, d->settings.limits.max_bytes, &fd, &file->bytes, &file->verdict, file->reason);
    if (status == VJ_OK && fd >= 0) {
        const vj_decode_order order = {.source = job->source,
                                       .start_s = job->start_s,
                                       .end_s = job->end_s,
                                       .windows = job->look_only     ? 0
                                                  : job->windows > 0 ? job->windows
                                                                     : d->settings.windows};
        status = hand_over(d, w, &order, fd);
        close(fd);
    }
    if (status != VJ_OK) {
        free(file);
        return status;
    }
    w->file = file;
    w->so_far = 0.0;
    w->began_s = vj_now();
    w->state = file->verdict == VJ_VIDEO_OK ? BUSY : DONE;
    return VJ_OK;
}

/* ------------------------------------------------------------------------------------------------ taking back */

/* Check a clip. Whatever a shard would refuse (clips/shard.c, clips/tables.c) must be found here, so that it gives a
 * verdict on the file. */
static int clip_is_sound(const vj_decode_settings *s, const vj_decoded *file, const vj_decoded_clip *clip)
{
    const vj_decoded_clip *before = clip > file->clip ? clip - 1 : NULL;
    if (clip->window < 0 || clip->window >= s->windows || (before && clip->window <= before->window)) return 0;
    if (clip->height < 1 || clip->height > VJ_VIDEO_MAX_SIDE || clip->width < 1 || clip->width > VJ_VIDEO_MAX_SIDE)
        return 0;
    const int64_t frames = vj_frames_bytes((int)s->frames, clip->height, clip->width);
    if (frames > VJ_RECORD_MAX_BYTES || clip->bytes > VJ_RECORD_MAX_BYTES) return 0;
    if (clip->at < (before ? before->at + before->bytes : 0)) return 0;
    if (clip->bytes < 1 || clip->bytes > file->data_bytes || clip->at > file->data_bytes - clip->bytes) return 0;
    return isfinite(clip->pts_s) && vj_record_can_hold(s->codec.codec, clip->bytes, frames);
}

/*
 * Seal and map the clips. Once they are sealed, nobody can write to them; sealing fails if the worker still has them
 * mapped. Returns 0 if anything is wrong with them.
 */
static int take_clips(const vj_decode_settings *s, vj_decoded *file, int memory)
{
    if (fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return 0;
    const int64_t table_bytes = file->clips * (int64_t)sizeof *file->clip;
    file->data_bytes = lseek(memory, 0, SEEK_END);
    if (file->data_bytes < table_bytes) return 0;
    void *data = mmap(NULL, (size_t)file->data_bytes, PROT_READ, MAP_SHARED, memory, 0);
    file->data = data == MAP_FAILED ? NULL : data;
    file->clip = malloc((size_t)table_bytes);
    if (!file->data || !file->clip) return 0;
    memcpy(file->clip, file->data, (size_t)table_bytes);
    for (int i = 0; i < file->clips; i++)
        if (!clip_is_sound(s, file, &file->clip[i])) return 0;
    return 1;
}

/* Check the name of a codec or container, which goes into the ledger unchanged. */
static int is_word(const char *name)
{
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0';
}

/* Copy a reply into `file`. Returns 0 if no correct worker would have sent it. */
static int take_reply(const vj_decode_settings *s, vj_decoded *file, vj_decode_reply *reply, int memory)
{
    if (reply->source != file->source || reply->verdict < 0 || reply->verdict >= VJ_VIDEO_VERDICTS) return 0;
    if (reply->clips < 0 || reply->clips > s->windows || (reply->clips > 0 && reply->verdict != VJ_VIDEO_OK)) return 0;
    reply->reason[sizeof reply->reason - 1] = '\0';
    reply->info.container[sizeof reply->info.container - 1] = '\0';
    reply->info.codec[sizeof reply->info.codec - 1] = '\0';
    if (!is_word(reply->info.container) || !is_word(reply->info.codec)) return 0;
    file->verdict = (vj_video_verdict)reply->verdict;
    file->clips = reply->clips;
    memcpy(file->reason, reply->reason, sizeof file->reason);
    file->info = reply->info;
    file->digest = reply->digest;
    file->look = reply->look;
    file->frames = reply->frames;
    file->seconds = reply->seconds;
    return reply->clips == 0 || take_clips(s, file, memory);
}

typedef enum { ENDED, TOO_SLOW, UNSOUND } loss;

/* Set the verdict on the file of a worker that ended by itself or was ended by us. */
static void judge_loss(const vj_decode_settings *s, vj_decoded *file, loss why, int status)
{
    int by = why == ENDED && status != -1 && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    file->verdict = VJ_VIDEO_CRASHED;
    if (why == TOO_SLOW || by == SIGXCPU) {
        file->verdict = VJ_VIDEO_TIMED_OUT;
        snprintf(file->reason, sizeof file->reason, "not done after %g s", s->seconds);
    } else if (by == SIGKILL) {
        file->verdict = VJ_VIDEO_OUT_OF_MEMORY;
        snprintf(file->reason, sizeof file->reason,
                 "its process was killed, as the system does when the machine's memory ends");
    } else if (by) {
        snprintf(file->reason, sizeof file->reason, "its process died by signal %d (%s)", by, strsignal(by));
    } else if (why == UNSOUND) {
        snprintf(file->reason, sizeof file->reason, "its process answered what it should not");
    } else if (status != -1) {
        snprintf(file->reason, sizeof file->reason, "its process ended with exit code %d", WEXITSTATUS(status));
    } else {
        snprintf(file->reason, sizeof file->reason, "its process ended");
    }
}

/* Handle the loss of a worker: its file gets a verdict and no clips, and a new process takes its place. */
static vj_status lose(vj_decoders *d, worker *w, loss why)
{
    vj_decoded *file = calloc(1, sizeof *file);
    if (!file) return vj_raise(VJ_ERR_MEMORY, "no memory for the verdict on a file");
    file->source = w->file->source;
    file->bytes = w->file->bytes;
    file->seconds = vj_now() - w->began_s;
    vj_decoded_free(w->file);
    judge_loss(&d->settings, file, why, end_worker(w));
    w->file = file;
    w->state = DONE;
    return replace(d, w);
}

static vj_status listen_to(vj_decoders *d, worker *w)
{
    vj_decode_reply reply;
    int got = vj_message_receive(w->socket, &reply, sizeof reply, NULL, 0);
    if (got == 0) return lose(d, w, ENDED);
    if (got > 0 && reply.so_far > 0.0) {
        w->so_far = fmin(reply.so_far, 1.0);
        return VJ_OK;
    }
    if (got < 0 || !take_reply(&d->settings, w->file, &reply, w->memory)) return lose(d, w, UNSOUND);
    close(w->memory);
    w->memory = -1;
    w->state = DONE;
    return reply.leaving ? replace(d, w) : VJ_OK;
}

static vj_decoded *take_done(vj_decoders *d)
{
    for (int i = 0; i < d->count; i++)
        if (d->worker[i].state == DONE) {
            vj_decoded *file = d->worker[i].file;
            d->worker[i].file = NULL;
            d->worker[i].state = IDLE;
            return file;
        }
    return NULL;
}

/* Wait until a worker sends a message, a worker exceeds its time limit, or time `until_s`. *busy: number of workers
 * that have a file. */
static vj_status wait_for_workers(vj_decoders *d, double until_s, int *busy)
{
    double wake_s = until_s;
    *busy = 0;
    for (int i = 0; i < d->count; i++) {
        const worker *w = &d->worker[i];
        d->poll[i] = (struct pollfd){.fd = w->state == BUSY ? w->socket : -1, .events = POLLIN};
        if (w->state != BUSY) continue;
        ++*busy;
        if (w->began_s + d->settings.seconds < wake_s) wake_s = w->began_s + d->settings.seconds;
    }
    double rest_ms = (wake_s - vj_now()) * 1000 + 1;
    int ms = rest_ms < 0 ? 0 : rest_ms > INT_MAX ? INT_MAX : (int)rest_ms;
    if (*busy > 0 && poll(d->poll, (nfds_t)d->count, ms) < 0 && errno != EINTR)
        return vj_raise(VJ_ERR_IO, "wait for %s", d->program);
    return VJ_OK;
}

vj_status vj_decoders_next(vj_decoders *d, vj_decoded **decoded, double timeout_s)
{
    const double until_s = vj_now() + timeout_s;
    int busy = 1;
    while (!(*decoded = take_done(d)) && busy > 0) {
        VJ_TRY(wait_for_workers(d, until_s, &busy));
        for (int i = 0; i < d->count; i++) {
            worker *w = &d->worker[i];
            if (w->state != BUSY) continue;
            if (d->poll[i].revents) VJ_TRY(listen_to(d, w));
            if (w->state == BUSY && vj_now() >= w->began_s + d->settings.seconds) VJ_TRY(lose(d, w, TOO_SLOW));
        }
        if (vj_now() >= until_s) busy = 0;
    }
    return VJ_OK;
}
