#include "tests/lib/testdir.h"
#include "base/chk.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *
testdir_make(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = chk_malloc(PATH_MAX);
    snprintf(path, PATH_MAX, "%s/darkroom-test-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    CHK(mkdtemp(path) != NULL);
    return path;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void
testdir_remove(char **path)
{
    nftw(*path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*path);
    *path = NULL;
}

const char *
testdir_path(const char *dir, const char *name)
{
    static _Thread_local char out[PATH_MAX];
    snprintf(out, sizeof out, "%s/%s", dir, name);
    return out;
}
