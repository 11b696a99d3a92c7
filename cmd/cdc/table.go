package main

import (
	"io"
	"strings"
	"text/tabwriter"
)

// table is text in columns.
type table struct{ rows [][]string }

// newTable returns a table with a line of headings, unless they are empty.
func newTable(headings ...string) *table {
	t := &table{}
	if strings.Join(headings, "") != "" {
		t.row(headings...)
	}
	return t
}

// row adds a row. A text's lines become one.
func (t *table) row(cells ...string) {
	for i := range cells {
		cells[i] = strings.Join(strings.Fields(cells[i]), " ")
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, r := range t.rows {
		if _, err := io.WriteString(tw, strings.TrimRight(strings.Join(r, "\t"), "\t ")+"\n"); err != nil {
			return err
		}
	}
	return tw.Flush()
}
