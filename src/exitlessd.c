/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exitlessd: start-up and end, from top to bottom. Everything happens on this thread's event loop
 * but the packets, which move on the I/O cores.
 */
#include "base/clock.h"
#include "base/log.h"
#include "control/config.h"
#include "control/control.h"
#include "control/daemon.h"
#include "memory/space.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EXIT_CONFIG = 1, EXIT_USAGE = 2, EXIT_SYSTEM = 3 };

struct options {
	const char *config; /* NULL: nothing but a core */
	const char *socket; /* NULL: as configured */
	int log_level;	    /* -1: as configured */
	bool check;
};

struct daemon {
	struct options options;
	struct config config;
	struct loop *loop;
	struct loop_fd signals;
	struct loop_timer stop_timer, watchdog_timer;
	uint64_t watchdog_ns; /* 0: nobody asks whether this thread is alive */
	struct control control;
	struct rpc_server *rpc;
	bool stopping;
};

/* ---- options ----------------------------------------------------------------------------- */

static void usage(FILE *out)
{
	fputs("usage: exitlessd [options]\n"
	      "  -c, --config FILE      what to serve (JSON, see docs/config.md)\n"
	      "      --check            say what is wrong with it, and end\n"
	      "  -s, --socket PATH      control socket, instead of the configuration's\n"
	      "  -l, --log-level LEVEL  error, warning, info or debug\n"
	      "      --reference        print the reference of the configuration, and end\n"
	      "      --version\n"
	      "  -h, --help\n",
	      out);
}

/* Returns true to go on; else *status is what to end with. */
static bool parse_options(int argc, char **argv, struct options *options, int *status)
{
	enum { CHECK = 256, REFERENCE, VERSION };
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, CHECK },
		{ "socket", required_argument, NULL, 's' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "reference", no_argument, NULL, REFERENCE },
		{ "version", no_argument, NULL, VERSION },
		{ "help", no_argument, NULL, 'h' },
		{ NULL },
	};
	int c;

	*options = (struct options){ .log_level = -1 };
	*status = EXIT_USAGE;
	while ((c = getopt_long(argc, argv, "c:s:l:h", longs, NULL)) != -1) {
		switch (c) {
		case 'c': options->config = optarg; break;
		case 's': options->socket = optarg; break;
		case CHECK: options->check = true; break;
		case 'l':
			options->log_level = log_level_parse(optarg);
			if (options->log_level >= 0)
				break;
			fprintf(stderr, "exitlessd: no log level: %s\n", optarg);
			return false;
		case REFERENCE:
			schema_document(&config_schema, stdout);
			*status = 0;
			return false;
		case VERSION:
			puts("exitlessd " EXITLESS_VERSION);
			*status = 0;
			return false;
		case 'h':
			usage(stdout);
			*status = 0;
			return false;
		default: usage(stderr); return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "exitlessd: what is \"%s\"?\n", argv[optind]);
		usage(stderr);
		return false;
	}
	if (options->check && !options->config) {
		fputs("exitlessd: --check needs --config\n", stderr);
		return false;
	}
	if (options->socket &&
	    strlen(options->socket) >= sizeof(((struct control_spec *)0)->socket)) {
		fputs("exitlessd: the path of the control socket is too long\n", stderr);
		return false;
	}
	return true;
}

/* ---- configuration ----------------------------------------------------------------------- */

static void print_mistake(void *arg, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

/* With what the options say instead; config_free() in any case. */
static int read_config(const struct options *options, struct config *config,
		       config_mistake_fn *mistake)
{
	int err = 0;

	if (options->config)
		err = config_load(options->config, config, mistake, NULL);
	else
		schema_defaults(&config_schema, config);
	if (err)
		return err;
	if (options->socket)
		strcpy(config->control.socket, options->socket);
	if (options->log_level >= 0)
		snprintf(config->log_level, sizeof(config->log_level), "%s",
			 log_level_name((enum log_level)options->log_level));
	return 0;
}

/* ---- signals ----------------------------------------------------------------------------- */

static void stop_now(struct loop_timer *timer)
{
	loop_stop(container_of(timer, struct daemon, stop_timer)->loop);
}

/* Links down first; guests that are connected get a moment to take the interrupt and look. */
static void stop(struct daemon *d)
{
	unsigned guests;

	if (d->stopping) {
		loop_stop(d->loop);
		return;
	}
	d->stopping = true;
	notify_supervisor("STOPPING=1");
	guests = manager_links_down(d->control.m);
	log_info("ending: the links of %u connected devices are down", guests);
	if (guests)
		loop_timer_set(d->loop, &d->stop_timer,
			       time_now_ns() + d->config.control.stop_wait_ns, stop_now);
	else
		loop_stop(d->loop);
}

static void log_difference(void *arg, const char *text)
{
	log_warning("configuration: %s", text);
}

/* The file is read again and compared; what differs is for `exitless add|set|remove`, since much of
 * it would take a device away from a running guest. */
static void reload(struct daemon *d)
{
	struct config config;

	if (!d->options.config) {
		log_info("configuration: there is no file to read again");
		return;
	}
	notify_supervisor("RELOADING=1");
	if (read_config(&d->options, &config, log_difference))
		log_warning("configuration: %s is not good; nothing has changed",
			    d->options.config);
	else if (!config_compare(&config, &d->control, log_difference, NULL))
		log_info("configuration: %s is what runs", d->options.config);
	config_free(&config);
	notify_supervisor("READY=1");
}

static void signalled(struct loop_fd *lfd, uint32_t events)
{
	struct daemon *d = container_of(lfd, struct daemon, signals);
	struct signalfd_siginfo info;

	if (read(lfd->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		reload(d);
	else
		stop(d);
}

/* Before any thread is started, so that all threads leave the signals to this one. */
static int watch_signals(struct daemon *d)
{
	sigset_t set;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	return loop_add(d->loop, &d->signals, fd, EPOLLIN, signalled);
}

/* ---- serving ----------------------------------------------------------------------------- */

static void say_alive(struct loop_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, watchdog_timer);

	notify_supervisor("WATCHDOG=1");
	loop_timer_set(d->loop, timer, time_now_ns() + d->watchdog_ns / 2, say_alive);
}

static int serve(struct daemon *d)
{
	struct why why = { "" };
	int err;

	err = config_apply(&d->config, d->control.m, &why);
	if (err) {
		log_error("%s", why.text);
		return err;
	}
	d->rpc = control_serve(d->loop, &d->control);
	if (!d->rpc) {
		err = -errno;
		log_error("control socket %s: %s", d->config.control.socket,
			  err == -EADDRINUSE ? "somebody listens there, or it is no socket"
					     : strerror(-err));
		return err;
	}
	log_info("exitlessd " EXITLESS_VERSION
		 " serves; sandbox: files %s, calls %s; control socket %s",
		 d->control.files ? "limited" : "not limited",
		 d->config.sandbox.calls ? "limited" : "not limited", d->config.control.socket);
	notify_supervisor("READY=1");
	d->watchdog_ns = notify_watchdog_ns();
	if (d->watchdog_ns)
		say_alive(&d->watchdog_timer);
	err = loop_run(d->loop);
	if (err)
		log_error("event loop: %s", strerror(-err));
	return err;
}

int main(int argc, char **argv)
{
	struct daemon d = { .rpc = NULL };
	int status, err;

	if (!parse_options(argc, argv, &d.options, &status))
		return status;
	status = EXIT_CONFIG;
	if (read_config(&d.options, &d.config, print_mistake))
		goto free_config;
	if (d.options.check) {
		printf("%s: good\n", d.options.config);
		status = 0;
		goto free_config;
	}
	log_set_level((enum log_level)log_level_parse(d.config.log_level));

	status = EXIT_SYSTEM;
	d.control.spec = &d.config.control;
	d.control.sandbox = &d.config.sandbox;
	err = confine(&d.config, d.options.config, &d.control.files);
	if (!err)
		err = memory_faults_init();
	d.loop = loop_new();
	if (!err && d.loop)
		err = watch_signals(&d);
	d.control.m = d.loop ? manager_new(d.loop, d.config.control.directory) : NULL;
	if (err || !d.control.m) {
		log_error("start-up: %s", strerror(err ? -err : errno));
		goto free_loop;
	}
	d.control.started_ns = time_now_ns();
	if (!serve(&d))
		status = 0;

	rpc_server_free(d.rpc);
	if (!manager_free(d.control.m))
		_exit(status); /* what is stuck is polled by its core to the very end */
	if (!status)
		log_info("ended");
free_loop:
	loop_timer_cancel(&d.stop_timer);
	loop_timer_cancel(&d.watchdog_timer);
	if (d.signals.loop) {
		loop_remove(&d.signals);
		close(d.signals.fd);
	}
	loop_free(d.loop);
	sandbox_files_free(d.control.files);
free_config:
	config_free(&d.config);
	return status;
}
