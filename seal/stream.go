package seal

import (
	"io"

	"filippo.io/age"
)

// Decrypt returns what stored, all of the object's bytes as they are stored, holds. It checks them as they are read, also
// those that are kept. What is not as it was written is a [format.ErrDamaged].
func (x *Object) Decrypt(stored io.Reader) (io.Reader, error) {
	if x.payload == 0 {
		return stored, nil
	}
	source := &source{r: stored}
	text, err := age.Decrypt(source, x.key)
	if err != nil {
		return nil, source.explain(err)
	}
	return &stream{text, source}, nil
}

// A source remembers why it could not be read.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// explain returns why the source could not be read, or that what was read is damaged.
func (s *source) explain(err error) error {
	if s.err != nil {
		return s.err
	}
	return damaged("%v", err)
}

// A stream is the text of a source.
type stream struct {
	text   io.Reader
	source *source
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.text.Read(b)
	if err != nil && err != io.EOF {
		err = s.source.explain(err)
	}
	return n, err
}
