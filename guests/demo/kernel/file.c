/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Three files that are always open: null, the console, and a pipe from the task to the kernel. */
#include "file.h"
#include "printk.h"
#include "uaccess.h"

#define CHUNK	64

struct pipe user_pipe;

static noinline ssize_t null_read(struct file *file, char *buf, size_t count)
{
	(void)file;
	(void)buf;
	(void)count;
	return 0;
}

static noinline ssize_t null_write(struct file *file, const char *buf, size_t count)
{
	(void)file;
	(void)buf;
	return count;
}

static noinline ssize_t console_file_write(struct file *file, const char *buf, size_t count)
{
	char chunk[CHUNK];

	(void)file;
	if (count > CHUNK)
		count = CHUNK;
	if (copy_from_user(chunk, buf, count))
		return -EFAULT;
	console_write(chunk, count);
	return count;
}

static noinline ssize_t pipe_read(struct file *file, char *buf, size_t count)
{
	char chunk[CHUNK];
	size_t n = pipe_drain(file->private_data, chunk, count < CHUNK ? count : CHUNK);

	return copy_to_user(buf, chunk, n) ? -EFAULT : (ssize_t)n;
}

static noinline ssize_t pipe_write(struct file *file, const char *buf, size_t count)
{
	struct pipe *pipe = file->private_data;
	char chunk[CHUNK];
	size_t i;

	if (count > CHUNK)
		count = CHUNK;
	if (copy_from_user(chunk, buf, count))
		return -EFAULT;
	for (i = 0; i < count && pipe->head - pipe->tail < PIPE_SIZE; i++)
		pipe->data[pipe->head++ % PIPE_SIZE] = chunk[i];
	return i;
}

/* Move up to size bytes from the pipe to the kernel's buf; how many it was. */
noinline size_t pipe_drain(struct pipe *pipe, char *buf, size_t size)
{
	size_t n;

	for (n = 0; n < size && pipe->tail < pipe->head; n++)
		buf[n] = pipe->data[pipe->tail++ % PIPE_SIZE];
	return n;
}

static const struct file_operations null_fops = { .read = null_read, .write = null_write };
static const struct file_operations console_fops = { .write = console_file_write };
static const struct file_operations pipe_fops = { .read = pipe_read, .write = pipe_write };

static struct file files[] = {
	[FD_NULL] = { .name = "null", .f_op = &null_fops },
	[FD_CONSOLE] = { .name = "console", .f_op = &console_fops },
	[FD_PIPE] = { .name = "pipe", .f_op = &pipe_fops, .private_data = &user_pipe },
};

noinline struct file *fget(unsigned int fd)
{
	return fd < ARRAY_SIZE(files) ? &files[fd] : NULL;
}

noinline ssize_t vfs_read(struct file *file, char *buf, size_t count)
{
	ssize_t n = file->f_op->read ? file->f_op->read(file, buf, count) : -EINVAL;

	if (n > 0)
		file->f_pos += n;
	return n;
}

noinline ssize_t vfs_write(struct file *file, const char *buf, size_t count)
{
	ssize_t n = file->f_op->write ? file->f_op->write(file, buf, count) : -EINVAL;

	if (n > 0)
		file->f_pos += n;
	return n;
}
