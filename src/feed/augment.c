/* Draws what happens to a training view. The numbers of levels are those of the released code (docs/method.md, 12.4).
 */
#include "feed/augment.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/rng.h"
#include "feed/crop.h"

static void add(vj_augmentation *a, vj_picture_op op, double argument)
{
    a->op[a->ops].op = op;
    a->op[a->ops++].argument = argument;
}

/* ------------------------------------------------------------------------------------------------ RandAugment */

/* Argument of an operation at level m in [0, 10] of the "increasing" set; sign is 1 or -1. */
static double increasing(vj_picture_op op, double m, double sign)
{
    switch (op) {
    case VJ_OP_ROTATE:
        return sign * 3.0 * m;
    case VJ_OP_POSTERIZE:
        return 4 - (int)(0.4 * m);
    case VJ_OP_SOLARIZE:
        return 256 - (int)(25.6 * m);
    case VJ_OP_SOLARIZE_ADD:
        return fmin(128, (int)(11.0 * m));
    case VJ_OP_COLOR:
    case VJ_OP_CONTRAST:
    case VJ_OP_BRIGHTNESS:
    case VJ_OP_SHARPNESS:
        return 1.0 + sign * 0.09 * m;
    case VJ_OP_SHEAR_X:
    case VJ_OP_SHEAR_Y:
        return sign * 0.03 * m;
    case VJ_OP_TRANSLATE_X:
    case VJ_OP_TRANSLATE_Y:
        return sign * 0.045 * m;
    default: /* autocontrast, equalize, invert */
        return 0;
    }
}

/* Each of the four operations takes the same number of draws, whether it is applied or not. */
static void draw_randaugment(vj_augmentation *a, vj_rng *rng)
{
    for (int i = 0; i < VJ_MAX_AUGMENTATIONS; i++) {
        const vj_picture_op op = (vj_picture_op)vj_rng_below(rng, VJ_PICTURE_OPS);
        const int applied = vj_rng_uniform(rng) < 0.5;
        const double m = fmin(10.0, fmax(0.0, 7.0 + 0.5 * vj_rng_normal(rng)));
        const double sign = vj_rng_uniform(rng) < 0.5 ? -1.0 : 1.0;
        if (applied) add(a, op, increasing(op, m, sign));
    }
}

/* ------------------------------------------------------------------------------------------------ AutoAugment */

typedef struct {
    vj_picture_op op;
    double probability;
    int m; /* level, 0 to 10 */
} step;

enum { POLICIES = 25 };
static const step policies[POLICIES][2] = {
    {{VJ_OP_POSTERIZE, 0.4, 8}, {VJ_OP_ROTATE, 0.6, 9}},  {{VJ_OP_SOLARIZE, 0.6, 5}, {VJ_OP_AUTOCONTRAST, 0.6, 5}},
    {{VJ_OP_EQUALIZE, 0.8, 8}, {VJ_OP_EQUALIZE, 0.6, 3}}, {{VJ_OP_POSTERIZE, 0.6, 7}, {VJ_OP_POSTERIZE, 0.6, 6}},
    {{VJ_OP_EQUALIZE, 0.4, 7}, {VJ_OP_SOLARIZE, 0.2, 4}}, {{VJ_OP_EQUALIZE, 0.4, 4}, {VJ_OP_ROTATE, 0.8, 8}},
    {{VJ_OP_SOLARIZE, 0.6, 3}, {VJ_OP_EQUALIZE, 0.6, 7}}, {{VJ_OP_POSTERIZE, 0.8, 5}, {VJ_OP_EQUALIZE, 1.0, 2}},
    {{VJ_OP_ROTATE, 0.2, 3}, {VJ_OP_SOLARIZE, 0.6, 8}},   {{VJ_OP_EQUALIZE, 0.6, 8}, {VJ_OP_POSTERIZE, 0.4, 6}},
    {{VJ_OP_ROTATE, 0.8, 8}, {VJ_OP_COLOR, 0.4, 0}},      {{VJ_OP_ROTATE, 0.4, 9}, {VJ_OP_EQUALIZE, 0.6, 2}},
    {{VJ_OP_EQUALIZE, 0.0, 7}, {VJ_OP_EQUALIZE, 0.8, 8}}, {{VJ_OP_INVERT, 0.6, 4}, {VJ_OP_EQUALIZE, 1.0, 8}},
    {{VJ_OP_COLOR, 0.6, 4}, {VJ_OP_CONTRAST, 1.0, 8}},    {{VJ_OP_ROTATE, 0.8, 8}, {VJ_OP_COLOR, 1.0, 2}},
    {{VJ_OP_COLOR, 0.8, 8}, {VJ_OP_SOLARIZE, 0.8, 7}},    {{VJ_OP_SHARPNESS, 0.4, 7}, {VJ_OP_INVERT, 0.6, 8}},
    {{VJ_OP_SHEAR_X, 0.6, 5}, {VJ_OP_EQUALIZE, 1.0, 9}},  {{VJ_OP_COLOR, 0.4, 0}, {VJ_OP_EQUALIZE, 0.6, 3}},
    {{VJ_OP_EQUALIZE, 0.4, 7}, {VJ_OP_SOLARIZE, 0.2, 4}}, {{VJ_OP_SOLARIZE, 0.6, 5}, {VJ_OP_AUTOCONTRAST, 0.6, 5}},
    {{VJ_OP_INVERT, 0.6, 4}, {VJ_OP_EQUALIZE, 1.0, 8}},   {{VJ_OP_COLOR, 0.6, 4}, {VJ_OP_CONTRAST, 1.0, 8}},
    {{VJ_OP_EQUALIZE, 0.8, 8}, {VJ_OP_EQUALIZE, 0.6, 3}},
};

/* The same levels mean other arguments than in the increasing set. */
static double original(vj_picture_op op, int m, double sign)
{
    switch (op) {
    case VJ_OP_POSTERIZE:
        return (int)(0.4 * m) + 4;
    case VJ_OP_SOLARIZE:
        return (int)(25.6 * m);
    case VJ_OP_COLOR:
    case VJ_OP_CONTRAST:
    case VJ_OP_SHARPNESS:
        return 0.18 * m + 0.1;
    default:
        return increasing(op, m, sign);
    }
}

static void draw_autoaugment(vj_augmentation *a, vj_rng *rng)
{
    const step *policy = policies[vj_rng_below(rng, POLICIES)];
    for (int i = 0; i < 2; i++) {
        const int applied = vj_rng_uniform(rng) < policy[i].probability;
        const double sign = vj_rng_uniform(rng) < 0.5 ? -1.0 : 1.0;
        if (applied) add(a, policy[i].op, original(policy[i].op, policy[i].m, sign));
    }
}

/* ------------------------------------------------------------------------------------------------ the view */

/* A box of 2 to 33 % of the view, smaller than it in both directions. */
static vj_box draw_erased(vj_rng *rng, int side, int tries)
{
    for (int i = 0; i < tries; i++) {
        const double area = (0.02 + (1.0 / 3.0 - 0.02) * vj_rng_uniform(rng)) * side * side;
        const double aspect = exp(log(0.3) + (log(1.0 / 0.3) - log(0.3)) * vj_rng_uniform(rng));
        const int height = (int)nearbyint(sqrt(area * aspect)), width = (int)nearbyint(sqrt(area / aspect));
        if (height < 1 || height >= side || width < 1 || width >= side) continue;
        return (vj_box){(int)vj_rng_below(rng, side - height + 1), (int)vj_rng_below(rng, side - width + 1), height,
                        width};
    }
    return (vj_box){0};
}

void vj_augment_draw(vj_augmentation *a, const vj_eval_views *views, uint64_t key, int height, int width)
{
    static const double scale[2] = {0.08, 1.0}, aspect[2] = {0.75, 4.0 / 3.0};
    vj_rng rng;
    vj_rng_init(&rng, views->seed, VJ_RNG_AUGMENT, key);
    *a = (vj_augmentation){.key = key};
    a->crop = vj_crop_draw_from(&rng, scale, aspect, views->flip, height, width);
    if (vj_rng_uniform(&rng) < views->erasing) a->erased = draw_erased(&rng, views->side, views->image ? 10 : 100);
    if (views->augment == VJ_AUGMENT_RANDAUGMENT) draw_randaugment(a, &rng);
    if (views->augment == VJ_AUGMENT_AUTOAUGMENT) draw_autoaugment(a, &rng);
}

void vj_augment_fill(const vj_eval_views *views, uint8_t fill[3])
{
    for (int c = 0; c < 3; c++) fill[c] = views->image ? (uint8_t)nearbyint(255.0 * views->mean[c]) : 128;
}

void vj_augment_erase(const vj_augmentation *a, const vj_eval_views *views, float *pixels, int frames)
{
    const vj_box *box = &a->erased;
    const int64_t side = views->side, plane = side * side;
    vj_rng rng;
    vj_rng_init(&rng, views->seed, VJ_RNG_ERASE, a->key);
    for (int t = 0; t < 3 * frames && box->height > 0; t++) /* all frames of a channel, then the next */
        for (int y = box->top; y < box->top + box->height; y++)
            for (int x = box->left; x < box->left + box->width; x++)
                pixels[t * plane + y * side + x] = (float)vj_rng_normal(&rng);
}

/* ------------------------------------------------------------------------------------------------ text */

typedef struct {
    char *text;
    size_t bytes, used;
} line;

__attribute__((format(printf, 2, 3))) static void say(line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(l->text + l->used, l->bytes - l->used, format, args);
    va_end(args);
    if (n > 0) l->used = l->used + (size_t)n < l->bytes ? l->used + (size_t)n : l->bytes - 1;
}

static bool has_argument(vj_picture_op op)
{
    return op != VJ_OP_AUTOCONTRAST && op != VJ_OP_EQUALIZE && op != VJ_OP_INVERT;
}

void vj_augment_describe(const vj_augmentation *a, char *text, size_t bytes)
{
    line l = {text, bytes, 0};
    for (int i = 0; i < a->ops; i++) {
        say(&l, "%s", vj_picture_op_name(a->op[i].op));
        if (has_argument(a->op[i].op)) say(&l, " %.3g", a->op[i].argument);
        say(&l, ", ");
    }
    say(&l, "crop %d x %d at %d, %d", a->crop.width, a->crop.height, a->crop.left, a->crop.top);
    if (a->crop.flip) say(&l, ", mirrored");
    if (a->erased.height > 0)
        say(&l, ", erased %d x %d at %d, %d", a->erased.width, a->erased.height, a->erased.left, a->erased.top);
}
