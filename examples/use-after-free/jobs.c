// SPDX-License-Identifier: GPL-2.0-or-later
/* The module of docs/use-after-free.md: a list of jobs, and a watcher that is written to after it was freed.
 *
 * In /sys/module/jobs/parameters a write to `add` adds a job of that size, and `total` is the sum of all sizes.
 */

#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

struct job {
	struct list_head list;
	unsigned long size;
	char owner[40];
};

struct watcher {
	unsigned long notified; /* when it was told that there is a job, in jiffies */
	char name[56];
};

static LIST_HEAD(jobs);
static struct watcher *watcher;

static void notify(struct work_struct *work)
{
	watcher->notified = jiffies;
}

static DECLARE_DELAYED_WORK(notification, notify);

static int add(const char *text, const struct kernel_param *parameter)
{
	unsigned long size;
	struct job *job;
	int error = kstrtoul(text, 0, &size);

	if (error)
		return error;
	if (list_empty(&jobs)) {
		schedule_delayed_work(&notification, 1);
		kfree(watcher); /* the bug: it has yet to be told */
	}
	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return -ENOMEM;
	job->size = size;
	list_add_tail(&job->list, &jobs);
	return 0;
}

static int total(char *text, const struct kernel_param *parameter)
{
	unsigned long sum = 0;
	struct job *job;

	list_for_each_entry(job, &jobs, list)
		sum += job->size;
	return sprintf(text, "%lu\n", sum);
}

static const struct kernel_param_ops add_ops = { .set = add };
static const struct kernel_param_ops total_ops = { .get = total };

module_param_cb(add, &add_ops, NULL, 0200);
module_param_cb(total, &total_ops, NULL, 0400);

static int __init start(void)
{
	watcher = kzalloc(sizeof(*watcher), GFP_KERNEL);
	return watcher ? 0 : -ENOMEM;
}

module_init(start);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A list that a use after free corrupts");
