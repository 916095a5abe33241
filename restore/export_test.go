package restore

// The hook by which tests take the power away.
type (
	FileSystem = fileSystem
	TestFile   = file
	OSFS       = osFS
)

var ErrCopyNotFile = errCopyNotFile

// On makes o change disks through on.
func (o *FileOptions) On(on FileSystem) { o.on = on }
