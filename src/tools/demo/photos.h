/* Fashion-MNIST: 28 x 28 grey photographs of clothing with labels, read from its IDX files (plain or gzipped). */
#ifndef VJ_DEMO_PHOTOS_H
#define VJ_DEMO_PHOTOS_H

#include <stdint.h>

#include "base/status.h"

enum { VJ_PHOTO_SIDE = 28, VJ_PHOTO_CLASSES = 10 };

typedef struct {
    int64_t count;
    uint8_t *pixels;                           /* [count, 28, 28], owned */
    int32_t *of_class;                         /* indices of the photos, ordered by class, owned */
    int64_t class_first[VJ_PHOTO_CLASSES + 1]; /* where each class begins in of_class */
} vj_photos;

/** Read `stem`-images-idx3-ubyte.gz and `stem`-labels-idx1-ubyte.gz from the folder. Release with vj_photos_release().
 */
vj_status vj_photos_read(vj_photos *photos, const char *folder, const char *stem);
void vj_photos_release(vj_photos *photos);

#endif
