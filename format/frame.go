package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

const (
	// FrameSize is how many bytes of pages a data frame holds; the last one may hold fewer.
	FrameSize = 1 << 20

	skippableHeader = 8 // magic and length
	ownMagic        = 0x184D2A5C
	seekTableMagic  = 0x184D2A5E
)

// MaxFrame is the largest stored size of a data frame. Pages that do not compress grow by
// three bytes for each block of 128 KiB and at most 18 for the frame's own header and checksum
// (RFC 8878).
const MaxFrame = FrameSize + 64

// A Compressor turns runs of pages into data frames. It is not safe for concurrent use.
type Compressor struct{ enc *zstd.Encoder }

// NewCompressor returns a compressor. It holds a few MiB of tables.
func NewCompressor() *Compressor {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(FrameSize),
		zstd.WithSingleSegment(true),
		zstd.WithEncoderCRC(true))
	if err != nil {
		panic("format: internal error: zstd encoder options: " + err.Error())
	}
	return &Compressor{enc}
}

// Compress appends the frame that holds pages, at most [FrameSize] bytes, to dst.
func (c *Compressor) Compress(dst, pages []byte) []byte {
	return c.enc.EncodeAll(pages, dst)
}

// A Decompressor reads data frames. It is not safe for concurrent use.
type Decompressor struct{ dec *zstd.Decoder }

// NewDecompressor returns a decompressor. Close releases it.
func NewDecompressor() *Decompressor {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(FrameSize),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("format: internal error: zstd decoder options: " + err.Error())
	}
	return &Decompressor{dec}
}

// Decompress fills pages, exactly, from frame.
func (d *Decompressor) Decompress(pages, frame []byte) error {
	out, err := d.dec.DecodeAll(frame, pages[:0:len(pages)])
	if err != nil {
		return damaged("decompress: %v", err)
	}
	if len(out) != len(pages) {
		return damaged("decompress: %d bytes where %d belong", len(out), len(pages))
	}
	return nil
}

// Close releases the decompressor.
func (d *Decompressor) Close() { d.dec.Close() }

// compressText returns a zstd frame of the text of an index: the names in a long chain have much in
// common.
func compressText(text []byte) []byte {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true))
	if err != nil {
		panic("format: internal error: zstd encoder options: " + err.Error())
	}
	return enc.EncodeAll(text, nil)
}

// decompressText is the reverse. It refuses text of more than [maxText] bytes.
func decompressText(frame []byte) ([]byte, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxText))
	if err != nil {
		panic("format: internal error: zstd decoder options: " + err.Error())
	}
	defer dec.Close()
	text, err := dec.DecodeAll(frame, nil)
	if err != nil {
		return nil, damaged("decompress: %v", err)
	}
	return text, nil
}

// Checksum returns the CRC-32 (IEEE, as in zlib) of a stored frame: a guard against decay, so that
// a flipped bit is noticed even where a decoder would not care. What a page is, its hash says.
func Checksum(frame []byte) uint32 { return crc32.ChecksumIEEE(frame) }

// appendSkippable appends a skippable frame with what payload appends.
func appendSkippable(dst []byte, magic uint32, payload func([]byte) []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	size := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = payload(dst)
	binary.LittleEndian.PutUint32(dst[size:], uint32(len(dst)-size-4))
	return dst
}

// skippable returns the payload of a frame that must be one skippable frame and nothing else.
func skippable(frame []byte, magic uint32) ([]byte, error) {
	if len(frame) < skippableHeader || binary.LittleEndian.Uint32(frame) != magic {
		return nil, damaged("no skippable frame of ours where one belongs")
	}
	payload := frame[skippableHeader:]
	if n := binary.LittleEndian.Uint32(frame[4:]); int64(n) != int64(len(payload)) {
		return nil, damaged("a skippable frame says %d bytes where there are %d", n, len(payload))
	}
	return payload, nil
}

func damaged(msg string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(msg, args...))
}
