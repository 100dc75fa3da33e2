/*
 * Queries an open store and reads clips: one pread, one checksum and (jpeg) one decoding a clip, from any thread,
 * without HDF5.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "clips/store.h"

/* ------------------------------------------------------------------------------------------------ questions */

int64_t vj_clips_count(const vj_clips *clips)
{
    return clips->count;
}

int vj_clips_frames(const vj_clips *clips)
{
    return clips->layout.frames;
}

void vj_clips_geometry(const vj_clips *clips, int64_t clip, int *height, int *width)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    *height = clips->shape[clip].height_less_1 + 1;
    *width = clips->shape[clip].width_less_1 + 1;
}

int64_t vj_clips_largest_bytes(const vj_clips *clips)
{
    return clips->largest_bytes;
}

int64_t vj_clips_largest_record(const vj_clips *clips)
{
    return clips->largest_record;
}

int64_t vj_clips_record_bytes(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->bytes[clip];
}

vj_clips_place vj_clips_find(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    const vj_clips_shard_file *s = &clips->shard[clips->clip_shard[clip]];
    return (vj_clips_place){s->path, clips->offset[clip], clips->bytes[clip], s->codec};
}

int64_t vj_clips_largest_coded(const vj_clips *clips)
{
    for (int64_t s = 0; s < clips->shards; s++)
        if (clips->shard[s].codec != VJ_CODEC_RAW) return clips->largest_record;
    return 0;
}

int64_t vj_clips_shard(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->clip_shard[clip];
}

int64_t vj_clips_shard_count(const vj_clips *clips)
{
    return clips->shards;
}

int vj_clips_dataset(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->dataset[clip];
}

const uint8_t *vj_clips_datasets(const vj_clips *clips)
{
    return clips->dataset;
}

int vj_clips_dataset_count(const vj_clips *clips)
{
    return clips->layout.dataset_count;
}

const char *vj_clips_dataset_name(const vj_clips *clips, int dataset)
{
    VJ_ASSERT(dataset >= 0 && dataset < clips->layout.dataset_count);
    return clips->layout.dataset_names[dataset];
}

int vj_clips_label_count(const vj_clips *clips)
{
    return clips->layout.label_count;
}

const char *vj_clips_label_name(const vj_clips *clips, int label)
{
    VJ_ASSERT(label >= 0 && label < clips->layout.label_count);
    return clips->layout.label_names[label];
}

const vj_clips_classes *vj_clips_classes_of(const vj_clips *clips, int label)
{
    return &clips->classes[label];
}

int32_t vj_clips_source(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->source[clip];
}

int32_t vj_clips_window(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->window[clip];
}

uint64_t vj_clips_checksum(const vj_clips *clips, int64_t clip)
{
    return clips->xxh3[clip];
}

int64_t vj_clips_class_count(const vj_clips *clips, int label)
{
    return clips->classes[label].count;
}

const char *vj_clips_class_name(const vj_clips *clips, int label, int64_t number)
{
    return vj_clips_classes_name(&clips->classes[label], number);
}

const int32_t *vj_clips_labels(const vj_clips *clips, int64_t clip)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    return clips->label + clip * clips->layout.label_count;
}

uint64_t vj_clips_fingerprint(const vj_clips *clips)
{
    return clips->fingerprint;
}

/* ------------------------------------------------------------------------------------------------ one clip */

/* Read a whole record; returns false, with errno, on failure. errno is 0 if the file ends before the record does. */
static bool read_record(int fd, uint8_t *record, int64_t bytes, int64_t at)
{
    for (int64_t done = 0; done < bytes;) {
        errno = 0;
        const ssize_t got = pread(fd, record + done, (size_t)(bytes - done), at + done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += got;
    }
    return true;
}

/* Try once to read a record. */
static bool try_fetch(const vj_clips *clips, int64_t clip, uint8_t *record)
{
    const int64_t shard = clips->clip_shard[clip];
    vj_open_file file;
    if (!vj_open_files_take(clips->files, shard, clips->shard[shard].path, &file)) return false;
    const bool fine = read_record(file.fd, record, clips->bytes[clip], clips->offset[clip]);
    vj_open_files_give(clips->files, &file, !fine);
    return fine;
}

static const char *why(int error)
{
    return error ? strerror(error) : "the file is shorter than it was";
}

vj_status vj_clips_fetch(const vj_clips *clips, int64_t clip, const vj_patience *patience, uint8_t *record)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    const vj_patience none = {0}, *p = patience ? patience : &none;
    const char *path = clips->shard[clips->clip_shard[clip]].path;
    vj_outage_wait wait = {0};
    bool fine, again = false;
    int error = 0;
    do {
        fine = try_fetch(clips, clip, record);
        error = errno;
        if (!fine) again = vj_outage_pause(clips->outage, &wait, p, path, why(error));
    } while (!fine && again);
    const double waited_s = vj_outage_end(clips->outage, &wait, fine);
    if (fine) return VJ_OK;
    if (p->stop && atomic_load(p->stop)) return VJ_ERR_STATE;
    char patience_over[96] = "";
    if (p->limit_s > 0.0)
        snprintf(patience_over, sizeof patience_over, "; given up after %.1f s%s%s%s", waited_s, p->setting ? " (" : "",
                 p->setting ? p->setting : "", p->setting ? ")" : "");
    errno = 0; /* the message has the reason already */
    return vj_raise(VJ_ERR_IO, "read clip %lld, bytes %lld to %lld of %s: %s%s", (long long)clip,
                    (long long)clips->offset[clip], (long long)(clips->offset[clip] + clips->bytes[clip]), path,
                    why(error), patience_over);
}

vj_status vj_clips_check(const vj_clips *clips, int64_t clip, const uint8_t *record)
{
    VJ_ASSERT(clip >= 0 && clip < clips->count);
    const uint64_t found = vj_checksum(record, clips->bytes[clip]);
    if (found == clips->xxh3[clip]) return VJ_OK;
    return vj_raise(VJ_ERR_FORMAT, "%s: clip %lld is damaged: checksum %016llx, expected %016llx",
                    clips->shard[clips->clip_shard[clip]].path, (long long)clip, (unsigned long long)found,
                    (unsigned long long)clips->xxh3[clip]);
}

vj_status vj_clips_decode(const vj_clips *clips, int64_t clip, vj_coder *coder, const uint8_t *record, uint8_t *frames)
{
    int height, width;
    const vj_clips_shard_file *s = &clips->shard[vj_clips_shard(clips, clip)];
    vj_clips_geometry(clips, clip, &height, &width);
    const vj_status status =
        vj_record_decode(coder, s->codec, record, clips->bytes[clip], s->frames, height, width, frames);
    if (status != VJ_OK) return vj_raise(status, "%s: clip %lld cannot be decoded", s->path, (long long)clip);
    const int64_t bytes = vj_frames_bytes(1, height, width);
    for (int t = s->frames; t < clips->layout.frames; t++) memcpy(frames + t * bytes, frames, (size_t)bytes);
    return VJ_OK;
}

vj_status vj_clips_read(const vj_clips *clips, int64_t clip, vj_coder *coder, uint8_t *frames)
{
    static const vj_patience brief = {.limit_s = 0.2};
    const int raw = clips->shard[vj_clips_shard(clips, clip)].codec == VJ_CODEC_RAW; /* the record is the frames */
    uint8_t *record = raw ? frames : vj_coder_scratch(coder, clips->bytes[clip]);
    if (!record) return vj_raise(VJ_ERR_MEMORY, "no memory for clip %lld", (long long)clip);
    VJ_TRY(vj_clips_fetch(clips, clip, &brief, record));
    VJ_TRY(vj_clips_check(clips, clip, record));
    return vj_clips_decode(clips, clip, coder, record, frames);
}
