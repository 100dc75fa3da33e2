/*
 * Recognises an untrusted file. FFmpeg accesses it only through our read and seek functions on one file descriptor, and
 * never sees its name. So names such as "http:x.mp4" or "pct%03d.png" have no special meaning, and play lists and data
 * references inside a file reach no other file and no network.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "video/inside.h"

vj_video_verdict vj_video_refuse(vj_video *v, vj_video_verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(v->reason, sizeof v->reason, format, args);
    va_end(args);
    return verdict;
}

vj_video_verdict vj_refuse_av(vj_video *v, vj_video_verdict verdict, int error, const char *what)
{
    char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(error, text, sizeof text);
    return vj_video_refuse(v, error == AVERROR(ENOMEM) ? VJ_VIDEO_OUT_OF_MEMORY : verdict, "%s: %s", what, text);
}

static int read_bytes(void *user, uint8_t *buffer, int bytes)
{
    vj_media_file *file = user;
    ssize_t got;
    do got = read(file->fd, buffer, (size_t)bytes);
    while (got < 0 && errno == EINTR);
    if (got == 0) return AVERROR_EOF;
    if (got > 0) return (int)got;
    file->failed = errno;
    return AVERROR(errno);
}

/* Gets the file's size by seeking, because the sandbox of io/make/decode does not allow fstat(). */
static int64_t seek_bytes(void *user, int64_t offset, int whence)
{
    const vj_media_file *file = user;
    off_t at;
    if (whence == AVSEEK_SIZE) {
        off_t here = lseek(file->fd, 0, SEEK_CUR);
        at = lseek(file->fd, 0, SEEK_END);
        if (here < 0 || at < 0 || lseek(file->fd, here, SEEK_SET) < 0) return AVERROR(errno);
    } else {
        at = lseek(file->fd, offset, whence & ~AVSEEK_FORCE);
    }
    return at < 0 ? AVERROR(errno) : at;
}

static int refuse_nested(AVFormatContext *format, AVIOContext **io, const char *url, int flags, AVDictionary **options)
{
    (void)format, (void)io, (void)url, (void)flags, (void)options;
    return AVERROR(EPERM);
}

/*
 * Let FFmpeg decode a little to learn about the streams. Our limit on pixels already holds for the streams in the
 * header. Streams that a format adds later (MPEG-TS, MPEG-PS, FLV) have FFmpeg's own limit here, and ours once their
 * decoder is opened (stream.c).
 */
static int find_streams(AVFormatContext *format, int64_t max_pixels)
{
    unsigned count = format->nb_streams;
    AVDictionary **options = av_calloc(count + 1, sizeof *options);
    if (!options) return AVERROR(ENOMEM);
    for (unsigned i = 0; i < count; i++) {
        av_dict_set_int(&options[i], "max_pixels", max_pixels, 0);
        av_dict_set_int(&options[i], "threads", 1, 0);
    }
    int error = avformat_find_stream_info(format, options);
    for (unsigned i = 0; i < count; i++) av_dict_free(&options[i]);
    av_free(options);
    return error;
}

/*
 * Receives FFmpeg's log messages; nothing is printed, because a damaged file gives hundreds of lines. Three facts
 * are known only from messages: that a demuxer had to skip bytes, that a decoder lacks a frame on which others depend,
 * and that it could not decode a strip of a TIFF picture.
 * Contexts without `opaque` are not ours.
 */
static void listen(void *context, int level, const char *format, va_list args)
{
    (void)args;
    const AVClass *class = context ? *(const AVClass *const *)context : NULL;
    if (!class) return;
    if (class == avformat_get_class()) {
        vj_video *v = ((const AVFormatContext *)context)->opaque;
        if (v && level <= AV_LOG_ERROR) v->file.errors++;
    } else if (class == avcodec_get_class()) {
        vj_video *v = ((const AVCodecContext *)context)->opaque;
        if (v && (strncmp(format, "Frame num gap", 13) == 0 || strncmp(format, "Could not find ref", 18) == 0 ||
                  strncmp(format, "Missing reference", 17) == 0))
            v->lost_reference = 1;
        if (v && level <= AV_LOG_ERROR && ((const AVCodecContext *)context)->codec_id == AV_CODEC_ID_TIFF)
            v->lost_strip = 1;
    }
}

static int allocate(vj_media_file *file)
{
    enum { BUFFER = 256 * 1024 };
    uint8_t *buffer = av_malloc(BUFFER);
    if (buffer) file->io = avio_alloc_context(buffer, BUFFER, 0, file, read_bytes, NULL, seek_bytes);
    if (!file->io) av_free(buffer);
    file->format = avformat_alloc_context();
    if (!file->io || !file->format) return AVERROR(ENOMEM);
    file->format->pb = file->io;
    file->format->flags |= AVFMT_FLAG_CUSTOM_IO; /* or closing it before it is open would close our io */
    /* Both are needed: some demuxers open further files with io_open, others with contexts that inherit only the
     * whitelist.
     */
    file->format->io_open = refuse_nested;
    file->format->protocol_whitelist = av_strdup("none");
    return file->format->protocol_whitelist ? 0 : AVERROR(ENOMEM);
}

/* Recognise a portable anymap with a blank after its "P5", which is valid, but FFmpeg expects a line end. NULL: it is
 * not. */
static const AVInputFormat *portable_anymap(const vj_media_file *file)
{
    static const char *const demuxers[] = {"pbm_pipe", "pgm_pipe", "ppm_pipe", "pbm_pipe", "pgm_pipe", "ppm_pipe"};
    const unsigned char *begin = file->begin;
    if (file->begin_bytes < 8 || begin[0] != 'P' || begin[1] < '1' || begin[1] > '6' || begin[2] != ' ') return NULL;
    return begin[3] >= '0' && begin[3] <= '9' ? av_find_input_format(demuxers[begin[1] - '1']) : NULL;
}

vj_video_verdict vj_media_file_open(vj_video *v, int fd)
{
    vj_media_file *file = &v->file;
    *file = (vj_media_file){.fd = fd};
    av_log_set_callback(listen);
    file->begin_bytes = vj_read_at(fd, file->begin, sizeof file->begin, 0);
    if (file->begin_bytes < 0) {
        file->failed = errno;
        return vj_refuse_av(v, VJ_VIDEO_UNREADABLE, AVERROR(errno), "reading");
    }
    if (lseek(fd, 0, SEEK_SET) < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, AVERROR(errno), "going to the start");
    int error = allocate(file);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "opening");
    file->format->opaque = v;
    const AVInputFormat *container = NULL;
    error = av_probe_input_buffer2(file->io, &container, "", NULL, 0, 0);
    if ((error < 0 || !vj_container_allowed(container->name)) && portable_anymap(file)) {
        container = portable_anymap(file);
        error = avio_seek(file->io, 0, SEEK_SET) < 0 ? AVERROR(EIO) : 0;
    }
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_UNRECOGNISED, error, "not a media file");
    if (!vj_container_allowed(container->name))
        return vj_video_refuse(v, VJ_VIDEO_FORBIDDEN, "files of the kind %s are not read", container->name);
    error = avformat_open_input(&file->format, "", container, NULL);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_UNRECOGNISED, error, "not a media file");
    error = find_streams(file->format, v->limits.max_pixels);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_UNRECOGNISED, error, "no streams");
    file->errors = 0;
    return VJ_VIDEO_OK;
}

void vj_media_file_close(vj_media_file *file)
{
    avformat_close_input(&file->format);
    if (file->io) av_freep(&file->io->buffer);
    avio_context_free(&file->io);
    file->fd = -1;
}
