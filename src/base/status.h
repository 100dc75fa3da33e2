/*
 * Errors: the function that sees an error reports it, once, and returns a code; its callers return the code; only a
 * program's main ends the job. Also the log lines, which only rank 0 prints.
 */
#ifndef VJ_BASE_STATUS_H
#define VJ_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    VJ_OK = 0,
    VJ_ERR_USAGE,  /* a wrong command line or setting; programs exit 2 */
    VJ_ERR_IO,     /* the system refused to open, read, write, sync or rename */
    VJ_ERR_FORMAT, /* a file is not what its name promises: damaged, foreign or of another shape */
    VJ_ERR_MEMORY, /* an allocation failed */
    VJ_ERR_STATE,  /* a call that does not fit the state of its object, or numbers that went wrong */
    VJ_ERR_LIBRARY /* MPI, HDF5, FFmpeg or another library reports a failure */
} vj_status;

/** Exit codes of every program (docs/design.md, section 1). */
enum { VJ_EXIT_DONE = 0, VJ_EXIT_FAILED = 1, VJ_EXIT_USAGE = 2, VJ_EXIT_HUNG = 70, VJ_EXIT_RESUMABLE = 75 };

/**
 * Report an error on standard error, with rank, host, file and line, and return `code`.
 * For VJ_ERR_IO the text of errno is added, so the format needs no %m.
 */
#define vj_raise(code, ...) vj_raise_at(__FILE__, __LINE__, (code), __VA_ARGS__)
vj_status vj_raise_at(const char *file, int line, vj_status code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** The same, adding the innermost message of HDF5's error stack, which is cleared. */
#define vj_raise_h5(...) vj_raise_h5_at(__FILE__, __LINE__, __VA_ARGS__)
vj_status vj_raise_h5_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Hand a failure up, unchanged. */
#define VJ_TRY(call)                                                                                                   \
    do {                                                                                                               \
        vj_status vj_try_status = (call);                                                                              \
        if (vj_try_status != VJ_OK) return vj_try_status;                                                              \
    } while (0)

/** For our own bugs: reports the condition and aborts the job. Stays in release builds. */
#define VJ_ASSERT(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) vj_assert_failed(__FILE__, __LINE__, #condition);                                            \
    } while (0)
void vj_assert_failed(const char *file, int line, const char *condition) __attribute__((noreturn));

/*
 * In jobs of more than VJ_SPEAK_AT_ONCE ranks, ranks other than 0 do not print errors and warnings at once but keep
 * them, so that a message of many ranks becomes one line. vj_fold() (base/fold.h) prints them: at the next vj_agree(),
 * at the end of each training step, and at the end of the program.
 */
enum {
    VJ_SPEAK_AT_ONCE = 8,
    VJ_KEPT = 32,     /* messages that a rank keeps; further ones are only counted */
    VJ_TOLD_ALONE = 3 /* kept messages that a rank prints when it ends without calling vj_fold(): a thousand ranks may
                         do so at the same moment */
};
typedef enum { VJ_SAID_ERROR, VJ_SAID_USAGE, VJ_SAID_WARNING } vj_said;
typedef struct {
    vj_said said;
    int rank;
    uint64_t kind; /* the same for all messages from one place in the code */
    char host[64], place[96];
    char text[3920];
} vj_message;

/** Begin to keep messages (true), or print the kept ones and keep no more (false). */
void vj_status_keep(bool keep);
/** Return the number of messages kept; more than VJ_KEPT if some were dropped. Thread-safe. */
int vj_status_kept(void);
/** Move the messages that were kept to `messages` [VJ_KEPT]; returns their number. Thread-safe. */
int vj_status_take(vj_message *messages);
/** Print the first VJ_TOLD_ALONE kept messages and the number of the others. For a process that is about to end without
 * the other ranks. */
void vj_status_tell(void);
/** Print a message on standard error: that of rank message->rank, which ranks - 1 others have too. The text `more`,
 * which may be "", follows. */
void vj_status_print(const vj_message *message, int ranks, const char *more);

/** Set the rank and size that messages name. vj_program_begin() calls it; without a call they are 0 and 1. */
void vj_status_identity(int rank, int size);

/** One line on standard output, from rank 0 only. */
void vj_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** Switch vj_log() off (true) or on again (false), for a program whose output must hold nothing else. */
void vj_log_mute(bool mute);
/** From now on vj_log() writes to standard error, because another program reads this one's standard output. */
void vj_log_aside(void);

/** Print one line "vjepa: warning: rank R: ..." on standard error. Any rank may call it. */
void vj_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/**
 * From now on print no error or warning, but copy the first one into `text` [bytes], which is "" until then, without
 * rank and place. For programs that turn the mistakes of a file they read into notes of a report. NULL: print again.
 */
void vj_status_divert(char *text, size_t bytes);

/** Return whether a text has no control characters except newlines and tabs, so that it may be printed. */
bool vj_printable(const char *text);

/** Seconds since an arbitrary fixed point, monotonic. */
double vj_now(void);

/** Sleep for so many seconds, less if a signal arrives. */
void vj_sleep(double seconds);

/** Write a time with a unit that suits it into `text`, which is returned: "30 us", "4.2 ms", "24 s", "3.5 minutes",
 * "7.2 hours", "12 days". */
const char *vj_duration(double seconds, char text[32]);

/** Allocate `bytes` zeroed, 64-byte aligned; NULL (never reported) when there is none. Free with free(). */
void *vj_calloc(int64_t count, int64_t bytes);

/** Resident memory of this process in bytes, and its high-water mark. */
int64_t vj_resident_bytes(void);
int64_t vj_peak_bytes(void);

#endif
