/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_FILE_H
#define DEMO_FILE_H

#include "types.h"

struct file;

struct file_operations {
	ssize_t (*read)(struct file *file, char *buf, size_t count);
	ssize_t (*write)(struct file *file, const char *buf, size_t count);
};

struct file {
	const char *name;
	const struct file_operations *f_op;
	u64 f_pos;			/* bytes read and written so far */
	void *private_data;
};

#define PIPE_SIZE	256

/* What was written and not yet read; what does not fit is not taken. */
struct pipe {
	char data[PIPE_SIZE];
	size_t head, tail;		/* bytes ever written, ever read */
};

#define FD_NULL		0
#define FD_CONSOLE	1
#define FD_PIPE		2

extern struct pipe user_pipe;

struct file *fget(unsigned int fd);
ssize_t vfs_read(struct file *file, char *buf, size_t count);
ssize_t vfs_write(struct file *file, const char *buf, size_t count);
size_t pipe_drain(struct pipe *pipe, char *buf, size_t size);

#endif
