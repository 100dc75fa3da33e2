/* vjepa-demo: writes the demonstration videos FM-Motion-48, defined in src/tools/demo/scene.h, and their lists. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "base/output.h"
#include "base/program.h"
#include "base/progress.h"
#include "demo/scene.h"
#include "parallel/parallel.h"

typedef struct {
    const char *media, *out, *train, *val, *seed;
} options;

typedef struct {
    const char *media, *out;
    uint64_t seed;
    int64_t videos[VJ_SPLITS];
} task;

static const char *const split_names[VJ_SPLITS] = {"train", "val"};

static vj_status number_from(const char *text, const char *name, int64_t fallback, int64_t multiple, int64_t *value)
{
    *value = fallback;
    if (text && (!vj_parse_whole(text, 0, 10000000, value) || *value % multiple != 0))
        return vj_raise(VJ_ERR_USAGE, "%s %s: expected a whole number from 0 to 10000000%s", name, text,
                        multiple > 1 ? " that is a multiple of 64 (8 appearances x 8 motions, balanced)" : "");
    return VJ_OK;
}

static vj_status parse(task *t, const options *o)
{
    int64_t seed;
    VJ_TRY(number_from(o->train, "--train", 12800, VJ_SCENE_CELLS, &t->videos[VJ_SPLIT_TRAIN]));
    VJ_TRY(number_from(o->val, "--val", 2048, VJ_SCENE_CELLS, &t->videos[VJ_SPLIT_VAL]));
    VJ_TRY(number_from(o->seed, "--seed", 0, 1, &seed));
    if (!o->media || !o->out) return vj_raise(VJ_ERR_USAGE, "--media and --out are needed, see --help");
    t->media = o->media;
    t->out = o->out;
    t->seed = (uint64_t)seed;
    return VJ_OK;
}

/* Make the path of a video below the output folder. */
static void name_of(const vj_scene *scene, vj_split_kind split, char *name, size_t bytes)
{
    snprintf(name, bytes, "%s/%016llx.%s", split_names[split], (unsigned long long)scene->name,
             vj_encoding_extension(scene->encoding));
}

static vj_status make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return vj_raise(VJ_ERR_IO, "create the folder %s", path);
    return VJ_OK;
}

static vj_status make_folders(const task *t)
{
    VJ_TRY(make_folder(t->out));
    for (int split = 0; split < VJ_SPLITS; split++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", t->out, split_names[split]);
        VJ_TRY(make_folder(path));
    }
    return VJ_OK;
}

/* Write this rank's videos of a split: every size-th one. Existing files are complete, because they were renamed into
 * place, and are kept. */
static vj_status write_videos(const task *t, const vj_material *material, vj_split_kind split, const vj_run *run)
{
    const int64_t count = t->videos[split];
    vj_progress_line line = vj_progress_line_begin();
    uint8_t *frames = malloc((size_t)VJ_SCENE_FRAMES * VJ_SCENE_SIDE * VJ_SCENE_SIDE * 3);
    if (!frames) return vj_raise(VJ_ERR_MEMORY, "no memory for a video");
    vj_status status = VJ_OK;
    for (int64_t number = run->rank; number < count && status == VJ_OK; number += run->size) {
        vj_scene scene;
        char name[64], path[4096];
        vj_scene_draw(&scene, material, t->seed, split, number);
        name_of(&scene, split, name, sizeof name);
        snprintf(path, sizeof path, "%s/%s", t->out, name);
        if (access(path, F_OK) != 0) {
            const vj_video_form form = {
                .encoding = scene.encoding, .width = VJ_SCENE_SIDE, .height = VJ_SCENE_SIDE, .fps = scene.fps};
            vj_scene_render(&scene, material, frames);
            status = vj_video_write(path, &form, frames, VJ_SCENE_FRAMES);
        }
        /* All ranks have equal shares, so rank 0's progress is that of all. */
        vj_progress_line_log(&line, split_names[split], (double)(number + 1) / (double)count, vj_now());
    }
    free(frames);
    return status;
}

/* ------------------------------------------------------------------------------------------------ lists */

#define LIST_BEGIN "path,label_appearance,label_motion\n"
#define INFO_BEGIN "path,codec,fps,object,background,background_moves\n"

/* Check that existing lists are from an earlier run; lists of the user's own videos must not be overwritten. */
static vj_status check_lists(const task *t)
{
    char path[VJ_PATH + 64];
    VJ_TRY(vj_output_check_folder("--out", t->out));
    for (int split = 0; split < VJ_SPLITS; split++) {
        snprintf(path, sizeof path, "%s/%s.csv", t->out, split_names[split]);
        VJ_TRY(vj_output_check_text(path, LIST_BEGIN));
        snprintf(path, sizeof path, "%s/%s_info.csv", t->out, split_names[split]);
        VJ_TRY(vj_output_check_text(path, INFO_BEGIN));
    }
    return VJ_OK;
}

static vj_status open_list(const task *t, const char *name, vj_file *file)
{
    char path[VJ_FILE_PATH];
    if (snprintf(path, sizeof path, "%s/%s", t->out, name) >= (int)sizeof path)
        return vj_raise(VJ_ERR_USAGE, "path too long: %s", t->out);
    return vj_file_begin_text(file, path);
}

/* Write SPLIT.csv, which vjepa-pack reads, and SPLIT_info.csv, which has the other parameters of each video. */
static vj_status write_lists(const task *t, const vj_material *material, vj_split_kind split)
{
    char list_name[32], info_name[32];
    vj_file info_file, list_file;
    snprintf(list_name, sizeof list_name, "%s.csv", split_names[split]);
    snprintf(info_name, sizeof info_name, "%s_info.csv", split_names[split]);
    VJ_TRY(open_list(t, info_name, &info_file));
    vj_status status = open_list(t, list_name, &list_file);
    if (status != VJ_OK) {
        vj_file_rollback(&info_file);
        return status;
    }
    FILE *info = info_file.stream, *list = list_file.stream;
    fputs(LIST_BEGIN, list);
    fputs(INFO_BEGIN, info);
    for (int64_t number = 0; number < t->videos[split]; number++) {
        vj_scene scene;
        char name[64];
        vj_scene_draw(&scene, material, t->seed, split, number);
        name_of(&scene, split, name, sizeof name);
        fprintf(list, "%s,%s,%s\n", name, vj_scene_appearances[scene.appearance], vj_scene_motions[scene.motion]);
        fprintf(info, "%s,%s,%d,%d,%s,%d\n", name, vj_encoding_codec(scene.encoding), scene.fps, scene.photo,
                material->films[scene.film].name, scene.film_moves);
    }
    status = vj_file_commit(&info_file);
    const vj_status list_status = vj_file_commit(&list_file);
    return status != VJ_OK ? status : list_status;
}

static void log_missing_encoders(void)
{
    for (int e = 0; e < VJ_ENCODINGS; e++)
        if (!vj_encoding_available((vj_encoding)e))
            vj_log("this FFmpeg cannot encode %s: MJPEG takes its place", vj_encoding_codec((vj_encoding)e));
}

static vj_status make_split(const task *t, vj_split_kind split, const vj_run *run)
{
    double begin = vj_now();
    char spent[32];
    vj_material material;
    vj_status status = vj_material_read(&material, t->media, split);
    if (status == VJ_OK) status = write_videos(t, &material, split, run);
    status = vj_agree(run->comm, status); /* lists are written last: if they exist, all videos do */
    if (status == VJ_OK && run->rank == 0) status = write_lists(t, &material, split);
    vj_material_release(&material);
    if (status == VJ_OK)
        vj_log("%s: %lld videos in %s, list %s/%s.csv", split_names[split], (long long)t->videos[split],
               vj_duration(vj_now() - begin, spent), t->out, split_names[split]);
    return status;
}

static vj_status demo(const vj_run *run, const options *o)
{
    task t;
    vj_status status = run->rank == 0 ? parse(&t, o) : VJ_OK;
    status = vj_agree(run->comm, status);
    if (status != VJ_OK) return status;
    if (run->rank != 0) VJ_TRY(parse(&t, o));
    log_missing_encoders();
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? check_lists(&t) : VJ_OK));
    VJ_TRY(vj_agree(run->comm, run->rank == 0 ? make_folders(&t) : VJ_OK));
    for (int split = 0; split < VJ_SPLITS; split++) VJ_TRY(make_split(&t, (vj_split_kind)split, run));
    return VJ_OK;
}

int main(int argc, char **argv)
{
    options o = {0};
    const vj_option table[] = {
        {"--media", "DIR", "photographs and films, as left by jobs/fetch_demo_media.sh (DIR/photos, train, val)",
         &o.media},
        {"--out", "DIR", "folder written", &o.out},
        {"--train", "N", "training videos, a multiple of 64 (default 12800)", &o.train},
        {"--val", "N", "validation videos, a multiple of 64 (default 2048)", &o.val},
        {"--seed", "S", "another seed gives other videos (default 0)", &o.seed},
        {NULL, NULL, NULL, NULL},
    };
    const vj_program program = {
        .name = "vjepa-demo",
        .purpose = "Write the demonstration videos FM-Motion-48: real photographs moving over real film.",
        .usage = "--media DIR --out DIR [options]",
        .description =
            "Each video has 16 frames of 48 x 48 pixels and two labels: appearance (8 kinds of clothing) and motion "
            "(8). "
            "Training and validation differ in photographs and in films. A video is a function of the seed and its "
            "number, "
            "on any number of ranks. Safe to run again: videos that are there are not made again.\n"
            "\n"
            "Example:\n"
            "  bash jobs/fetch_demo_media.sh demo\n"
            "  mpirun -n 2 vjepa-demo --media demo/media --out demo/videos\n"
            "leaves demo/videos/train.csv and val.csv (path,label_appearance,label_motion), train_info.csv and "
            "val_info.csv (what went into each video), and the videos.\n",
        .options = table,
    };
    vj_run run;
    vj_program_begin(&run, &program, argc, argv);
    return vj_program_end(&run, demo(&run, &o), VJ_EXIT_DONE);
}
