/*
 * Opening an untrusted file: it must be regular, FFmpeg sees it only through our read and seek on one file descriptor,
 * and its name is not shown to FFmpeg at all. So names such as "http:x.mp4" or "pct%03d.png" mean nothing special, and
 * play lists and data references inside a file reach no other file and no network.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "video/inside.h"

vj_video_verdict vj_refuse(vj_reason reason, vj_video_verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason.text, (size_t)reason.bytes, format, args);
    va_end(args);
    return verdict;
}

vj_video_verdict vj_refuse_av(vj_reason reason, vj_video_verdict verdict, int error, const char *what)
{
    char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(error, text, sizeof text);
    return vj_refuse(reason, error == AVERROR(ENOMEM) ? VJ_VIDEO_FAILED : verdict, "%s: %s", what, text);
}

static int read_bytes(void *user, uint8_t *buffer, int bytes)
{
    const vj_media_file *file = user;
    ssize_t got;
    do got = read(file->fd, buffer, (size_t)bytes);
    while (got < 0 && errno == EINTR);
    if (got == 0) return AVERROR_EOF;
    return got < 0 ? AVERROR(errno) : (int)got;
}

static int64_t seek_bytes(void *user, int64_t offset, int whence)
{
    const vj_media_file *file = user;
    if (whence == AVSEEK_SIZE) {
        struct stat st;
        return fstat(file->fd, &st) == 0 ? st.st_size : AVERROR(errno);
    }
    off_t at = lseek(file->fd, offset, whence & ~AVSEEK_FORCE);
    return at < 0 ? AVERROR(errno) : at;
}

static int refuse_nested(AVFormatContext *format, AVIOContext **io, const char *url, int flags, AVDictionary **options)
{
    (void)format, (void)io, (void)url, (void)flags, (void)options;
    return AVERROR(EPERM);
}

/* What errno says of the file; anything else is a failure of the system, which the next file would meet too. */
static vj_status judge_errno(const char *path, vj_video_verdict *verdict, vj_reason reason)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case EACCES:
    case EPERM:
    case ENAMETOOLONG:
        *verdict = vj_refuse(reason, VJ_VIDEO_MISSING, "%s", strerror(errno));
        return VJ_OK;
    case ELOOP:
        *verdict = vj_refuse(reason, VJ_VIDEO_NOT_REGULAR, "%s", strerror(errno));
        return VJ_OK;
    default:
        return vj_raise(VJ_ERR_IO, "open %s", path);
    }
}

static vj_video_verdict judge_stat(const struct stat *st, vj_reason reason)
{
    if (!S_ISREG(st->st_mode)) {
        const char *kind = S_ISDIR(st->st_mode) ? "a folder" : S_ISFIFO(st->st_mode) ? "a FIFO" : "a device or socket";
        return vj_refuse(reason, VJ_VIDEO_NOT_REGULAR, "%s", kind);
    }
    if (st->st_size == 0) return vj_refuse(reason, VJ_VIDEO_EMPTY, "no bytes");
    if (st->st_size > VJ_VIDEO_MAX_BYTES)
        return vj_refuse(reason, VJ_VIDEO_TOO_LARGE, "%lld bytes, at most %lld are read", (long long)st->st_size,
                         (long long)VJ_VIDEO_MAX_BYTES);
    return VJ_VIDEO_OK;
}

/* Looked at before it is opened (opening some devices has effects) and again afterwards (it may have been exchanged).
 */
static vj_status open_regular(int *fd, const char *path, vj_video_verdict *verdict, vj_reason reason)
{
    struct stat st;
    if (stat(path, &st) != 0) return judge_errno(path, verdict, reason);
    *verdict = judge_stat(&st, reason);
    if (*verdict != VJ_VIDEO_OK) return VJ_OK;
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (*fd < 0) return judge_errno(path, verdict, reason);
    if (fstat(*fd, &st) != 0) return vj_raise(VJ_ERR_IO, "stat %s", path);
    *verdict = judge_stat(&st, reason);
    return VJ_OK;
}

/*
 * FFmpeg decodes a little to learn about the streams; the limit on pixels holds there already for those that the header
 * names. Streams that a format adds later (MPEG-TS, MPEG-PS, FLV) are looked at within FFmpeg's own limit, and meet
 * ours when their decoder is opened (stream.c).
 */
static int find_streams(AVFormatContext *format)
{
    unsigned count = format->nb_streams;
    AVDictionary **options = av_calloc(count + 1, sizeof *options);
    if (!options) return AVERROR(ENOMEM);
    for (unsigned i = 0; i < count; i++) {
        av_dict_set_int(&options[i], "max_pixels", VJ_VIDEO_MAX_PIXELS, 0);
        av_dict_set_int(&options[i], "threads", 1, 0);
    }
    int error = avformat_find_stream_info(format, options);
    for (unsigned i = 0; i < count; i++) av_dict_free(&options[i]);
    av_free(options);
    return error;
}

static vj_video_verdict recognise(vj_media_file *file, vj_reason reason)
{
    enum { BUFFER = 256 * 1024 };
    /* Damaged files make FFmpeg talk, hundreds of lines a file; here the verdict speaks. */
    av_log_set_level(AV_LOG_QUIET);
    uint8_t *buffer = av_malloc(BUFFER);
    if (buffer) file->io = avio_alloc_context(buffer, BUFFER, 0, file, read_bytes, NULL, seek_bytes);
    if (!file->io) av_free(buffer);
    file->format = avformat_alloc_context();
    if (!file->io || !file->format) return vj_refuse(reason, VJ_VIDEO_FAILED, "out of memory");
    file->format->pb = file->io;
    /* Both: some demuxers open further files by the first, some with contexts that inherit only the second. */
    file->format->io_open = refuse_nested;
    file->format->protocol_whitelist = av_strdup("none");
    if (!file->format->protocol_whitelist) return vj_refuse(reason, VJ_VIDEO_FAILED, "out of memory");
    int error = avformat_open_input(&file->format, "", NULL, NULL);
    if (error < 0) return vj_refuse_av(reason, VJ_VIDEO_UNRECOGNISED, error, "not a media file");
    error = find_streams(file->format);
    if (error < 0) return vj_refuse_av(reason, VJ_VIDEO_UNRECOGNISED, error, "no streams");
    return VJ_VIDEO_OK;
}

vj_status vj_media_file_open(vj_media_file *file, const char *path, vj_video_verdict *verdict, vj_reason reason)
{
    *file = (vj_media_file){.fd = -1};
    VJ_TRY(open_regular(&file->fd, path, verdict, reason));
    if (*verdict == VJ_VIDEO_OK) *verdict = recognise(file, reason);
    return VJ_OK;
}

void vj_media_file_close(vj_media_file *file)
{
    avformat_close_input(&file->format);
    if (file->io) av_freep(&file->io->buffer);
    avio_context_free(&file->io);
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
}
