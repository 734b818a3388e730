/*
 * A fresh directory for one test, removed again with everything in it.
 */
#ifndef DARKROOM_TESTS_TESTDIR_H
#define DARKROOM_TESTS_TESTDIR_H

/* Absolute path under $TMPDIR or /tmp; free it with testdir_remove(). Aborts on failure. */
char *testdir_make(void);
void testdir_remove(char **path);
/* "dir/name" in a static buffer of this thread, good until the next call. */
const char *testdir_path(const char *dir, const char *name);

#endif
