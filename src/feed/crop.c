/* Chooses the crop box of a clip (docs/method.md, section 10.3). The pixels are computed in kernels/cpu_crop.c. */
#include <math.h>

#include "base/rng.h"
#include "feed/crop.h"

vj_crop vj_crop_centre(int height, int width)
{
    int side = height < width ? height : width;
    return (vj_crop){(height - side) / 2, (width - side) / 2, side, side, 0};
}

/* A centred box of the nearest permitted aspect, for frames so elongated that ten draws missed. */
static vj_crop fallback(const double aspect[2], int height, int width)
{
    vj_crop crop = {0, 0, height, width, 0};
    double ratio = (double)width / height;
    if (ratio < aspect[0]) crop.height = (int)nearbyint(width / aspect[0]);
    if (ratio > aspect[1]) crop.width = (int)nearbyint(height * aspect[1]);
    crop.top = (height - crop.height) / 2;
    crop.left = (width - crop.width) / 2;
    return crop;
}

vj_crop vj_crop_draw_from(vj_rng *rng, const double scale[2], const double aspect[2], double flip, int height,
                          int width)
{
    vj_crop crop = fallback(aspect, height, width);
    const int mirrored = vj_rng_uniform(rng) < flip;
    for (int attempt = 0; attempt < 10; attempt++) {
        double area = (scale[0] + (scale[1] - scale[0]) * vj_rng_uniform(rng)) * height * width;
        double ratio = exp(log(aspect[0]) + (log(aspect[1]) - log(aspect[0])) * vj_rng_uniform(rng));
        int w = (int)nearbyint(sqrt(area * ratio)),
            h = (int)nearbyint(sqrt(area / ratio)); /* half to even, as published */
        if (w < 1 || w > width || h < 1 || h > height) continue;
        crop = (vj_crop){(int)vj_rng_below(rng, height - h + 1), (int)vj_rng_below(rng, width - w + 1), h, w, 0};
        break;
    }
    crop.flip = mirrored;
    return crop;
}

vj_crop vj_crop_draw(const vj_config *config, uint64_t seed, int64_t sample, int height, int width)
{
    vj_rng rng;
    vj_rng_init(&rng, seed, VJ_RNG_CROP, (uint64_t)sample);
    return vj_crop_draw_from(&rng, config->data.crop_scale, config->data.crop_aspect, config->data.flip, height, width);
}

vj_crop vj_view_random(const vj_config *config, int64_t sample, int height, int width)
{
    return vj_crop_draw(config, (uint64_t)config->run.seed, sample, height, width);
}

vj_crop vj_view_centre(const vj_config *config, int64_t sample, int height, int width)
{
    (void)config, (void)sample; /* it is always the same */
    return vj_crop_centre(height, width);
}
