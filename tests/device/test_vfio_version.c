/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/device/vfio_harness.h"

/* Sends a VERSION request with @json (NULL: none) and returns the length of the reply or -errno. */
static int exchange(struct vu_client *c, uint16_t major, uint16_t minor, const char *json,
		    size_t json_len, char *reply, size_t room)
{
	uint8_t request[70000];

	memcpy(request, &major, 2);
	memcpy(request + 2, &minor, 2);
	if (json)
		memcpy(request + 4, json, json_len);
	return vu_request(c, 1, request, 4 + (json ? json_len : 0), NULL, 0, reply, room, NULL);
}

static void answers_qemu(void **state)
{
	/* QEMU takes no reply longer than its request */
	assert_int_equal(vu_open(&client, server_path()), 0);
	assert_int_equal(client.major, 0);
	assert_int_equal(client.minor, 0);
	assert_true(strlen(client.capabilities) < 190);
	assert_non_null(strstr(client.capabilities, "\"max_msg_fds\":16"));
	assert_non_null(strstr(client.capabilities, "\"write_multiple\":true"));
	assert_null(strstr(client.capabilities, "twin_socket"));
	assert_null(strstr(client.capabilities, "migration"));
	vu_close(&client);
}

static void answers_cloud_hypervisor(void **state)
{
	static const char json[] = "{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":"
				   "1048576,\"migration\":{\"pgsize\":4096}}}";
	char reply[512] = "";
	int n;

	assert_int_equal(vu_connect(&client, server_path()), 0);
	n = exchange(&client, 0, 1, json, sizeof(json), reply, sizeof(reply));
	assert_true(n > 4);
	assert_int_equal(reply[2], 0); /* minor */
	assert_int_equal(reply[n - 1], 0);
	assert_string_equal(reply + 4, "{\"capabilities\":{\"max_msg_fds\":16,"
				       "\"max_data_xfer_size\":1048576}}");
	vu_close(&client);
}

static void no_json(void **state)
{
	char reply[64];

	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_int_equal(exchange(&client, 0, 0, NULL, 0, reply, sizeof(reply)), 4);
	vu_close(&client);
}

static void smaller_transfers(void **state)
{
	static const char json[] = "{\"capabilities\":{\"max_data_xfer_size\":4096}}";
	char reply[512], data[8192];

	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_true(exchange(&client, 0, 0, json, sizeof(json), reply, sizeof(reply)) > 4);
	assert_non_null(strstr(reply + 4, "\"max_data_xfer_size\":4096"));
	assert_int_equal(vu_region_read(&client, 0, 0, data, 4096), 0);
	assert_int_equal(vu_region_read(&client, 0, 0, data, 4097), -EINVAL);
	vu_close(&client);
}

static void other_major(void **state)
{
	char reply[64];

	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_int_equal(exchange(&client, 1, 0, NULL, 0, reply, sizeof(reply)), -ENOTSUP);
	/* it may try again */
	assert_int_equal(exchange(&client, 0, 0, NULL, 0, reply, sizeof(reply)), 4);
	vu_close(&client);
}

static void bad_json(void **state)
{
	static const struct {
		const char *json;
		size_t len;
	} bad[] = {
		{ "{}", 2 }, /* not terminated */
		{ "", 1 },
		{ "{", 2 },
		{ "[]", 3 },
		{ "{\"capabilities\":7}", 19 },
		{ "{\"capabilities\":{\"max_msg_fds\":\"many\"}}", 40 },
		{ "{\"capabilities\":{\"max_data_xfer_size\":-1}}", 43 },
		{ "{\"capabilities\":{\"max_dma_maps\":1.5}}", 38 },
		{ "{\"capabilities\":{\"pgsizes\":{}}}", 32 },
	};
	char deep[4092], reply[512];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(vu_connect(&client, server_path()), 0);
		assert_int_equal(
			exchange(&client, 0, 0, bad[i].json, bad[i].len, reply, sizeof(reply)),
			-EINVAL);
		expect_dropped(&client);
		vu_close(&client);
		wait_disconnected();
	}
	memset(deep, '[', sizeof(deep));
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_int_equal(exchange(&client, 0, 0, deep, sizeof(deep), reply, sizeof(reply)),
			 -EINVAL);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

/* Nor may one go on who does not want to know. */
static void bad_json_unanswered(void **state)
{
	static const char request[] = "\0\0\0\0{\"capabilities\":7}";

	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_int_equal(vu_send(&client, 1, 0x10, request, sizeof(request), NULL, 0), 0);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

static void too_long(void **state)
{
	static char json[4093] = "{\"capabilities\":{}}";
	char reply[64];

	memset(json + strlen(json), ' ', sizeof(json) - 1 - strlen(json));
	assert_int_equal(vu_connect(&client, server_path()), 0);
	json[4091] = '\0';
	assert_true(exchange(&client, 0, 0, json, 4092, reply, sizeof(reply)) > 4);
	vu_close(&client);
	wait_disconnected();
	json[4091] = ' ';
	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_int_equal(exchange(&client, 0, 0, json, sizeof(json), reply, sizeof(reply)),
			 -ECONNRESET);
	vu_close(&client);
	expect_serving();
}

static void twice(void **state)
{
	char reply[64];

	assert_int_equal(vu_open(&client, server_path()), 0);
	assert_int_equal(exchange(&client, 0, 0, NULL, 0, reply, sizeof(reply)), -ECONNRESET);
	vu_close(&client);
	expect_serving();
}

static void anything_else_first(void **state)
{
	for (uint16_t command = 0; command < 24; command++) {
		if (command == 1)
			continue;
		assert_int_equal(vu_connect(&client, server_path()), 0);
		assert_int_equal(vu_request(&client, command, NULL, 0, NULL, 0, NULL, 0, NULL),
				 -ECONNRESET);
		vu_close(&client);
		wait_disconnected();
	}
	expect_serving();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_no_client(answers_qemu),
		test_no_client(answers_cloud_hypervisor),
		test_no_client(no_json),
		test_no_client(smaller_transfers),
		test_no_client(other_major),
		test_no_client(bad_json),
		test_no_client(bad_json_unanswered),
		test_no_client(too_long),
		test_no_client(twice),
		test_no_client(anything_else_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
