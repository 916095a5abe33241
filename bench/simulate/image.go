package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/litestash/litestash/format"
)

// An image is a database in memory that changes in steps.
type image struct {
	pageSize int
	data     []byte
	taken    time.Time
	salt     format.Salt // of the hashes
	hasher   *format.PageHasher
	hashes   []format.PageHash
}

// load reads the database at path.
func load(path string) (*image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) < 100 {
		return nil, errors.New(path + " is not a database")
	}
	size := int(binary.BigEndian.Uint16(data[16:]))
	if size == 1 {
		size = 1 << 16
	}
	return &image{pageSize: size, data: data}, nil
}

// Whole implements [upload.Image].
func (m *image) Whole() bool { return true }

// step reads a step and takes it. At the end of the input it returns [io.EOF].
func (m *image) step(r io.Reader) error {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	changes, pages := binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint32(b[4:])
	m.resize(int(pages))
	for range changes {
		if _, err := io.ReadFull(r, b[:4]); err != nil {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		number := binary.LittleEndian.Uint32(b[:])
		if number == 0 || number > pages {
			return fmt.Errorf("page %d of %d", number, pages)
		}
		page := m.data[int(number-1)*m.pageSize:][:m.pageSize]
		if _, err := io.ReadFull(r, page); err != nil {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		m.hashes[number-1] = m.hasher.Hash(page)
	}
	return nil
}

func (m *image) resize(pages int) {
	old := len(m.data)
	if size := pages * m.pageSize; size <= cap(m.data) {
		m.data = m.data[:size]
	} else {
		m.data = append(m.data, make([]byte, size-old)...)
	}
	m.hash(min(old/m.pageSize, pages))
}

// hashWith hashes the pages with a salt, if they are hashed with another.
func (m *image) hashWith(salt format.Salt) {
	if m.hasher != nil && m.salt == salt {
		return
	}
	m.salt, m.hasher, m.hashes = salt, format.NewPageHasher(salt), nil
	m.hash(0)
}

// hash hashes the pages from index from on, anew.
func (m *image) hash(from int) {
	m.hashes = m.hashes[:from]
	for off := from * m.pageSize; off < len(m.data); off += m.pageSize {
		m.hashes = append(m.hashes, m.hasher.Hash(m.data[off:off+m.pageSize]))
	}
}

// The methods below are those of [upload.Image].

func (m *image) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(b, off)
}

func (m *image) PageSize() int    { return m.pageSize }
func (m *image) Pages() uint32    { return uint32(len(m.data) / m.pageSize) }
func (m *image) Taken() time.Time { return m.taken }
func (m *image) Look() string     { return "" }

func (m *image) Root() format.Root {
	r := format.NewRootHasher(m.pageSize, m.Pages(), m.salt)
	for i := range m.hashes {
		r.Write(m.hashes[i][:])
	}
	return r.Sum()
}

func (m *image) ReadHashes(first uint32, dst []format.PageHash) error {
	copy(dst, m.hashes[first-1:])
	return nil
}
