/*
 * What a file is by its first bytes, for those that are neither videos nor pictures that can be read here: so that a
 * message says what was found, and what to do.
 */
#ifndef VJ_VIDEO_SIGNATURE_H
#define VJ_VIDEO_SIGNATURE_H

#include <stddef.h>

/**
 * What the first bytes of a file belong to, for the message when it could not be read: "compressed by gzip: unpack it",
 * "a HEIF photograph ...". NULL: not known.
 */
const char *vj_signature(const unsigned char *begin, size_t bytes);

/** The same of files that are nothing but text. */
const char *vj_signature_text(const unsigned char *begin, size_t bytes);

/** Is it a WebP picture of several frames? FFmpeg before release 9 opens it, and then has no decoder for it. */
int vj_signature_is_animated_webp(const unsigned char *begin, size_t bytes);

/** Bytes of a file's beginning that are enough. */
enum { VJ_SIGNATURE_BYTES = 512 };

#endif
