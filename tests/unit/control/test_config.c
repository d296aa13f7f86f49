/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char mistakes[16384];

static void note_mistake(void *arg, const char *text)
{
	snprintf(mistakes + strlen(mistakes), sizeof(mistakes) - strlen(mistakes), "%s\n", text);
}

static int parse(const char *text, struct config *config)
{
	char *copy = strdup(text);
	int err;

	mistakes[0] = '\0';
	err = config_parse("f", copy, strlen(copy), config, note_mistake, NULL);
	free(copy);
	return err;
}

/* One mistake each, and what must be said of it. */
static const struct {
	const char *text, *said;
} bad[] = {
	/* text that is not JSON: also what was expected there */
	{ "{\n\"cores\": [ {}, ] }", "2: expected a value: unexpected token near ']'" },
	{ "{ \"log_level\": 'info' }", "1: expected a value: " },
	{ "{ \"log_level\": info }", "1: expected a value: invalid token near 'info'" },
	{ "{ \"log_level\":\n\"in\nfo\" }", "2: expected the quote that ends a text: " },
	{ "{ \"log_level\": \"info }", "1: expected the quote that ends a text: " },
	{ "{ \"log_level\": \"\\x\" }", "1: expected an escape of JSON's: " },
	{ "{ \"log_level\": \"\xff\" }", "1: expected UTF-8: " },
	{ "{ log_level: 1 }", "1: string or '}' expected near 'log'" },
	{ "{ \"log_level\" \"info\" }", "1: ':' expected near" },
	{ "{ \"log_level\": \"info\" \"cores\": [] }", "1: '}' expected near" },
	{ "", "f:1: " },
	{ "{", "f:1: " },
	{ "{\n\n]", "f:3: " },
	{ "[]", "f:1: expected an object (configuration), found a list" },
	{ "{\n/* x", "f:2: a comment begins here" },
	{ "{\n\"contol\": {} }",
	  "f:2: contol: there is no key \"contol\" in configuration; did you "
	  "mean \"control\"?" },
	{ "{ \"qqqqqqqqq\": 1 }", "there is no key \"qqqqqqqqq\" in configuration\n" },
	{ "{ \"log_level\": \"loud\" }", "log_level: expected \"error\", \"warning\", \"info\" or "
					 "\"debug\", found \"loud\"" },
	{ "{ \"cores\": {} }", "cores: expected a list of at most 4096 core objects, found an "
			       "object" },
	{ "{ \"cores\": [\n1 ] }", "f:2: cores[0]: expected an object (core), found 1" },
	{ "{ \"cores\": [ {} ] }", "cores[0]: a core needs the key \"name\"" },
	{ "{ \"cores\": [ { \"name\": \"a b\" } ] }", "cores[0].name: expected a name" },
	{ "{ \"cores\": [ { \"name\": \"-a\" } ] }", "cores[0].name: expected a name" },
	{ "{ \"cores\": [ { \"name\": \"a\", \"cpu\": 4096 } ] }",
	  "expected a whole number from -1 to 4095, found 4096" },
	{ "{ \"cores\": [ { \"name\": \"a\", \"cpu\": 1.5 } ] }", "found 1.5" },
	{ "{ \"cores\": [ { \"name\": \"a\" },\n{ \"name\": \"a\" } ] }",
	  "f:2: cores[1].name: the name \"a\" is on line 1 already" },
	{ "{ \"cores\": [],\n\"cores\": [] }", "f:2: the key \"cores\" is on line 1 already" },
	{ "{ \"cores\": [], \"c\\u006fres\": [] }", "duplicate" },
	{ "{ \"switches\": [ { \"name\": \"a\", \"vlan_aware\": 1 } ] }",
	  "vlan_aware: expected true or false, found 1" },
	{ "{ \"ports\": [ { \"name\": \"a\", \"kind\": \"null\", \"ifname\": \"x\" } ] }",
	  "ports[0].ifname: \"ifname\" is for a port of kind tap only" },
	{ "{ \"ports\": [ { \"name\": \"a\", \"kind\": \"null\", \"core\": \"io1\" } ] }",
	  "ports[0].core: there is no core \"io1\"" },
	{ "{ \"switches\": [ { \"name\": \"lan\" } ], \"ports\": [ { \"name\": \"a\", \"kind\": "
	  "\"null\",\n\"switch\": \"lam\" } ] }",
	  "f:2: ports[0].switch: there is no switch \"lam\"; did you mean \"lan\"?" },
	{ "{ \"switches\": [ { \"name\": \"lan\" } ], \"ports\": [ { \"name\": \"a\", \"kind\": "
	  "\"null\", \"switch\": \"lan\", \"trunk\": true } ] }",
	  "has no VLANs" },
	{ "{ \"ports\": [ { \"name\": \"a\", \"kind\": \"null\", \"vids\": [ 1 ] } ] }",
	  "\"vids\" is for trunks only" },
	{ "{ \"ports\": [ { \"name\": \"a\", \"kind\": \"null\", \"trunk\": true, \"vids\": [ 1, 4095 ] } ] }",
	  "ports[0].vids[1]: expected a whole number from 1 to 4094, found 4095" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"kind\": "
	  "\"virtio-blk\", \"model\": \"null\",\n\"size_bytes\": 1000 } ] } ] }",
	  "f:2: machines[0].devices[0].size_bytes: a size is a multiple of 512" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"kind\": "
	  "\"virtio-blk\", \"size_bytes\": 512, \"mac\": \"02:00:00:00:00:01\" } ] } ] }",
	  "machines[0].devices[0].mac: \"mac\" is for a device of kind nic,virtio-net only" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"file\": "
	  "\"/x\" } ] } ] }",
	  "machines[0].devices[0].file: \"file\" is for a device of kind virtio-blk only" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"mac\": "
	  "\"1:2\" } ] } ] }",
	  "machines[0].devices[0].mac: expected a MAC address like" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"mac\": "
	  "\"01:00:00:00:00:00\" } ] } ] }",
	  "not a group's" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"model\": "
	  "\"82574\" } ] } ] }",
	  "did you mean \"82574L\"?" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", "
	  "\"socket_mode\": \"0888\" } ] } ] }",
	  "expected a file mode" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", "
	  "\"socket_owner\": \"no-such-user-here\" } ] } ] }",
	  "expected a user of this host" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"link\": "
	  "true } ] } ] }",
	  "link: expected \"down\" or \"up\", found true" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\", \"socket\": "
	  "\"/s\" }, { \"name\": \"c\",\n\"socket\": \"/s\" } ] } ] }",
	  "f:2: machines[0].devices[1].socket: machines[0].devices[0] has the same socket" },
	{ "{ \"machines\": [ { \"name\": \"a\", \"devices\": [ { \"name\": \"b\" },\n{ \"name\": "
	  "\"b\" } ] } ] }",
	  "f:2: machines[0].devices[1].name: the name \"b\" is on line 1 already" },
	{ "{ \"switches\": [ { \"name\": \"s\" } ], \"machines\": [ { \"name\": \"a\", "
	  "\"devices\": [ { \"name\": \"b\", \"switch\": \"s\", \"mac\": \"02:00:00:00:00:01\" }, "
	  "{ \"name\": \"c\", \"switch\": \"s\",\n\"mac\": \"02:00:00:00:00:01\" } ] } ] }",
	  "f:2: machines[0].devices[1].mac: machines[0].devices[0] has the same MAC" },
};

static void each_mistake(void **state)
{
	struct config config;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i].text, &config), -EINVAL);
		if (!strstr(mistakes, bad[i].said))
			fail_msg("of %s\nwas said %s\nand not %s", bad[i].text, mistakes,
				 bad[i].said);
		/* and nothing else */
		if (strchr(mistakes, '\n') != strrchr(mistakes, '\n'))
			fail_msg("of %s\nwas said %s", bad[i].text, mistakes);
		config_free(&config);
	}
}

static void all_of_them(void **state)
{
	struct config config;

	assert_int_equal(parse("{ \"x1\": 1,\n\"log_level\": 3,\n\"cores\": [ { \"name\": 1,\n"
			       "\"cpu\": true } ] }",
			       &config),
			 -EINVAL);
	assert_non_null(strstr(mistakes, "f:1: x1: "));
	assert_non_null(strstr(mistakes, "f:2: log_level: "));
	assert_non_null(strstr(mistakes, "f:3: cores[0].name: "));
	assert_non_null(strstr(mistakes, "f:4: cores[0].cpu: "));
	config_free(&config);
}

static void good(void **state)
{
	struct config config;
	const struct core_spec *core;
	const struct machine_entry *machine;
	const struct device_spec *dev;

	assert_int_equal(
		parse("// comment\n"
		      "{ \"cores\": [ { \"name\": \"io0\", \"cpu\": 1, \"park_after_us\": "
		      "80 } ], \"switches\": [ { \"name\": \"lan\", \"vlan_aware\": true } "
		      "], \"machines\": [ { \"name\": \"vm1\", \"latency\": \"bulk\", "
		      "\"devices\": [ { \"name\": \"net0\", \"mac\": "
		      "\"52:54:00:AB:cd:01\", \"switch\": \"lan\", \"trunk\": true, "
		      "\"vids\": [ 5, 7 ], \"link\": \"down\", \"socket_mode\": \"600\", "
		      "\"socket_owner\": 0 } ] } ] }",
		      &config),
		0);
	assert_string_equal(mistakes, "");
	assert_int_equal(config.control.mode, 0660);
	assert_int_equal(config.control.owner, (uid_t)-1);
	core = config.cores.items;
	assert_int_equal(core->params.cpu, 1);
	assert_int_equal(core->params.park_after_ns, 80000);
	assert_int_equal(core->params.park_look_ns, 5000);
	machine = config.machines.items;
	assert_int_equal(machine->spec.share.latency, IO_LATENCY_BULK);
	dev = machine->devices.items;
	assert_string_equal(dev->kind, "nic");
	assert_memory_equal(dev->mac, "\x52\x54\x00\xab\xcd\x01", 6);
	assert_int_equal(dev->plug.n_vids, 2);
	assert_int_equal(dev->plug.vids[1], 7);
	assert_false(dev->link_up);
	assert_int_equal(dev->socket_mode, 0600);
	assert_int_equal(dev->socket_owner, 0);
	assert_int_equal(dev->socket_group, (gid_t)-1);
	config_free(&config);
}

/* What is written back decodes to the same. */
static void there_and_back(void **state)
{
	struct config config, again;
	json_t *json, *json_again;
	char *text;

	assert_int_equal(
		parse("{ \"cores\": [ { \"name\": \"io0\" } ], \"switches\": [ { \"name\": "
		      "\"lan\" } ], \"ports\": [ { \"name\": \"p\", \"kind\": \"user\", "
		      "\"forwards\": [ \"a\", \"b\" ] }, { \"name\": \"q\", \"kind\": "
		      "\"pcap\", \"replay_speed\": 2.5 } ], \"machines\": [ { \"name\": "
		      "\"vm1\", \"weight\": 7, \"devices\": [ { \"name\": \"net0\", "
		      "\"switch\": \"lan\" } ] } ] }",
		      &config),
		0);
	json = schema_encode(&config_schema, &config);
	text = json_dumps(json, 0);
	assert_int_equal(parse(text, &again), 0);
	json_again = schema_encode(&config_schema, &again);
	assert_true(json_equal(json, json_again));
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(json, "machines"), 0), "weight")),
			 7);
	free(text);
	json_decref(json);
	json_decref(json_again);
	config_free(&config);
	config_free(&again);
}

static void no_file(void **state)
{
	struct config config;

	mistakes[0] = '\0';
	assert_int_equal(config_load("/no/such/file", &config, note_mistake, NULL), -ENOENT);
	assert_non_null(strstr(mistakes, "/no/such/file: No such file"));
	config_free(&config);
	assert_int_equal(config_load("/", &config, note_mistake, NULL), -EISDIR);
	config_free(&config);
}

static void many_mistakes(void **state)
{
	struct config config;
	char text[8192] = "{ \"cores\": [ ";

	for (unsigned i = 0; i < 200; i++)
		strcat(text, i ? ", {}" : "{}");
	strcat(text, " ] }");
	assert_int_equal(parse(text, &config), -EINVAL);
	assert_non_null(strstr(mistakes, "more mistakes follow"));
	config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mistake), cmocka_unit_test(all_of_them),
		cmocka_unit_test(good),		cmocka_unit_test(there_and_back),
		cmocka_unit_test(no_file),	cmocka_unit_test(many_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
