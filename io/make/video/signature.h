/*
 * Recognises, by their first bytes, files that are neither videos nor pictures we can read, so that the error message
 * can say what was found and what to do.
 */
#ifndef VJ_VIDEO_SIGNATURE_H
#define VJ_VIDEO_SIGNATURE_H

#include <stddef.h>

/**
 * Describe the file type that the first bytes belong to, for the message when the file could not be read: "compressed
 * by gzip: unpack it", "a HEIF photograph ...". NULL: not known.
 */
const char *vj_signature(const unsigned char *begin, size_t bytes);

/** The same for files that are plain text. */
const char *vj_signature_text(const unsigned char *begin, size_t bytes);

/**
 * Return whether the file is a WebP picture of several frames. FFmpeg before release 9 opens such a file, but has no
 * decoder for it.
 */
int vj_signature_is_animated_webp(const unsigned char *begin, size_t bytes);

/** Number of first bytes of a file that the functions above need. */
enum { VJ_SIGNATURE_BYTES = 512 };

#endif
