/* Reads the photographs and background films of a split into memory. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo/scene.h"
#include "video/video.h"

static const char *const folder_names[VJ_SPLITS] = {"train", "val"};
static const char *const photo_stems[VJ_SPLITS] = {"train", "t10k"};

static vj_status decode_film(vj_film *film, vj_video *video, const char *path)
{
    double shown_s[VJ_SCENE_FILM_FRAMES];
    vj_video_verdict verdict;
    VJ_TRY(vj_video_open_path(video, path, &verdict));
    if (verdict == VJ_VIDEO_OK) {
        const vj_video_info *info = vj_video_describe(video);
        film->frames = info->frames < VJ_SCENE_FILM_FRAMES ? info->frames : VJ_SCENE_FILM_FRAMES;
        verdict = vj_video_frames(video, vj_video_times(video), (int)film->frames, VJ_SCENE_FILM_SIDE, &film->pixels,
                                  &film->height, &film->width, shown_s);
    }
    if (verdict != VJ_VIDEO_OK)
        return vj_raise(VJ_ERR_FORMAT, "%s: %s: %s", path, vj_video_verdict_name(verdict), vj_video_reason(video));
    if (film->frames < VJ_SCENE_FRAMES)
        return vj_raise(VJ_ERR_FORMAT, "%s has %lld frames, %d are needed", path, (long long)film->frames,
                        VJ_SCENE_FRAMES);
    return VJ_OK;
}

static vj_status read_film(vj_film *film, const char *path)
{
    vj_video *video;
    VJ_TRY(vj_video_create(&video));
    vj_status status = decode_film(film, video, path);
    vj_video_destroy(video);
    return status;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Order by bytes, which is the same in every locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static vj_status read_films(vj_material *m, const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, visible, by_name);
    if (count < 0) return vj_raise(VJ_ERR_IO, "list the films of %s", folder);
    vj_status status = VJ_OK;
    if (count == 0) {
        errno = 0;
        status = vj_raise(VJ_ERR_IO, "no film in %s", folder);
    }
    m->films = calloc((size_t)count + 1, sizeof *m->films);
    if (!m->films) status = vj_raise(VJ_ERR_MEMORY, "no memory for the films of %s", folder);
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        if (status == VJ_OK && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
            path = NULL;
            status = vj_raise(VJ_ERR_MEMORY, "no memory for the path of a film in %s", folder);
        }
        if (status == VJ_OK) {
            vj_film *film = &m->films[m->film_count++];
            snprintf(film->name, sizeof film->name, "%s", entries[i]->d_name);
            status = read_film(film, path);
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

vj_status vj_material_read(vj_material *material, const char *folder, vj_split_kind split)
{
    char path[4096];
    *material = (vj_material){0};
    snprintf(path, sizeof path, "%s/photos", folder);
    VJ_TRY(vj_photos_read(&material->photos, path, photo_stems[split]));
    snprintf(path, sizeof path, "%s/%s", folder, folder_names[split]);
    return read_films(material, path);
}

void vj_material_release(vj_material *material)
{
    for (int i = 0; i < material->film_count; i++) free(material->films[i].pixels);
    free(material->films);
    vj_photos_release(&material->photos);
    *material = (vj_material){0};
}
