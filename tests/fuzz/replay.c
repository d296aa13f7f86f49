/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs a fuzz target over files and over all files of directories, and over a few thousand
 * mutations of each (a fixed pseudo-random sequence), so that corpora are tested in builds without
 * libFuzzer too. A directory without a file is an error: a test that tests nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 65536
#define MUTATIONS 200

static uint8_t input[INPUT_MAX], mutated[INPUT_MAX];

static uint32_t next(uint32_t *state)
{
	*state ^= *state << 13; /* xorshift32 */
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* In a buffer exactly as large as the input, so that reading past it is seen. */
static void run_exact(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);

	if (!exact)
		exit(1);
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void mutate(size_t size, uint32_t *state)
{
	size_t len = size;

	memcpy(mutated, input, size);
	for (unsigned n = 1 + next(state) % 4; n && len; n--) {
		size_t at = next(state) % len;

		switch (next(state) % 5) {
		case 0: mutated[at] ^= (uint8_t)(1u << next(state) % 8); break;
		case 1: mutated[at] = (uint8_t)next(state); break;
		case 2: mutated[at] = next(state) % 2 ? 0xff : 0; break;
		case 3: len = at; break;
		default:
			if (len + 16 < INPUT_MAX && at + 16 <= len) {
				memmove(mutated + at + 16, mutated + at, len - at);
				len += 16;
			}
			break;
		}
	}
	run_exact(mutated, len);
}

static unsigned run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint32_t state = 2463534242u;
	size_t size;

	if (!file) {
		perror(path);
		exit(1);
	}
	size = fread(input, 1, sizeof(input), file);
	fclose(file);
	run_exact(input, size);
	for (unsigned i = 0; i < MUTATIONS; i++)
		mutate(size, &state);
	return 1;
}

static unsigned run_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	if (!dir) {
		perror(path);
		exit(1);
	}
	while ((entry = readdir(dir))) {
		char name[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		n += run_file(name);
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	unsigned n = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (!stat(argv[i], &st) && S_ISDIR(st.st_mode))
			n += run_directory(argv[i]);
		else
			n += run_file(argv[i]);
	}
	printf("%u inputs, %u mutations of each\n", n, MUTATIONS);
	return n ? 0 : 1;
}
