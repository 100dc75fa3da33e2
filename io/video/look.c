/* The look of a video: a difference hash of each of eight pictures. */
#include "video/look.h"

#include <stdlib.h>

#include "video/inside.h"

/* Each average is of CELL x CELL pixels of a picture that the scaler made this small. */
enum { COLUMNS = 9, ROWS = 8, CELL = 8, FEWEST = VJ_LOOK_INSTANTS / 2 };

/* Sums of luma, that of BT.601 in 256ths: a cell that differs from all others by less than 4 levels is noise. */
enum { FLAT = 4 * CELL * CELL * 256 };

void vj_look_times(double start_s, double end_s, double times_s[VJ_LOOK_INSTANTS])
{
    for (int i = 0; i < VJ_LOOK_INSTANTS; i++) times_s[i] = start_s + (i + 0.5) / VJ_LOOK_INSTANTS * (end_s - start_s);
}

vj_video_verdict vj_look_add(vj_look *look, int instant, const vj_picture *picture)
{
    enum { WIDTH = COLUMNS * CELL, HEIGHT = ROWS * CELL };
    vj_video *v = picture->video;
    uint8_t rgb[HEIGHT * WIDTH * 3];
    int32_t cell[ROWS][COLUMNS] = {{0}}, least = INT32_MAX, most = 0;
    int error = vj_convert(&v->look_converter, v->held, v->orientation, WIDTH, HEIGHT, rgb);
    if (error < 0) return vj_refuse_av(v, VJ_VIDEO_FAILED, error, "scaling");
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const uint8_t *p = rgb + 3 * (y * WIDTH + x);
            cell[y / CELL][x / CELL] += 77 * p[0] + 150 * p[1] + 29 * p[2];
        }
    uint64_t bits = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            least = cell[i][j] < least ? cell[i][j] : least;
            most = cell[i][j] > most ? cell[i][j] : most;
            if (j > 0) bits = bits << 1 | (cell[i][j] > cell[i][j - 1]);
        }
    look->bits[instant] = bits;
    if (most - least >= FLAT) look->valid |= (uint8_t)(1 << instant);
    return VJ_VIDEO_OK;
}

double vj_look_distance(const vj_look *a, const vj_look *b)
{
    int differ = 0, instants = 0;
    for (int i = 0; i < VJ_LOOK_INSTANTS; i++)
        if ((a->valid & b->valid) >> i & 1) {
            differ += __builtin_popcountll(a->bits[i] ^ b->bits[i]);
            instants++;
        }
    return instants < FEWEST ? 1 : (double)differ / (64 * instants);
}
