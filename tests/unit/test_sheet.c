/*
 * Tests the contact sheet of a small store, read back from its file: every frame is in its place with its text next to
 * it, and masks hide the patches that the sampler draws, in the crop used in training.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../clips_store.h"
#include "feed/crop.h"
#include "model/masks.h"
#include "pack/ledger.h"
#include "sheet/canvas.h"
#include "sheet/sheet.h"
#include "sheet/shown.h"
#include "video/still.h"
#include "video/video.h"

enum { CLIPS = 12, FIRST = 3, SHOWN = 4, SIDE = 12, PATCH = 4, TOKENS = 2 * (SIDE / PATCH) * (SIDE / PATCH) };

static char folder[VJ_PATH], store[VJ_PATH];

static int make(void **state)
{
    (void)state;
    make_folder(folder);
    join(store, folder, "a.clips");
    return pack_store(store, CLIPS, MPI_COMM_SELF) != VJ_OK;
}

static int clear(void **state)
{
    (void)state;
    return remove_folder(folder);
}

/* ------------------------------------------------------------------------------------------------ a picture file */

typedef struct {
    uint8_t *rgb;
    int height, width;
} picture;

static picture read_picture(const char *path)
{
    picture p = {0};
    vj_video *video;
    vj_video_verdict verdict;
    const double start = 0;
    double pts;
    assert_int_equal(vj_video_create(&video), VJ_OK);
    assert_int_equal(vj_video_open_path(video, path, &verdict), VJ_OK);
    if (verdict == VJ_VIDEO_OK) verdict = vj_video_frames(video, &start, 1, 0, &p.rgb, &p.height, &p.width, &pts);
    if (verdict != VJ_VIDEO_OK) fail_msg("%s: %s", path, vj_video_reason(video));
    assert_true(vj_video_describe(video)->is_image);
    vj_video_close(video);
    vj_video_destroy(video);
    return p;
}

static const uint8_t *at(const picture *p, int y, int x)
{
    assert_true(y >= 0 && y < p->height && x >= 0 && x < p->width);
    return p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
}

/* Count the pixels of a box that do not have the colour of the background, which is that of the last pixel. */
static int64_t drawn(const picture *p, int top, int left, int height, int width)
{
    const uint8_t *paper = at(p, p->height - 1, p->width - 1);
    int64_t count = 0;
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++) count += memcmp(at(p, y, x), paper, 3) != 0;
    return count;
}

static void assert_picture_at(const picture *p, int top, int left, const uint8_t *want, int width)
{
    for (int y = 0; y < VJ_SHEET_FRAME; y++)
        if (memcmp(at(p, top + y, left), want + 3 * (size_t)y * (size_t)width, 3 * (size_t)width) != 0)
            fail_msg("row %d of the frame at %d, %d is another", y, top, left);
}

static uint8_t *scaled(const uint8_t *frame, int height, int width, int to_width)
{
    vj_still_scaler *scaler;
    uint8_t *to = vj_calloc((int64_t)VJ_SHEET_FRAME * to_width, 3);
    assert_non_null(to);
    assert_int_equal(vj_still_scaler_create(&scaler), VJ_OK);
    assert_int_equal(vj_still_scale(scaler, frame, height, width, to, VJ_SHEET_FRAME, to_width), VJ_OK);
    vj_still_scaler_destroy(scaler);
    return to;
}

static picture draw(int64_t first, int64_t count, int64_t want, const vj_config *masks)
{
    char path[VJ_PATH];
    join(path, folder, "sheet.png");
    assert_int_equal(vj_sheet_write(path, store, first, &count, masks, NULL), VJ_OK);
    assert_int_equal(count, want);
    return read_picture(path);
}

/* ------------------------------------------------------------------------------------------------ pictures */

static void pictures_are_written_and_scaled(void **state)
{
    (void)state;
    enum { H = 48, W = 100 };
    char path[VJ_PATH];
    static uint8_t rgb[H * W * 3];
    for (int i = 0; i < H * W; i++) memcpy(rgb + 3 * i, i % W < W / 2 ? "\x10\x20\x30" : "\xf0\x40\x00", 3);
    rgb[0] = 255;
    join(path, folder, "half.png");
    assert_int_equal(vj_still_write(path, rgb, H, W), VJ_OK);
    picture p = read_picture(path);
    assert_int_equal(p.height, H);
    assert_int_equal(p.width, W);
    assert_memory_equal(p.rgb, rgb, sizeof rgb);
    free(p.rgb);

    uint8_t *large = scaled(rgb, H, W, 2 * W); /* the two halves keep their colours */
    for (int y = 4; y < VJ_SHEET_FRAME; y++)
        for (int x = 0; x < 2 * W; x++) {
            if (x > W - 4 && x < W + 4) continue; /* at the edge the colours are mixed */
            assert_memory_equal(large + 3 * (y * 2 * W + x), x < W ? "\x10\x20\x30" : "\xf0\x40\x00", 3);
        }
    free(large);
    join(path, folder, "no/such/folder.png");
    assert_int_equal(vj_still_write(path, rgb, H, W), VJ_ERR_IO);
    assert_int_equal(vj_still_write(path, rgb, 1 << 15, 1 << 15), VJ_ERR_USAGE);
}

static void letters_are_drawn_and_cut_off(void **state)
{
    (void)state;
    vj_canvas a, b;
    const vj_colour black = {{0, 0, 0}}, white = {{255, 255, 255}};
    assert_int_equal(vj_canvas_create(&a, VJ_LINE, VJ_LETTER, black), VJ_OK);
    assert_int_equal(vj_canvas_create(&b, VJ_LINE, VJ_LETTER, black), VJ_OK);
    const size_t bytes = (size_t)VJ_LINE * VJ_LETTER * 3;
    for (int letter = '!'; letter <= '~'; letter++)
        for (int other = letter + 1; other <= '~'; other++) { /* no two letters are drawn alike */
            vj_canvas_fill(&a, 0, 0, VJ_LINE, VJ_LETTER, black);
            vj_canvas_fill(&b, 0, 0, VJ_LINE, VJ_LETTER, black);
            vj_canvas_text(&a, 0, 0, (const char[]){(char)letter, '\0'}, white);
            vj_canvas_text(&b, 0, 0, (const char[]){(char)other, '\0'}, white);
            if (memcmp(a.pixels, b.pixels, bytes) == 0) fail_msg("%c looks like %c", letter, other);
        }
    vj_canvas_fill(&a, 0, 0, VJ_LINE, VJ_LETTER, black);
    vj_canvas_fill(&b, 0, 0, VJ_LINE, VJ_LETTER, black);
    vj_canvas_text(&a, -4, -4, "\xff much longer than the picture",
                   white); /* memory checkers would report writes outside */
    vj_canvas_text(&b, -4, -4, "?", white);
    vj_canvas_text(&b, -4, VJ_LETTER - 4, " much", white);
    assert_memory_equal(a.pixels, b.pixels, bytes);
    vj_canvas_release(&a);
    vj_canvas_release(&b);
}

static void paths_are_taken_from_the_ledger(void **state)
{
    (void)state;
    char path[64];
    const vj_ledger_row row = {.dataset = "k400", .path = "a, \"b\"\n.mp4", .reason = "no, \"none\""};
    char *line = vj_ledger_text(&row);
    assert_non_null(line);
    vj_ledger_path(line, path, sizeof path);
    assert_string_equal(path, "a, \"b\"\\x0a.mp4");
    vj_ledger_path(line, path, 5);
    assert_string_equal(path, "a, \"");
    vj_ledger_path("no clip", path, sizeof path);
    assert_string_equal(path, "");
    vj_ledger_path("0,,x", path, sizeof path);
    assert_string_equal(path, "x");
    free(line);
}

static void origins_are_those_of_the_clips(void **state)
{
    (void)state;
    static uint8_t frames[STORE_LARGEST];
    int32_t labels[STORE_LABELS];
    vj_clip_origin origin[CLIPS];
    vj_clip clip;
    assert_int_equal(vj_clips_origins(store, 0, CLIPS, origin), VJ_OK);
    for (int i = 0; i < CLIPS; i++) {
        char start[64];
        store_clip(i, &clip, labels, frames);
        snprintf(start, sizeof start, "%lld,videos/%lld.mp4,", (long long)clip.source, (long long)clip.source);
        assert_int_equal(origin[i].source, clip.source);
        assert_int_equal(origin[i].window, clip.window);
        assert_true(origin[i].pts_s == clip.pts_s);
        assert_memory_equal(origin[i].ledger_row, start, strlen(start));
    }
    vj_clips_origins_release(origin, CLIPS);
    assert_int_equal(vj_clips_origins(store, 5, CLIPS, origin), VJ_ERR_USAGE);
}

/* ------------------------------------------------------------------------------------------------ sheets */

static void frames_are_where_they_should_be(void **state)
{
    (void)state;
    static uint8_t frames[STORE_LARGEST];
    int32_t labels[STORE_LABELS];
    vj_clip clip;
    const int cell = 32 * VJ_SHEET_FRAME / 24; /* the width of clips that are wider than high */
    picture p = draw(FIRST, SHOWN, SHOWN, NULL);
    assert_int_equal(p.width, vj_sheet_left(STORE_FRAMES, cell) + VJ_SHEET_MARGIN);
    assert_int_equal(p.height, vj_sheet_top(SHOWN, 0, 1));
    for (int k = 0; k < SHOWN; k++) {
        store_clip(FIRST + k, &clip, labels, frames);
        const int width = clip.width * VJ_SHEET_FRAME / clip.height, top = vj_sheet_top(k, 0, 1);
        for (int t = 0; t < STORE_FRAMES; t++) {
            uint8_t *want = scaled(frames + t * clip.height * clip.width * 3, clip.height, clip.width, width);
            assert_picture_at(&p, top, vj_sheet_left(t, cell), want, width);
            assert_int_equal(drawn(&p, top, vj_sheet_left(t, cell) + width, VJ_SHEET_FRAME, cell - width), 0);
            free(want);
        }
        assert_true(drawn(&p, top, 0, VJ_SHEET_FRAME, vj_sheet_left(0, cell)) > 1000); /* text */
        assert_int_equal(drawn(&p, top + VJ_SHEET_FRAME, 0, VJ_SHEET_GAP + VJ_SHEET_MARGIN, p.width), 0);
    }
    /* "clip 3" and "clip 4" differ. */
    const int line = 3 * p.width;
    assert_memory_not_equal(at(&p, vj_sheet_top(0, 0, 1) + 4, 0), at(&p, vj_sheet_top(1, 0, 1) + 4, 0), line);
    free(p.rgb);
}

/* Check that views are drawn below the clip, those of three epochs of training and then the test crops, each with a
 * description, and that they are the views of the loader. */
static void views_are_those_of_the_loader(void **state)
{
    (void)state;
    enum { ROWS = 1 + VJ_SHOWN_EPOCHS + 3 };
    static uint8_t frames[STORE_LARGEST];
    const int cell = 32 * VJ_SHEET_FRAME / 24;
    char path[VJ_PATH];
    vj_config c = loader_config(4, 1);
    int64_t count = SHOWN;
    vj_strings paths = one_path(store);
    vj_clips *clips;
    vj_shown shown;
    c.evaluate.views = 3;
    join(path, folder, "views.png");
    assert_int_equal(vj_sheet_write(path, store, FIRST, &count, NULL, &c), VJ_OK);
    picture p = read_picture(path);
    assert_int_equal(p.height, vj_sheet_top(count, 0, ROWS));
    assert_int_equal(vj_clips_open(&clips, &paths, VJ_ALONE), VJ_OK);
    assert_int_equal(vj_shown_create(&shown, &c, clips), VJ_OK);
    for (int k = 0; k < count; k++)
        for (int row = 0; row < ROWS - 1; row++) {
            int32_t labels[STORE_LABELS];
            vj_clip clip;
            const int top = vj_sheet_top(k, 1 + row, ROWS), side = (int)c.data.crop;
            store_clip(FIRST + k, &clip, labels, frames);
            vj_shown_make(&shown, row, FIRST + k, frames, clip.height, clip.width);
            for (int t = 0; t < STORE_FRAMES; t++) {
                uint8_t *want = scaled(shown.rgb + 3 * t * side * side, side, side, VJ_SHEET_FRAME);
                assert_picture_at(&p, top, vj_sheet_left(t, cell), want, VJ_SHEET_FRAME);
                free(want);
            }
            assert_true(drawn(&p, top, 0, VJ_SHEET_FRAME, vj_sheet_left(0, cell)) > 300); /* text */
        }
    vj_shown_release(&shown);
    vj_clips_close(clips);
    free(p.rgb);
    c.data.frames = 16;
    assert_int_equal(vj_sheet_write(path, store, FIRST, &count, NULL, &c), VJ_ERR_USAGE);
}

static void a_sheet_ends_with_the_store(void **state)
{
    (void)state;
    char path[VJ_PATH];
    int64_t count = 2;
    picture p = draw(CLIPS - 1, 100, 1, NULL);
    assert_int_equal(p.height, vj_sheet_top(1, 0, 1));
    free(p.rgb);
    join(path, folder, "none.png");
    assert_int_equal(vj_sheet_write(path, store, CLIPS, &count, NULL, NULL), VJ_ERR_USAGE);
    assert_int_equal(access(path, F_OK), -1);
}

/* Return the first sample that shows the clip in the order of vj_loader_start_training(). */
static int64_t sample_of(const vj_config *c, int64_t clip)
{
    int64_t s = 0;
    while (vj_permute((uint64_t)c->run.seed, 0, CLIPS, s) != clip) s++;
    return s;
}

/* Compute the crop u8 [T, SIDE, SIDE, 3] that training makes of a clip. */
static void crop_of(const vj_config *c, int64_t sample, const vj_clip *clip, const uint8_t *frames, uint8_t *rgb)
{
    static float pixels[3 * STORE_FRAMES * SIDE * SIDE];
    const vj_crop crop = vj_crop_draw(c, (uint64_t)c->run.seed, sample, clip->height, clip->width);
    vj_host_crop(pixels, frames, &(vj_clip_view){0, clip->height, clip->width, crop}, STORE_FRAMES, SIDE, c->data.mean,
                 c->data.std);
    for (int i = 0; i < STORE_FRAMES * SIDE * SIDE; i++)
        for (int k = 0; k < 3; k++) {
            const double value = pixels[k * STORE_FRAMES * SIDE * SIDE + i];
            rgb[3 * i + k] = (uint8_t)(255 * (value * c->data.std[k] + c->data.mean[k]) + 0.5);
        }
}

static bool listed(const int32_t *list, int32_t length, int32_t token)
{
    for (int32_t i = 0; i < length; i++)
        if (list[i] == token) return true;
    return false;
}

/* Return the sum of a patch divided by that of the picture without mask. */
static double brightness(const picture *p, int top, int left, const uint8_t *bare, int cell_y, int cell_x)
{
    const int step = VJ_SHEET_FRAME * PATCH / SIDE;
    double sum = 0, bare_sum = 0;
    for (int y = cell_y * step; y < (cell_y + 1) * step; y++)
        for (int x = cell_x * step; x < (cell_x + 1) * step; x++)
            for (int k = 0; k < 3; k++) {
                sum += at(p, top + y, left + x)[k];
                bare_sum += bare[3 * (y * VJ_SHEET_FRAME + x) + k];
            }
    return sum / bare_sum;
}

static void masks_hide_what_the_sampler_says(void **state)
{
    (void)state;
    static uint8_t frames[STORE_LARGEST], rgb[STORE_FRAMES * SIDE * SIDE * 3];
    static vj_config c;
    int32_t labels[STORE_LABELS];
    int seen[3] = {0}; /* numbers of patches that are context, target and neither */
    vj_mask_lists lists;
    vj_clip clip;
    vj_config_defaults(&c);
    assert_int_equal(vj_config_set(&c, "mask.generators=[{kind: multiblock, blocks: 2, spatial_scale: [0.4, 0.4], "
                                       "temporal_scale: [0.5, 0.5]}, {kind: tube, ratio: 0.5}]"),
                     VJ_OK);
    assert_int_equal(vj_config_set(&c, "model.patch=4"), VJ_OK);
    assert_int_equal(vj_config_set(&c, "mask.group=4"), VJ_OK);
    assert_int_equal(vj_config_set(&c, "train.batch=4"), VJ_OK);
    c.data = loader_config(4, 1).data;
    assert_int_equal(vj_config_check(&c), VJ_OK);
    const int rows = 3, cell = 32 * VJ_SHEET_FRAME / 24, step = SIDE / PATCH;
    picture p = draw(FIRST, SHOWN, SHOWN, &c);
    assert_int_equal(p.height, vj_sheet_top(SHOWN, 0, rows));
    assert_int_equal(vj_mask_lists_create(&lists, 2, 1, TOKENS), VJ_OK);
    for (int k = 0; k < SHOWN; k++) {
        const int64_t sample = sample_of(&c, FIRST + k);
        store_clip(FIRST + k, &clip, labels, frames);
        crop_of(&c, sample, &clip, frames, rgb);
        assert_int_equal(vj_masks_sample(&lists, &c, (vj_grid){2, step, step}, sample / 4, sample, 1), VJ_OK);
        for (int mask = 0; mask < 2; mask++)
            for (int t = 0; t < STORE_FRAMES; t++) {
                const int top = vj_sheet_top(k, 1 + mask, rows), left = vj_sheet_left(t, cell);
                uint8_t *bare = scaled(rgb + t * SIDE * SIDE * 3, SIDE, SIDE, VJ_SHEET_FRAME);
                for (int n = 0; n < step * step; n++) {
                    const int token = t / 2 * step * step + n;
                    const double bright = brightness(&p, top, left, bare, n / step, n % step);
                    if (listed(lists.context + mask * TOKENS, lists.contexts[mask], token)) {
                        assert_true(bright > 0.99 && bright < 1.01);
                        seen[0]++;
                    } else if (listed(lists.target + mask * TOKENS, lists.targets[mask], token)) {
                        assert_true(bright > 0.3 && bright < 0.9);
                        seen[1]++;
                    } else {
                        assert_true(bright < 0.15);
                        seen[2]++;
                    }
                }
                free(bare);
            }
    }
    vj_mask_lists_release(&lists);
    free(p.rgb);
    assert_true(seen[0] > 20 && seen[1] > 20 && seen[2] > 0);

    /* Training uses no clips of a data set with weight 0. */
    assert_int_equal(vj_config_set(&c, "data.weights=[even=1, odd=0]"), VJ_OK);
    p = draw(0, 2 * STORE_WINDOWS, 2 * STORE_WINDOWS, &c);
    for (int k = 0; k < 2 * STORE_WINDOWS; k++) {
        store_clip(k, &clip, labels, frames);
        const int64_t shown = drawn(&p, vj_sheet_top(k, 1, rows), vj_sheet_left(0, cell), VJ_SHEET_FRAME, cell);
        assert_true(clip.dataset == 0 ? shown > 1000 : shown == 0);
    }
    free(p.rgb);

    c.data.frames = 8;
    char path[VJ_PATH];
    int64_t count = 1;
    join(path, folder, "other.png");
    assert_int_equal(vj_sheet_write(path, store, 0, &count, &c, NULL), VJ_ERR_USAGE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_written_and_scaled), cmocka_unit_test(letters_are_drawn_and_cut_off),
        cmocka_unit_test(paths_are_taken_from_the_ledger), cmocka_unit_test(origins_are_those_of_the_clips),
        cmocka_unit_test(frames_are_where_they_should_be), cmocka_unit_test(views_are_those_of_the_loader),
        cmocka_unit_test(a_sheet_ends_with_the_store),     cmocka_unit_test(masks_hide_what_the_sampler_says),
    };
    MPI_Init(&argc, &argv);
    const int failed = cmocka_run_group_tests(tests, make, clear);
    MPI_Finalize();
    return failed;
}
