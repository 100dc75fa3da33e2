/*
 * The recipe: what decides a store's content, as text in STORE/pack.yaml, written before the first shard. A store that
 * is finished, or half finished, is only gone on with by the same recipe.
 */
#ifndef VJ_PACK_RECIPE_H
#define VJ_PACK_RECIPE_H

#include "pack/catalogue.h"

/** The settings but for those of which the content does not depend, and the digests of all lists. free() it. */
char *vj_recipe_text(const vj_config *config, const vj_catalogue_summary *summary);

/**
 * Compare with what is in `store`: *done, the store is finished and of this recipe. Refuses a finished store of another
 * recipe, and an unfinished one that has shards of another, naming the first difference. Not collective.
 */
vj_status vj_recipe_check(const char *store, const char *recipe, int *done);

/**
 * Is `store` a place for a store: not there, empty but for hidden files, or a store already? Anything else, a run
 * folder above all, is the user's and is refused. Not collective.
 */
vj_status vj_recipe_check_place(const char *store);

/** Write it, durably, and remove what is left of half-written files. Not collective. */
vj_status vj_recipe_begin(const char *store, const char *recipe);

/** Is the store finished? index.h5 came by rename, after everything else. */
int vj_recipe_store_exists(const char *store);

#endif
