/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three passes over a configuration: the text (comments, JSON, repeated keys), the values (by the
 * schemas), and what only the whole shows: names that are taken or missing. The mistakes of all
 * are collected and told in the order of the lines.
 */
#include "control/config.h"

#include "base/util.h"
#include "control/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MISTAKES_MAX 100 /* nobody reads more at once */

struct mistake {
	unsigned line, order;
	char *text; /* "WHERE: what" */
};

struct reader {
	struct schema_sink sink;
	const struct source *source; /* NULL: not JSON */
	struct mistake list[MISTAKES_MAX];
	unsigned n;
};

/* ---- collecting -------------------------------------------------------------------------- */

static void mistake_add(struct reader *reader, unsigned line, const char *where, const char *text)
{
	struct mistake *mistake = &reader->list[reader->n];

	if (reader->n == MISTAKES_MAX)
		return;
	if (asprintf(&mistake->text, "%s%s%s", where, where[0] ? ": " : "", text) < 0)
		return;
	mistake->line = line;
	mistake->order = reader->n++;
}

static void value_mistake(struct schema_sink *sink, const struct json_path *at, const char *text)
{
	struct reader *reader = container_of(sink, struct reader, sink);
	char where[160];

	json_path_format(at, where, sizeof(where));
	mistake_add(reader, source_line(reader->source, at), where, text);
}

static void text_mistake(struct reader *reader, unsigned line, const char *text)
{
	reader->sink.mistakes++;
	mistake_add(reader, line, "", text);
}

static void repeated_key(void *arg, const char *key, unsigned line, unsigned first)
{
	struct reader *reader = arg;
	char text[128];

	snprintf(text, sizeof(text), "the key \"%s\" is on line %u already", key, first);
	text_mistake(reader, line, text);
}

static int by_line(const void *a, const void *b)
{
	const struct mistake *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void tell(struct reader *reader, const char *name, config_mistake_fn *mistake, void *arg)
{
	qsort(reader->list, reader->n, sizeof(reader->list[0]), by_line);
	for (unsigned i = 0; i < reader->n; i++) {
		char *text;

		if (asprintf(&text, "%s:%u: %s", name, reader->list[i].line,
			     reader->list[i].text) >= 0) {
			mistake(arg, text);
			free(text);
		}
		free(reader->list[i].text);
	}
	if (reader->sink.mistakes > reader->n)
		mistake(arg, "more mistakes follow that are not shown");
}

/* ---- names ------------------------------------------------------------------------------- */

/* All objects begin with their name. */
static const char *item_name(const struct schema_list *list, size_t size, unsigned i)
{
	return (const char *)list->items + i * size;
}

/* Reports names that are there twice. Lists are short. */
static void check_names(struct reader *reader, const struct schema_list *list, size_t size,
			const struct json_path *at)
{
	for (unsigned i = 0; i < list->n; i++)
		for (unsigned j = 0; j < i; j++) {
			const char *name = item_name(list, size, i);
			struct json_path element = { .up = at, .index = i };
			struct json_path key = { .up = &element, .key = "name" };
			struct json_path other = { .up = at, .index = j };

			if (!name[0] || strcmp(name, item_name(list, size, j)))
				continue;
			schema_mistake(&reader->sink, &key, "the name \"%s\" is on line %u already",
				       name, source_line(reader->source, &other));
			break;
		}
}

/* Returns the object called @name, or NULL and reports that there is none. */
static const void *resolve(struct reader *reader, const char *name, const char *what,
			   const struct schema_list *list, size_t size,
			   const struct json_path *object, const char *key)
{
	struct json_path at = { .up = object, .key = key };
	const char *names[64], *nearest;
	unsigned n = 0;

	for (unsigned i = 0; i < list->n; i++) {
		if (!strcmp(item_name(list, size, i), name))
			return item_name(list, size, i);
		if (n < ARRAY_SIZE(names) - 1)
			names[n++] = item_name(list, size, i);
	}
	names[n] = NULL;
	nearest = schema_nearest(name, names);
	if (nearest)
		schema_mistake(&reader->sink, &at, "there is no %s \"%s\"; did you mean \"%s\"?",
			       what, name, nearest);
	else
		schema_mistake(&reader->sink, &at, "there is no %s \"%s\"", what, name);
	return NULL;
}

static void check_plug(struct reader *reader, const struct config *config,
		       const struct plug_spec *plug, const struct json_path *object)
{
	struct json_path trunk = { .up = object, .key = plug->n_vids ? "vids" : "trunk" };
	const struct switch_spec *sw;

	if (plug->n_vids && !plug->trunk)
		schema_mistake(&reader->sink, &trunk, "\"vids\" is for trunks only");
	if (!plug->sw[0])
		return;
	sw = resolve(reader, plug->sw, "switch", &config->switches, sizeof(struct switch_spec),
		     object, "switch");
	if (sw && plug->trunk && !sw->vlan_aware)
		schema_mistake(&reader->sink, &trunk,
			       "switch \"%s\" has no VLANs (\"vlan_aware\"), so nothing is a trunk "
			       "in it",
			       plug->sw);
}

static void check_core(struct reader *reader, const struct config *config, const char *core,
		       const struct json_path *object)
{
	if (core[0] && strcmp(core, CORE_AUTO) && (config->cores.n || strcmp(core, "io0")))
		resolve(reader, core, "core", &config->cores, sizeof(struct core_spec), object,
			"core");
}

static void check_model(struct reader *reader, const struct device_spec *spec,
			const struct json_path *object)
{
	const char *const *models = manager_device_models(spec->kind);
	struct json_path at = { .up = object, .key = "model" };
	const char *nearest;

	if (!models || !spec->model[0])
		return;
	for (unsigned i = 0; models[i]; i++)
		if (!strcmp(models[i], spec->model))
			return;
	nearest = schema_nearest(spec->model, models);
	schema_mistake(&reader->sink, &at, "there is no model \"%s\" of kind \"%s\"; %s \"%s\"%s",
		       spec->model, spec->kind, nearest ? "did you mean" : "there is",
		       nearest ? nearest : models[0], nearest ? "?" : "");
}

/* What the manager would say of an object. */
static void check_spec(struct reader *reader, int err, const char *key, const struct why *why,
		       const struct json_path *object)
{
	struct json_path at = { .up = object, .key = key };

	if (err)
		schema_mistake(&reader->sink, &at, "%s", why->text);
}

/* A device of the configuration, where it is, and its socket as it will be. */
struct placed {
	const struct device_spec *spec;
	unsigned machine, device;
	char socket[SPEC_SOCKET_BYTES];
};

static void check_socket(struct reader *reader, const struct config *config, const char *machine,
			 struct placed *placed, const struct json_path *object)
{
	const struct device_spec *spec = placed->spec;
	struct json_path at = { .up = object, .key = "socket" };

	if (spec->socket[0]) {
		memcpy(placed->socket, spec->socket, sizeof(placed->socket));
	} else if (!machine[0] || !spec->name[0]) {
		return; /* a mistake by itself */
	} else if (manager_socket_path(config->control.directory, machine, spec->name,
				       placed->socket)) {
		placed->socket[0] = '\0';
		schema_mistake(&reader->sink, object,
			       "the path of its socket would be longer than %d characters; give it "
			       "a \"socket\", or a shorter \"directory\" in \"control\"",
			       SPEC_SOCKET_BYTES - 1);
	}
	if (!strcmp(placed->socket, config->control.socket))
		schema_mistake(&reader->sink, spec->socket[0] ? &at : object,
			       "its socket would be %s, which is the control socket",
			       placed->socket);
}

static void check_pair(struct reader *reader, const struct placed *a, const struct placed *b)
{
	static const uint8_t none[6];
	struct json_path machines = { .key = "machines" };
	struct json_path machine = { .up = &machines, .index = a->machine };
	struct json_path devices = { .up = &machine, .key = "devices" };
	struct json_path device = { .up = &devices, .index = a->device };
	struct json_path at = { .up = &device, .key = "socket" };

	if (a->socket[0] && !strcmp(a->socket, b->socket) &&
	    (a->machine != b->machine || strcmp(a->spec->name, b->spec->name)))
		schema_mistake(&reader->sink, a->spec->socket[0] ? &at : &device,
			       "machines[%u].devices[%u] has the same socket, %s", b->machine,
			       b->device, a->socket);
	at.key = "mac";
	if (memcmp(a->spec->mac, none, 6) && !memcmp(a->spec->mac, b->spec->mac, 6) &&
	    a->spec->plug.sw[0] && !strcmp(a->spec->plug.sw, b->spec->plug.sw))
		schema_mistake(&reader->sink, &at,
			       "machines[%u].devices[%u] has the same MAC address in switch \"%s\"",
			       b->machine, b->device, a->spec->plug.sw);
	at.key = "file";
	if (a->spec->file[0] && !strcmp(a->spec->file, b->spec->file) &&
	    !(a->spec->shared && b->spec->shared) && !(a->spec->read_only && b->spec->read_only))
		schema_mistake(&reader->sink, &at,
			       "machines[%u].devices[%u] has the same image; two can have one if "
			       "both are \"read_only\" or \"shared\"",
			       b->machine, b->device);
}

static void check_devices(struct reader *reader, const struct config *config)
{
	const struct machine_entry *machines = config->machines.items;
	struct json_path list = { .key = "machines" };
	struct placed *placed;
	unsigned n = 0;

	for (unsigned i = 0; i < config->machines.n; i++)
		n += machines[i].devices.n;
	placed = calloc(n + 1, sizeof(*placed));
	if (!placed) {
		text_mistake(reader, 1, "out of memory");
		return;
	}
	n = 0;
	for (unsigned i = 0; i < config->machines.n; i++) {
		const struct device_spec *specs = machines[i].devices.items;
		struct json_path machine = { .up = &list, .index = i };
		struct json_path devices = { .up = &machine, .key = "devices" };
		const char *wrong_key = NULL;
		struct why wrong = { "" };
		int bad = manager_machine_check(&machines[i].spec, &wrong_key, &wrong);

		check_spec(reader, bad, wrong_key, &wrong, &machine);
		check_names(reader, &machines[i].devices, sizeof(*specs), &devices);
		for (unsigned j = 0; j < machines[i].devices.n; j++) {
			struct json_path device = { .up = &devices, .index = j };
			const char *key = NULL;
			struct why why = { "" };
			int err = manager_device_check(&specs[j], &key, &why);

			check_spec(reader, err, key, &why, &device);
			check_plug(reader, config, &specs[j].plug, &device);
			check_core(reader, config, specs[j].core, &device);
			check_model(reader, &specs[j], &device);
			placed[n] = (struct placed){ &specs[j], i, j, "" };
			check_socket(reader, config, machines[i].spec.name, &placed[n], &device);
			for (unsigned k = 0; k < n; k++)
				check_pair(reader, &placed[n], &placed[k]);
			n++;
		}
	}
	free(placed);
}

static void check_whole(struct reader *reader, const struct config *config)
{
	const struct port_spec *ports = config->ports.items;
	struct json_path list = { .key = "cores" };

	check_names(reader, &config->cores, sizeof(struct core_spec), &list);
	list.key = "switches";
	check_names(reader, &config->switches, sizeof(struct switch_spec), &list);
	list.key = "machines";
	check_names(reader, &config->machines, sizeof(struct machine_entry), &list);
	list.key = "ports";
	check_names(reader, &config->ports, sizeof(*ports), &list);
	for (unsigned i = 0; i < config->ports.n; i++) {
		struct json_path port = { .up = &list, .index = i };
		const char *key = NULL;
		struct why why = { "" };
		int err = ports[i].kind[0] ? manager_port_check(&ports[i], &key, &why) : 0;

		check_spec(reader, err, key, &why, &port);
		check_plug(reader, config, &ports[i].plug, &port);
		check_core(reader, config, ports[i].core, &port);
	}
	check_devices(reader, config);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* jansson says what is wrong; for some of it, not what was expected. */
static void syntax_mistake(struct reader *reader, const json_error_t *error)
{
	static const struct {
		const char *start, *expected;
	} rows[] = {
		{ "unexpected token", "expected a value" },
		{ "invalid token", "expected a value" },
		{ "unexpected newline", "expected the quote that ends a text" },
		{ "premature end of input", "expected the quote that ends a text" },
		{ "invalid escape", "expected an escape of JSON's" },
		{ "unable to decode", "expected UTF-8" },
		{ "too big", "expected a number of 64 bits" },
	};
	char text[sizeof(error->text) + 64];
	const char *expected = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(rows) && !expected; i++)
		if (!strncmp(error->text, rows[i].start, strlen(rows[i].start)))
			expected = rows[i].expected;
	snprintf(text, sizeof(text), "%s%s%s", expected ? expected : "", expected ? ": " : "",
		 error->text);
	text_mistake(reader, (unsigned)MAX(error->line, 1), text);
}

static void decode(struct reader *reader, const char *text, size_t len, const json_t *json,
		   struct config *config)
{
	struct source *source = source_new(text, len);
	json_error_t error;
	json_t *again;

	if (!source) {
		text_mistake(reader, 1, "out of memory");
		return;
	}
	reader->source = source;
	source_repeated(source, repeated_key, reader);
	if (!reader->sink.mistakes) {
		/* for keys that are the same only once their escapes are resolved */
		again = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
		if (!again)
			text_mistake(reader, (unsigned)MAX(error.line, 1), error.text);
		json_decref(again);
	}
	schema_decode(&config_schema, json, config, SCHEMA_NEW, NULL, &reader->sink);
	check_whole(reader, config);
	source_free(source);
	reader->source = NULL;
}

static unsigned line_of_nul(const char *text, size_t len)
{
	const char *end = memchr(text, '\0', len);
	unsigned line = 1;

	for (; text < end; text++)
		line += *text == '\n';
	return line;
}

int config_parse(const char *name, char *text, size_t len, struct config *config,
		 config_mistake_fn *mistake, void *arg)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	json_error_t error;
	unsigned line;
	json_t *json;
	int err;

	schema_defaults(&config_schema, config);
	if (!reader)
		return -ENOMEM;
	reader->sink.mistake = value_mistake;
	line = source_strip_comments(text, len);
	if (memchr(text, '\0', len)) { /* jansson takes some of them for blanks */
		text_mistake(reader, line_of_nul(text, len), "a character that is no text");
	} else if (line) {
		text_mistake(reader, line, "a comment begins here and does not end");
	} else {
		json = json_loadb(text, len, 0, &error);
		if (json)
			decode(reader, text, len, json, config);
		else
			syntax_mistake(reader, &error);
		json_decref(json);
	}
	tell(reader, name, mistake, arg);
	err = reader->sink.mistakes ? -EINVAL : 0;
	free(reader);
	return err;
}

/* Returns the bytes read into *text (freed by the caller), or -errno. */
static ssize_t read_file(const char *path, char **text)
{
	struct stat st;
	size_t len = 0;
	ssize_t n = 0;
	char *buf;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	buf = malloc(CONFIG_BYTES_MAX + 1);
	if (!buf || fstat(fd, &st) < 0)
		n = -errno;
	else if (S_ISDIR(st.st_mode))
		n = -EISDIR;
	while (!n && len <= CONFIG_BYTES_MAX) {
		ssize_t got = read(fd, buf + len, CONFIG_BYTES_MAX + 1 - len);

		if (got < 0 && errno != EINTR)
			n = -errno;
		if (!got)
			break;
		len += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	if (!n && len > CONFIG_BYTES_MAX)
		n = -EFBIG;
	if (n) {
		free(buf);
		return n;
	}
	*text = buf;
	return (ssize_t)len;
}

int config_load(const char *path, struct config *config, config_mistake_fn *mistake, void *arg)
{
	char *text = NULL;
	ssize_t len = read_file(path, &text);
	int err;

	if (len < 0) {
		char line[SPEC_FILE_BYTES + 64];

		schema_defaults(&config_schema, config);
		snprintf(line, sizeof(line), "%s: %s", path, strerror((int)-len));
		mistake(arg, line);
		return (int)len;
	}
	err = config_parse(path, text, (size_t)len, config, mistake, arg);
	free(text);
	return err;
}

void config_free(struct config *config)
{
	schema_free(&config_schema, config);
}

/* ---- building ---------------------------------------------------------------------------- */

static int apply_machine(const struct machine_entry *entry, struct manager *m, struct why *why)
{
	const struct device_spec *devices = entry->devices.items;
	int err;

	err = manager_machine_add(m, &entry->spec, why);
	for (unsigned i = 0; !err && i < entry->devices.n; i++)
		err = manager_device_add(m, entry->spec.name, &devices[i], why);
	return err;
}

int config_apply(const struct config *config, struct manager *m, struct why *why)
{
	const struct core_spec *cores = config->cores.items;
	const struct switch_spec *switches = config->switches.items;
	const struct port_spec *ports = config->ports.items;
	const struct machine_entry *machines = config->machines.items;
	struct core_spec only;
	int err = 0;

	manager_balance_set(m, &config->balance);
	if (!config->cores.n) {
		schema_defaults(&core_schema, &only);
		strcpy(only.name, "io0");
		err = manager_core_add(m, &only, why);
	}
	for (unsigned i = 0; !err && i < config->cores.n; i++)
		err = manager_core_add(m, &cores[i], why);
	for (unsigned i = 0; !err && i < config->switches.n; i++)
		err = manager_switch_add(m, &switches[i], why);
	for (unsigned i = 0; !err && i < config->ports.n; i++)
		err = manager_port_add(m, &ports[i], why);
	for (unsigned i = 0; !err && i < config->machines.n; i++)
		err = apply_machine(&machines[i], m, why);
	return err;
}
