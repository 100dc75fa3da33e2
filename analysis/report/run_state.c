/* The order in which signs of a run's state count. */
#include "report/run_state.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"

const char *vj_run_state_name(vj_run_state state)
{
    static const char *const names[] = {
        [VJ_RUN_MISSING] = "not begun", [VJ_RUN_STARTING] = "starting", [VJ_RUN_RUNNING] = "running",
        [VJ_RUN_HUNG] = "HUNG",         [VJ_RUN_STOPPED] = "stopped",   [VJ_RUN_FAILED] = "FAILED",
        [VJ_RUN_KILLED] = "KILLED",     [VJ_RUN_COMPLETE] = "complete",
    };
    return names[state];
}

static bool has(const char *folder, const char *name)
{
    char path[VJ_PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

vj_run_state vj_run_state_find(const char *folder, const vj_lease_view *lease, const char *event)
{
    if (lease->state == VJ_LEASE_HELD) return VJ_RUN_RUNNING; /* also one that was complete and goes on */
    if (has(folder, "complete")) return VJ_RUN_COMPLETE;
    /* A job writes the last line of its history before it gives its lease back. */
    if (lease->state == VJ_LEASE_FREE) {
        if (strcmp(event, "failed") == 0) return VJ_RUN_FAILED;
        if (strcmp(event, "start") != 0 && strcmp(event, "roll_back") != 0) return VJ_RUN_STOPPED;
    }
    return has(folder, "watchdog.txt") ? VJ_RUN_HUNG : VJ_RUN_KILLED;
}
