/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a fuzz target over files and the files in folders: each test run replays the corpora. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned runs;

static int run_file(const char *path)
{
	FILE *in = fopen(path, "rb");
	uint8_t *data;
	struct stat st;
	size_t size;

	if (!in || fstat(fileno(in), &st) < 0) {
		perror(path);
		return 1;
	}
	/* exactly as large as the input, so that reading past it is seen */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	size = data ? fread(data, 1, (size_t)st.st_size, in) : 0;
	fclose(in);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	runs++;
	return 0;
}

static int run_folder(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort), err = 0;
	char file[4096];

	if (n < 0) {
		perror(path);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			err |= run_file(file);
		free(names[i]);
	}
	free(names);
	return err;
}

int main(int argc, char **argv)
{
	struct stat st;
	int err = 0;

	for (int i = 1; i < argc; i++)
		err |= !stat(argv[i], &st) && S_ISDIR(st.st_mode) ? run_folder(argv[i])
								  : run_file(argv[i]);
	printf("%u inputs\n", runs);
	return err || !runs; /* a corpus that is not found is a failure */
}
