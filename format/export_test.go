package format

// For tests that put an index together themselves.
var (
	CompressText   = compressText
	DecompressText = decompressText
)
