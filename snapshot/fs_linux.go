package snapshot

import "golang.org/x/sys/unix"

// networkFS lists file systems that other machines may write to, by their number in
// linux/magic.h and the kernel's sources.
var networkFS = map[uint32]bool{
	unix.NFS_SUPER_MAGIC:  true,
	unix.SMB_SUPER_MAGIC:  true,
	unix.CIFS_SUPER_MAGIC: true,
	unix.SMB2_SUPER_MAGIC: true,
	unix.V9FS_MAGIC:       true,
	unix.CODA_SUPER_MAGIC: true,
	unix.AFS_SUPER_MAGIC:  true,
	unix.AFS_FS_MAGIC:     true,
	unix.CEPH_SUPER_MAGIC: true,
	0x0bd00bd0:            true, // Lustre
	0x47504653:            true, // GPFS
	0x01161970:            true, // GFS2
	0x7461636f:            true, // OCFS2
}

// onNetwork reports whether path is on a network file system.
func onNetwork(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && networkFS[uint32(st.Type)]
}

// inMemory reports whether dir is on a file system that is kept in memory.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	return uint32(st.Type) == unix.TMPFS_MAGIC || uint32(st.Type) == unix.RAMFS_MAGIC
}
