/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hosts as text: trees/NAME.txt unpacked below a temporary directory. Lines are
 *
 *	PATH: VALUE		a file with one line
 *	PATH:			a file with the lines that follow, each after a tab
 *	PATH -> TARGET		a symbolic link
 *
 * "{LIST}" in a path repeats the line for every CPU number of the list. '#' begins a comment line.
 */
#ifndef EXITLESS_TEST_HOST_TREE_H
#define EXITLESS_TEST_HOST_TREE_H

/* The directory, on the heap. Anything wrong fails the test. */
char *tree_new(const char *name);
/* One more file, or another content of one. */
void tree_put(const char *root, const char *path, const char *text);
/* A file's content without the newline at its end; on the heap. */
char *tree_get(const char *root, const char *path);
/* Removes it all. */
void tree_free(char *root);

#endif
