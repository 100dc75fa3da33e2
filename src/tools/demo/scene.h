/*
 * FM-Motion-48, the demonstration data: a photograph of clothing moves in one of 8 ways over a crop of real film. There
 * are two labels, appearance (8 classes) and motion (8 classes, in pairs that are each other's time reversal). They are
 * crossed and balanced: neither label can be predicted from the other, the motion cannot be predicted from a single
 * frame, and codec, background and file name predict nothing.
 * A video is a function of (seed, split, number): first its random choices (vj_scene), then its pixels.
 */
#ifndef VJ_DEMO_SCENE_H
#define VJ_DEMO_SCENE_H

#include "base/rng.h"
#include "demo/photos.h"
#include "video/encode.h"

enum {
    VJ_SCENE_SIDE = 48,
    VJ_SCENE_FRAMES = 16,
    VJ_SCENE_APPEARANCES = 8,
    VJ_SCENE_MOTIONS = 8,
    VJ_SCENE_CELLS = VJ_SCENE_APPEARANCES * VJ_SCENE_MOTIONS,
    VJ_SCENE_FILM_SIDE = 128, /* short side of background films, pixels */
    VJ_SCENE_FILM_FRAMES = 400
};

extern const char *const vj_scene_appearances[VJ_SCENE_APPEARANCES];
extern const char *const vj_scene_motions[VJ_SCENE_MOTIONS];

typedef enum { VJ_SPLIT_TRAIN, VJ_SPLIT_VAL, VJ_SPLITS } vj_split_kind;

/* A decoded background film. */
typedef struct {
    char name[256];
    int64_t frames;
    int height, width;
    uint8_t *pixels; /* [frames, height, width, 3], owned */
} vj_film;

/* Photographs and films of one split. */
typedef struct {
    vj_photos photos;
    vj_film *films;
    int film_count;
} vj_material;

/**
 * Read Fashion-MNIST from DIR/photos and every film of DIR/train or DIR/val, in the order of their names; at most
 * VJ_SCENE_FILM_FRAMES frames of each. Free with vj_material_release().
 */
vj_status vj_material_read(vj_material *material, const char *folder, vj_split_kind split);
void vj_material_release(vj_material *material);

/* All random choices for one video. */
typedef struct {
    uint64_t name; /* random, for the file name */
    int appearance, motion;
    int32_t photo;
    vj_encoding encoding;
    int fps;
    int film, film_top, film_left, film_moves, film_forward;
    int64_t film_start;
    double tint[3];
    double x[VJ_SCENE_FRAMES], y[VJ_SCENE_FRAMES],
        scale[VJ_SCENE_FRAMES]; /* centre in pixels, size of a photo's pixel */
} vj_scene;

/** Make the choices for video `number` of a split. Appearance and motion follow from the number, the rest is random. */
void vj_scene_draw(vj_scene *scene, const vj_material *material, uint64_t seed, vj_split_kind split, int64_t number);

/** Render the pixels of a video: frames u8 RGB [VJ_SCENE_FRAMES, VJ_SCENE_SIDE, VJ_SCENE_SIDE, 3]. */
void vj_scene_render(const vj_scene *scene, const vj_material *material, uint8_t *frames);

#endif
