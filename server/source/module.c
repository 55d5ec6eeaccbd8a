/* SPDX-License-Identifier: Apache-2.0
 *
 * module.c - sources that are not built in: shared objects that the configuration names.
 *
 * A module is loaded when its source is first connected to, with its own names to itself, and stays
 * until the daemon ends: threads that it made may still run its code. To use a newer one, restart.
 */
#include <dlfcn.h>
#include <stdio.h>

#include "server/source/source_internal.h"

int source_load(const char *path, const struct source_class **out, char *why, size_t why_bytes)
{
    *out = NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(why, why_bytes, "%s", dlerror());
        return SP_ECONFIG;
    }
    const struct source_module *module = dlsym(handle, SOURCE_MODULE_SYMBOL);
    if (!module)
        snprintf(why, why_bytes, "%s has no " SOURCE_MODULE_SYMBOL ": it is no source", path);
    else if (module->interface != SOURCE_INTERFACE)
        snprintf(why, why_bytes,
                 "%s was built for version %u of the interface for sources, and this is version %u",
                 path, module->interface, SOURCE_INTERFACE);
    else if (!module->class || !module->class->open || !module->class->describe ||
             !module->class->begin || !module->class->stream || !module->class->end ||
             !module->class->cancel || !module->class->close)
        snprintf(why, why_bytes, "%s lacks functions that every source has", path);
    else
        *out = module->class;
    if (*out)
        return SP_OK;
    dlclose(handle);
    return SP_ECONFIG;
}
