package ui

import (
	"fmt"
	"io"
	"strings"
)

// A Table is rows of aligned columns under a header, for the text of a result. Columns are as wide
// as their widest cell: nothing is cut off, on a terminal or in a pipe. It is used by one
// goroutine at a time.
type Table struct {
	color   bool
	columns []column
	rows    [][]string // as they will be printed
}

// NewTable returns an empty table of columns with these titles. The cells of a column are aligned
// to the left, for text, or to the right, for numbers, if its title begins with ">".
func (u *UI) NewTable(titles ...string) *Table {
	t := &Table{color: u.opts.Color}
	for _, title := range titles {
		title, right := strings.CutPrefix(title, ">")
		t.columns = append(t.columns, column{title, right})
	}
	return t
}

type column struct {
	title string
	right bool
}

// Row adds a row of one cell for each column. Cells are on one line: newlines and tabs in them
// are escaped, as [Safe] escapes the rest. They may hold styles.
func (t *Table) Row(cells ...string) {
	if len(cells) != len(t.columns) {
		panic(fmt.Sprintf("ui: row of %d cells in a table of %d columns", len(cells), len(t.columns)))
	}
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = cleanLine(cell, t.color)
	}
	t.rows = append(t.rows, row)
}

// Write writes the header and the rows to w.
func (t *Table) Write(w io.Writer) error {
	widths := make([]int, len(t.columns))
	header := make([]string, len(t.columns))
	for i, c := range t.columns {
		header[i] = paint(t.color, bold, c.title)
		widths[i] = displayWidth(header[i])
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], displayWidth(cell))
		}
	}
	if err := t.write(w, header, widths); err != nil {
		return err
	}
	for _, row := range t.rows {
		if err := t.write(w, row, widths); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) write(w io.Writer, row []string, widths []int) error {
	cells := make([]string, len(row))
	for i, cell := range row {
		if t.columns[i].right {
			cells[i] = padLeft(cell, widths[i])
		} else {
			cells[i] = padRight(cell, widths[i])
		}
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "  "), " "))
	return err
}
