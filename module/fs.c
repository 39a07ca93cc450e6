// SPDX-License-Identifier: GPL-2.0
/*
 * vmlab's pseudo file system: one inode a lineage.
 *
 * Owns the superblock of an instance.  An inode's address_space is what every
 * file of the lineage has as f_mapping, so that its i_mmap knows every VMA that
 * could map a frame of the lineage; drivers/gpu/drm/drm_drv.c does the same.
 * No page ever enters the page cache of these inodes.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "vmlab.h"

#define VMLAB_FS_MAGIC	0x766d6c62	/* "vmlb" */

static int vmlab_fs_init_context(struct fs_context *fc)
{
	return init_pseudo(fc, VMLAB_FS_MAGIC) ? 0 : -ENOMEM;
}

/*
 * No .owner: kern_mount() would take a reference on the module that only the module's
 * exit could drop.  Nobody else can mount it: it is not registered.
 */
static struct file_system_type vmlab_fs_type = {
	.name			= "vmlab",
	.init_fs_context	= vmlab_fs_init_context,
	.kill_sb		= kill_anon_super,
};

/**
 * vmlab_fs_mount() - give an instance its superblock
 * @vm: the instance
 *
 * Return: 0 or -errno.
 */
int vmlab_fs_mount(struct vmlab *vm)
{
	struct vfsmount *mnt = kern_mount(&vmlab_fs_type);

	if (IS_ERR(mnt))
		return PTR_ERR(mnt);
	vm->mnt = mnt;
	return 0;
}

/**
 * vmlab_fs_unmount() - undo vmlab_fs_mount()
 * @vm: the instance; no lineage is left.  Never mounted is fine
 */
void vmlab_fs_unmount(struct vmlab *vm)
{
	if (vm->mnt)
		kern_unmount(vm->mnt);
	vm->mnt = NULL;
}

/**
 * vmlab_fs_inode() - a lineage's inode
 * @vm: the instance
 * @ino: its number
 *
 * Return: the inode with one reference, or ERR_PTR().
 */
struct inode *vmlab_fs_inode(struct vmlab *vm, u64 ino)
{
	struct inode *inode;

	inode = vmlab_should_fail(vm, VMLAB_INJECT_object) ? ERR_PTR(-ENOMEM) :
		alloc_anon_inode(vm->mnt->mnt_sb);
	if (!IS_ERR(inode))
		inode->i_ino = ino;
	return inode;
}

/**
 * vmlab_fs_file() - open a lineage's inode for an object that has no device node
 * @lineage: the lineage
 * @name: what /proc/PID/maps and /proc/PID/fd call it
 * @flags: O_RDONLY or O_RDWR
 * @fops: what the file does
 *
 * alloc_file_pseudo() (fs/file_table.c) takes no reference on the module, though
 * fput() drops one.
 *
 * Context: sleeps.
 * Return: the file, without private_data, or ERR_PTR().
 */
struct file *vmlab_fs_file(struct vmlab_lineage *lineage, const char *name, int flags,
			   const struct file_operations *fops)
{
	struct file *file;

	__module_get(fops->owner);
	ihold(lineage->inode);
	file = alloc_file_pseudo(lineage->inode, lineage->vm->mnt, name, flags, fops);
	if (IS_ERR(file)) {
		iput(lineage->inode);
		module_put(fops->owner);
		return file;
	}
	/* As do_dentry_open() (fs/open.c) does for files that can seek. */
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	return file;
}
