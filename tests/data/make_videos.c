/*
 * make_videos OUT COUNT: COUNT small videos OUT/vNNN.EXT of moving waves, each another scene, length, size and encoding
 * (those that this FFmpeg has), and OUT/list.csv with the header path,scene. The same on every run.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/rng.h"
#include "video/encode.h"

enum { SIDE = 64, LONGEST = 60 };

static void paint(uint8_t *frames, int count, int height, int width, vj_rng *rng)
{
    double wave[3][4];
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 4; k++) wave[c][k] = 2 + 12 * vj_rng_uniform(rng);
    for (int t = 0; t < count; t++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < 3; c++) {
                    const double *w = wave[c];
                    double level =
                        sin(w[0] * x / SIDE + w[1] * t / LONGEST) + cos(w[2] * y / SIDE - w[3] * t / LONGEST);
                    *frames++ = (uint8_t)(128 + 55 * level);
                }
}

static vj_status make_video(const char *folder, int number, uint8_t *frames, FILE *list)
{
    char path[4096];
    vj_rng rng;
    vj_rng_init(&rng, 1, VJ_RNG_TEST, (uint64_t)number);
    vj_video_form form = {.fps = 25, .encoding = (vj_encoding)(number % VJ_ENCODINGS)};
    if (!vj_encoding_available(form.encoding)) form.encoding = VJ_ENCODING_FFV1;
    form.width = number % 3 == 1 ? SIDE : SIDE * 3 / 4;
    form.height = number % 3 == 2 ? SIDE : SIDE * 3 / 4;
    int count = LONGEST / 3 + (int)vj_rng_below(&rng, LONGEST * 2 / 3);
    paint(frames, count, form.height, form.width, &rng);
    const char *extension = vj_encoding_extension(form.encoding);
    snprintf(path, sizeof path, "%s/v%03d.%s", folder, number, extension);
    VJ_TRY(vj_video_write(path, &form, frames, count));
    return fprintf(list, "v%03d.%s,%d\n", number, extension, number) > 0
               ? VJ_OK
               : vj_raise(VJ_ERR_IO, "write the list in %s", folder);
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: make_videos OUT COUNT\n"), 2;
    char path[4096];
    snprintf(path, sizeof path, "%s/list.csv", argv[1]);
    (void)mkdir(argv[1], 0777); /* it may exist already; if it cannot be made, opening the list fails */
    FILE *list = fopen(path, "w");
    uint8_t *frames = malloc((size_t)LONGEST * SIDE * SIDE * 3);
    vj_status status = list && frames ? VJ_OK : vj_raise(VJ_ERR_IO, "create %s", path);
    if (status == VJ_OK) fputs("path,scene\n", list);
    for (int i = 0; status == VJ_OK && i < atoi(argv[2]); i++) status = make_video(argv[1], i, frames, list);
    if (list && fclose(list) != 0 && status == VJ_OK) status = vj_raise(VJ_ERR_IO, "write %s", path);
    free(frames);
    return status == VJ_OK ? 0 : 1;
}
