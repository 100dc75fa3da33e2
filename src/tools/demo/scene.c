/* Makes the random choices for a demonstration video, and composes its pixels. */
#include "demo/scene.h"

#include <math.h>

const char *const vj_scene_appearances[] = {"t-shirt", "trouser", "pullover", "dress",
                                            "sandal",  "sneaker", "bag",      "boot"};
const char *const vj_scene_motions[] = {"right",   "left",    "down", "up", "clockwise", "counterclockwise",
                                        "zoom-in", "zoom-out"};

/* Coat (4) and shirt (6) are left out: at 48 pixels even a supervised network cannot tell them from pullovers. */
static const int photo_class[VJ_SCENE_APPEARANCES] = {0, 1, 2, 3, 5, 7, 8, 9};

static double between(vj_rng *rng, double low, double high)
{
    return low + (high - low) * vj_rng_uniform(rng);
}

/* Choose an encoding by its share, independently of both labels. */
static vj_encoding draw_encoding(vj_rng *rng)
{
    static const double up_to[VJ_ENCODINGS] = {0.40, 0.55, 0.70, 0.85, 1.0};
    double u = vj_rng_uniform(rng);
    int e = 0;
    while (u >= up_to[e]) e++;
    /* Codecs built into FFmpeg stand in for external libraries that this build of it lacks. */
    return vj_encoding_available((vj_encoding)e) ? (vj_encoding)e : VJ_ENCODING_MJPEG;
}

/* Choose the path of the object. Time runs from -7.5 to 7.5, so that reversed motions pass through the same places. */
static void draw_track(vj_scene *s, vj_rng *rng)
{
    double centre_x = VJ_SCENE_SIDE * between(rng, 0.42, 0.58), centre_y = VJ_SCENE_SIDE * between(rng, 0.42, 0.58);
    double scale = between(rng, 0.85, 1.25), speed = between(rng, 0.7, 1.2);
    double radius = between(rng, 5, 9), phase = between(rng, 0, 6.283185307179586), turn = between(rng, 0.24, 0.4);
    double zoom = between(rng, 0.03, 0.05), jitter_x = 0, jitter_y = 0;
    int kind = s->motion / 2;
    double sign = s->motion % 2 ? -1 : 1;
    for (int k = 0; k < VJ_SCENE_FRAMES; k++) {
        double t = sign * (k - 0.5 * (VJ_SCENE_FRAMES - 1)), dx = 0, dy = 0;
        s->scale[k] = scale;
        if (kind == 0) dx = speed * t;
        if (kind == 1) dy = speed * t;
        if (kind == 2) dx = radius * cos(phase + turn * t), dy = radius * sin(phase + turn * t);
        if (kind == 3) s->scale[k] = scale * exp(zoom * t);
        jitter_x += 0.2 * vj_rng_normal(rng);
        jitter_y += 0.2 * vj_rng_normal(rng);
        s->x[k] = centre_x + dx + jitter_x;
        s->y[k] = centre_y + dy + jitter_y;
    }
}

void vj_scene_draw(vj_scene *s, const vj_material *material, uint64_t seed, vj_split_kind split, int64_t number)
{
    vj_rng rng;
    vj_rng_init(&rng, seed, VJ_RNG_DEMO, (uint64_t)split << 48 | (uint64_t)number);
    uint64_t high = vj_rng_u32(&rng), low = vj_rng_u32(&rng);
    *s = (vj_scene){.name = high << 32 | low,
                    .appearance = (int)(number % VJ_SCENE_CELLS) / VJ_SCENE_MOTIONS,
                    .motion = (int)(number % VJ_SCENE_MOTIONS)};
    s->encoding = draw_encoding(&rng);
    s->fps = 20 + (int)vj_rng_below(&rng, 6);

    const int64_t *first = &material->photos.class_first[photo_class[s->appearance]];
    s->photo = material->photos.of_class[first[0] + vj_rng_below(&rng, first[1] - first[0])];
    for (int c = 0; c < 3; c++) s->tint[c] = between(&rng, 0.6, 1);

    s->film = (int)vj_rng_below(&rng, material->film_count);
    const vj_film *film = &material->films[s->film];
    s->film_top = (int)vj_rng_below(&rng, film->height - VJ_SCENE_SIDE + 1);
    s->film_left = (int)vj_rng_below(&rng, film->width - VJ_SCENE_SIDE + 1);
    s->film_start = vj_rng_below(&rng, film->frames - VJ_SCENE_FRAMES + 1);
    s->film_moves = vj_rng_uniform(&rng) < 0.5;
    s->film_forward = vj_rng_uniform(&rng) < 0.5; /* the film's direction of time says nothing about the label */
    draw_track(s, &rng);
}

static double photo_at(const uint8_t *photo, int row, int column)
{
    if (row < 0 || column < 0 || row >= VJ_PHOTO_SIDE || column >= VJ_PHOTO_SIDE) return 0;
    return photo[row * VJ_PHOTO_SIDE + column] / 255.0;
}

/* Sample bilinearly between pixel centres; black around the photo. */
static double sample(const uint8_t *photo, double row, double column)
{
    int r = (int)floor(row), c = (int)floor(column);
    double fr = row - r, fc = column - c;
    return (1 - fr) * ((1 - fc) * photo_at(photo, r, c) + fc * photo_at(photo, r, c + 1)) +
           fr * ((1 - fc) * photo_at(photo, r + 1, c) + fc * photo_at(photo, r + 1, c + 1));
}

void vj_scene_render(const vj_scene *s, const vj_material *material, uint8_t *frames)
{
    const double contrast = 0.6, middle = 0.5 * (VJ_PHOTO_SIDE - 1);
    const vj_film *film = &material->films[s->film];
    const uint8_t *photo = material->photos.pixels + (int64_t)s->photo * VJ_PHOTO_SIDE * VJ_PHOTO_SIDE;
    for (int k = 0; k < VJ_SCENE_FRAMES; k++) {
        int step = s->film_forward ? k : VJ_SCENE_FRAMES - 1 - k;
        const uint8_t *picture =
            film->pixels + (s->film_start + (s->film_moves ? step : 0)) * film->height * film->width * 3;
        for (int i = 0; i < VJ_SCENE_SIDE; i++) {
            const uint8_t *under = picture + ((int64_t)(s->film_top + i) * film->width + s->film_left) * 3;
            for (int j = 0; j < VJ_SCENE_SIDE; j++, under += 3, frames += 3) {
                double value = sample(photo, (i + 0.5 - s->y[k]) / s->scale[k] + middle,
                                      (j + 0.5 - s->x[k]) / s->scale[k] + middle);
                double alpha = fmin(4 * value, 1);
                for (int c = 0; c < 3; c++)
                    frames[c] = (uint8_t)lrint((1 - alpha) * contrast * under[c] + alpha * 255 * value * s->tint[c]);
            }
        }
    }
}
